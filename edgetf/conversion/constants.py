"""The float constants that a scheme may store as int8: where they are in a graph, and what their layers do with them.

A constant counts where every operation that reads it reads it as its weights, and where int8 with a scale for each
channel and a DEQUANTIZE takes fewer bytes than float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.flatbuffer import builtin_code, data_of, listed, names_of, tensor_name, unpack

# the operands that are weights, and the axis of their channels
_WEIGHTS: dict[str, tuple[tuple[int, ...], int]] = {
    "CONV_2D": ((1,), 0),
    "DEPTHWISE_CONV_2D": ((1,), 3),
    "FULLY_CONNECTED": ((1,), 0),
    "TRANSPOSE_CONV": ((1,), 0),
    "CONV_3D": ((1,), 4),
    "BATCH_MATMUL": ((1,), -1),
    "GATHER": ((0,), 0),
    "EMBEDDING_LOOKUP": ((1,), 0),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (tuple(range(1, 9)), 0),
    "LSTM": (tuple(range(1, 9)), 0),
}
_CHANNEL_BYTES = 12  # a scale and a zero point
_LONG_ROW = 64  # numbers in a row of a table beside which a scale weighs little
_EXTRA_BYTES = 320  # a tensor, its name, an operation
_PIECE = 1 << 20  # numbers that are looked at together
# of floating-point types: the unsigned type of their bits, these without the sign, and those of infinity
_INFINITE = {
    "FLOAT16": (np.uint16, 0x7FFF, 0x7C00),
    "BFLOAT16": (np.uint16, 0x7FFF, 0x7F80),
    "FLOAT32": (np.uint32, 0x7FFF_FFFF, 0x7F80_0000),
    "FLOAT64": (np.uint64, 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000),
}
_MIN_RUNTIME, _MIN_RUNTIME_BYTES = "min_runtime_version", 16


@dataclass(frozen=True)
class Constant:
    """A constant of graph number `graph`: its tensor, the axis of its channels, and who reads it: the first operation
    (`kind`, its number `reader` in the graph), and whether it is the only one."""

    graph: int
    tensor: int
    axis: int
    kind: str
    reader: int
    alone: bool


def find_constants(model: Any, schema: Any) -> list[Constant]:
    """The constants that are smaller as int8, in the order of the graphs and of the operations that read them."""
    found = []
    for number, graph in enumerate(model.subgraphs):
        for tensor, readers in _read_as_weights(model, schema, graph).items():
            reader, kind = readers[0]
            shape = [int(axis) for axis in listed(graph.tensors[tensor].shape)]
            axis = _axis(kind, listed(graph.operators)[reader], shape)
            if int(np.prod(shape)) * 3 > shape[axis] * _CHANNEL_BYTES + _EXTRA_BYTES:
                found.append(Constant(number, tensor, axis, kind, reader, len(readers) == 1))
    return found


def _read_as_weights(model: Any, schema: Any, graph: Any) -> dict[int, list[tuple[int, str]]]:
    """The float constants that are read as weights and as nothing else, with the operations that read them."""
    kinds, readers, others = (
        names_of(schema.BuiltinOperator),
        defaultdict(list),
        {int(k) for k in listed(graph.outputs)},
    )
    for number, op in enumerate(listed(graph.operators)):
        kind = kinds[builtin_code(model, op)]
        places, _ = _WEIGHTS.get(kind, ((), 0))
        for place, k in enumerate(listed(op.inputs)):
            if place in places:
                readers[int(k)].append((number, kind))
            else:
                others.add(int(k))
    return {k: ops for k, ops in readers.items() if k not in others and _is_plain(model, schema, graph, k, ops)}


def _is_plain(model: Any, schema: Any, graph: Any, k: int, readers: list[tuple[int, str]]) -> bool:
    """Whether tensor `k` is a dense float constant whose readers are all of one kind and have the same channels."""
    if k < 0 or len({kind for _, kind in readers}) > 1:
        return False
    shape, operators = [int(axis) for axis in listed(graph.tensors[k].shape)], listed(graph.operators)
    if len(shape) < 2 or not is_stored(model, schema, graph, k):
        return False
    return len({_axis(kind, operators[number], shape) for number, kind in readers}) == 1


def is_stored(model: Any, schema: Any, graph: Any, k: int) -> bool:
    """Whether tensor `k` is a dense float32 constant."""
    tensor = graph.tensors[k]
    if tensor.type != schema.TensorType.FLOAT32 or tensor.sparsity is not None or tensor.isVariable:
        return False
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) == 4 * int(np.prod([int(axis) for axis in listed(tensor.shape)])) > 0


def _axis(kind: str, op: Any, shape: list[int]) -> int:
    """The axis of the channels: that of the results of a product of matrices; of a table its rows, if they are long."""
    axis = _WEIGHTS[kind][1]
    if kind == "BATCH_MATMUL" and op.builtinOptions.adjY:
        axis = -2
    if kind in ("GATHER", "EMBEDDING_LOOKUP") and int(np.prod(shape[1:])) < _LONG_ROW:
        axis = -1
    return axis % len(shape)


def values_of(model: Any, graph: Any, tensor: int) -> NDArray[np.float32]:
    """The values of a float constant, in its shape."""
    one = graph.tensors[tensor]
    stored = np.frombuffer(bytes(model.buffers[one.buffer].data), np.float32)
    return stored.reshape([int(axis) for axis in listed(one.shape)])


def has_infinity(content: bytes) -> bool:
    """Whether a constant of a flatbuffer has an infinite element."""
    model, schema = unpack(content)
    types = names_of(schema.TensorType)
    for tensor in (one for graph in model.subgraphs for one in listed(graph.tensors)):
        if types[tensor.type] in _INFINITE:
            unsigned, rest, infinity = _INFINITE[types[tensor.type]]
            bits = data_of(model, tensor.buffer).view(unsigned)
            pieces = (bits[k : k + _PIECE] for k in range(0, bits.size, _PIECE))
            if any(((piece & unsigned(rest)) == unsigned(infinity)).any() for piece in pieces):
                return True
    return False


def along(scales: NDArray[Any], axis: int, axes: int) -> NDArray[Any]:
    """Scales of channels in a shape that broadcasts over `axes` axes; a single one stays for all."""
    return scales.reshape([len(scales) if k == axis else 1 for k in range(axes)])


# flatbuffers ------------------------------------------------------------------------------------------------------


def add_buffer(model: Any, schema: Any, values: NDArray[Any]) -> int:
    """The number of a new buffer with these values."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def drop_unread(model: Any) -> None:
    """Empty the buffers that no tensor and no metadata refer to: a packed model has at most 2 GB."""
    used = {int(tensor.buffer) for graph in model.subgraphs for tensor in listed(graph.tensors)}
    used |= {int(entry.buffer) for entry in listed(model.metadata)}
    for k, buffer in enumerate(model.buffers):
        if k not in used:
            buffer.data = None


