"""The scheme `float16`. In: a float flatbuffer. Out: the same one with float16 constants, unpacked by DEQUANTIZE.

The converter would start from the SavedModel again, for the same result: it stores each float constant that an
operation reads as float16 (TensorFlow 2.21, compiler/mlir/lite/transforms/prepare_quantize_dynamic_range.cc). It also
rounds 1e-10 in front of a logarithm to 0, and cuts 1e6 to 65504. Such constants stay float32 here.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import add_entry, drop_unread, is_stored, require_runtime, values_of
from edgetf.conversion.weights import store
from edgetf.flatbuffer import listed, pack, tensor_name, unpack

_MOST_ERROR = 0.01  # of a constant's norm; that of rounding alone is at most 2^-11
_PIECE = 1 << 20  # values whose error is found at a time, in float64
_RUNTIME = "1.15.0"  # the first that unpacks float16
_SUPPORT = "reduced_precision_support", b"fp16accfp32"  # delegates may compute in float16, and add in float32


def to_float16(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Store the float constants as float16; also returns the names of those that stay float32."""
    model, schema = unpack(content)
    kept: list[str] = []
    for graph in model.subgraphs:
        front = []
        for k in _read_constants(model, schema, graph):
            half = _half(values_of(model, graph, k))
            if half is None:
                kept.append(tensor_name(graph.tensors[k]))
            else:
                front.append(store(model, schema, graph, k, half)[1])
        graph.operators = [*reversed(front), *listed(graph.operators)]
    add_entry(model, schema, *_SUPPORT)
    require_runtime(model, schema, _RUNTIME)
    drop_unread(model)
    return pack(model), tuple(kept)


def _read_constants(model: Any, schema: Any, graph: Any) -> list[int]:
    """The dense float constants that operations read. One that is also an output of the graph stays one, as a copy."""
    read = sorted({int(k) for op in listed(graph.operators) for k in listed(op.inputs) if k >= 0})
    found = [k for k in read if is_stored(model, schema, graph, k)]
    for k in set(found) & {int(one) for one in listed(graph.outputs)}:
        graph.tensors.append(copy.copy(graph.tensors[k]))
        graph.outputs = np.array([len(graph.tensors) - 1 if one == k else one for one in graph.outputs], np.int32)
        for signature in listed(model.signatureDefs):
            if model.subgraphs[signature.subgraphIndex] is graph:
                for one in listed(signature.outputs):
                    one.tensorIndex = len(graph.tensors) - 1 if one.tensorIndex == k else one.tensorIndex
    return found


def _half(values: NDArray[np.float32]) -> NDArray[np.float16] | None:
    """The values in float16; None if the error is too large, or if one of them is infinite or NaN there."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = values.astype(np.float16)
        if not np.isfinite(half).all():
            return None
    exact_values, half_values = values.reshape(-1), half.reshape(-1)
    error = power = 0.0
    for begin in range(0, values.size, _PIECE):
        exact = exact_values[begin : begin + _PIECE].astype(np.float64)
        error += float(((half_values[begin : begin + _PIECE] - exact) ** 2).sum())
        power += float((exact**2).sum())
    return half if error <= _MOST_ERROR**2 * power else None
