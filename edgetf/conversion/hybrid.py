"""The scheme `dynamic`. In: a float flatbuffer. Out: the same one with int8 constants for hybrid kernels, or None.

The converter would start from the SavedModel again, for the same result (TensorFlow 2.21,
compiler/mlir/lite/transforms/prepare_quantize_dynamic_range.cc). The kinds of operations that this file
knows are those whose results were compared with the converter's, constant by constant; where another kind reads a
constant that the converter would quantize, there is no result.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import add_buffer, add_code, along, drop_unread, is_stored, require_runtime, values_of
from edgetf.conversion.weights import per_channel, unpacked_by
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import builtin_code, listed, names_of, pack, tensor_name, unpack

_FEWEST = 1024  # elements of a constant that the converter quantizes
_MOST = 127  # steps to either side
_LEAST = 5e-7  # of a largest magnitude: the converter takes smaller ones for this


@dataclass(frozen=True)
class _Kernel:
    """The hybrid kernel of an operation: the operand that is its weights, the axis of their channels (None: one scale
    for all), the version of the operation, and the first runtime that has it."""

    operand: int
    axis: int | None
    version: int
    runtime: str


_KERNELS = {
    "CONV_2D": _Kernel(1, 0, 5, "2.4.0"),
    "DEPTHWISE_CONV_2D": _Kernel(1, 3, 6, "2.3.0"),
    "FULLY_CONNECTED": _Kernel(1, 0, 12, "2.17.0"),
}
_ONE_SCALE = _Kernel(1, None, 9, "2.3.0")  # of FULLY_CONNECTED for runtimes before LiteRT
_TABLE_OP = "GATHER"
_TABLE = _Kernel(0, None, 2, "1.14.0")  # it picks rows of an int8 table, which are then unpacked
# what the converter quantizes, too, in ways that depend on more than the constant
_OTHERS = {
    "BATCH_MATMUL",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "CONV_3D",
    "CONV_3D_TRANSPOSE",
    "CUSTOM",
    "EMBEDDING_LOOKUP",
    "LSTM",
    "RNN",
    "SVDF",
    "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
}


def to_dynamic(content: bytes, per_channel_dense: bool) -> bytes | None:
    """Store the weights of hybrid kernels as int8; None where only the converter knows how.

    Without `per_channel_dense` the weights of a dense layer have a single scale, which runtimes before LiteRT need.
    Raises EdgetfError if weights are infinite.
    """
    model, schema = unpack(content)
    kernels = {**_KERNELS, _TABLE_OP: _TABLE}
    if not per_channel_dense:
        kernels["FULLY_CONNECTED"] = _ONE_SCALE
    found = [_find(model, schema, graph, kernels) for graph in model.subgraphs]
    if any(one is None for one in found):
        return None
    for graph, weights in zip(model.subgraphs, found, strict=True):
        for k, (kind, readers) in (weights or {}).items():
            _quantize(model, schema, graph.tensors[k], values_of(model, graph, k), kernels[kind])
            for op in readers:
                _use(model, schema, graph, op, kernels[kind])
    drop_unread(model)
    return pack(model)


def _find(model: Any, schema: Any, graph: Any, kernels: dict[str, _Kernel]) -> dict[int, tuple[str, list[Any]]] | None:
    """The weights to quantize by tensor, with the kind and the operations that read them; None if others are among
    their readers, if other constants would be quantized, too, or if a weight is NaN.

    Raises EdgetfError for infinite weights.
    """
    names, reading = names_of(schema.BuiltinOperator), defaultdict(list)
    for op in listed(graph.operators):
        for place, k in enumerate(listed(op.inputs)):
            if k >= 0:
                reading[int(k)].append((names[builtin_code(model, op)], place, op))
    found = {}
    for k, readers in reading.items():
        kinds = {kind for kind, _, _ in readers}
        touched = [kind for kind, place, _ in readers if kind in _OTHERS or _is_weights(kind, place, kernels)]
        if not touched or not is_stored(model, schema, graph, k) or _size(graph, k) < _FEWEST:
            continue
        if len(kinds) > 1 or kinds & _OTHERS or len(touched) < len(readers) or k in listed(graph.outputs):
            return None
        if not _has_no_nan(values_of(model, graph, k), tensor_name(graph.tensors[k])):
            return None
        results = [int(op.outputs[0]) for _, _, op in readers]
        if kinds == {_TABLE_OP} and any(
            len(reading[one]) != 1 or _size(graph, one) >= _size(graph, k) for one in results
        ):
            return None  # the converter unpacks the table itself then
        found[k] = kinds.pop(), [op for _, _, op in readers]
    return found


def _has_no_nan(values: NDArray[np.float32], name: str) -> bool:
    """Whether no weight is NaN. Raises EdgetfError for infinity, with which the converter's process crashes."""
    if np.isinf(values).any():
        raise EdgetfError(
            f"the weights {name} are infinite: int8 has no scale for them", "use float32, or correct them"
        )
    return not np.isnan(values).any()


def _size(graph: Any, k: int) -> int:
    return int(np.prod([int(axis) for axis in listed(graph.tensors[k].shape)]))


def _is_weights(kind: str, place: int, kernels: dict[str, _Kernel]) -> bool:
    return kind in kernels and kernels[kind].operand == place


def _quantize(model: Any, schema: Any, tensor: Any, values: NDArray[np.float32], kernel: _Kernel) -> None:
    """Replace a float constant by int8, with its largest magnitude, or that of each channel, as step 127."""
    axis = 0 if kernel.axis is None else kernel.axis
    others = None if kernel.axis is None else tuple(k for k in range(values.ndim) if k != kernel.axis)
    largest = np.atleast_1d(np.maximum(values.max(axis=others), -values.min(axis=others))).astype(np.float64)
    scales = np.maximum(largest, _LEAST) / _MOST
    steps = values / (along(scales, axis, values.ndim) if len(scales) > 1 else scales[0])
    steps += np.copysign(0.5, steps)
    np.trunc(steps, out=steps)  # away from zero, where two steps are equally near
    tensor.type, tensor.quantization = schema.TensorType.INT8, per_channel(schema, scales, axis)
    tensor.buffer = add_buffer(model, schema, np.clip(steps, -_MOST, _MOST, out=steps).astype(np.int8))


def _use(model: Any, schema: Any, graph: Any, op: Any, kernel: _Kernel) -> None:
    """Let an operation read int8 weights: with a hybrid kernel, or, for a table, with int8 results to unpack."""
    names = names_of(schema.BuiltinOperator)
    kind = names[builtin_code(model, op)]
    version = max(kernel.version, model.operatorCodes[op.opcodeIndex].version)  # groups, for example, need a later one
    op.opcodeIndex = add_code(model, getattr(schema.BuiltinOperator, kind), version)
    require_runtime(model, schema, kernel.runtime)
    if kind == "FULLY_CONNECTED":
        op.builtinOptions.asymmetricQuantizeInputs = True
    if kind != _TABLE_OP:
        return
    result = int(op.outputs[0])
    rows = copy.copy(graph.tensors[result])
    rows.type, rows.name = schema.TensorType.INT8, f"{tensor_name(rows)}_int8".encode()
    rows.quantization = graph.tensors[int(op.inputs[0])].quantization
    graph.tensors.append(rows)
    op.outputs = np.array([len(graph.tensors) - 1], np.int32)
    ops = listed(graph.operators)
    place = next(k for k, one in enumerate(ops) if one is op)
    graph.operators = [
        *ops[: place + 1],
        unpacked_by(model, schema, len(graph.tensors) - 1, result, 2),
        *ops[place + 1 :],
    ]