def add_code(model: Any, number: int, version: int) -> int:
    """The place of an operation code of that version: one that is there, or a new one."""
    for k, code in enumerate(model.operatorCodes):
        if max(int(code.builtinCode), int(code.deprecatedBuiltinCode)) == number and code.version == version:
            return k
    code = type(model.operatorCodes[0])()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def add_entry(model: Any, schema: Any, name: str, content: bytes) -> None:
    """Add an entry to a model's metadata."""
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, add_buffer(model, schema, np.frombuffer(content, np.uint8))
    model.metadata = [*listed(model.metadata), entry]


def require_runtime(model: Any, schema: Any, version: str) -> None:
    """Raise the version of TFLite that a model's metadata names as the first that can run it. It only informs."""
    entries = [one for one in listed(model.metadata) if tensor_name(one) == _MIN_RUNTIME]
    found = [bytes(listed(model.buffers[one.buffer].data)).rstrip(b"\0").decode() for one in entries]
    if all(_numbers(one) < _numbers(version) for one in found):
        model.metadata = [one for one in listed(model.metadata) if one not in entries]
        add_entry(model, schema, _MIN_RUNTIME, version.encode().ljust(_MIN_RUNTIME_BYTES, b"\0"))


def _numbers(version: str) -> list[int]:
    return [int(one) if one.isdecimal() else 0 for one in version.split(".")]


def skeleton(model: Any, schema: Any, graph: Any) -> Iterator[tuple[Any, str]]:
    """The operations of a graph and their kinds, without those that only change the representation."""
    kinds = names_of(schema.BuiltinOperator)
    for op in listed(graph.operators):
        kind = kinds[builtin_code(model, op)]
        if kind not in ("QUANTIZE", "DEQUANTIZE"):
            yield op, kind
