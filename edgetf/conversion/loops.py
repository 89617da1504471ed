"""Bodies of loops and branches in float32. In: a quantized flatbuffer and its float one. Out: the repaired one.

No ranges are known there, and TensorFlow's int8 quantizer (seen with 2.21) quantizes some of it nevertheless:
- What reads a TANH, LOGISTIC or SOFTMAX and has one scale for operands and result gets their fixed scale, constants
  too. A CONCATENATION with a state of 5 is then clipped at 1.
- The table of an EMBEDDING_LOOKUP gets a zero point that the kernel refuses, since the result is float.
"""

from __future__ import annotations

import copy
from typing import Any

from edgetf.flatbuffer import listed, names_of, pack, tensor_name, unpack

_FIXED_POINT = ("INT8", "INT16")


def restore_loops(quantized: bytes, float32: bytes) -> bytes:
    """Replace each graph that an op calls by that of the float flatbuffer, if anything in it was quantized."""
    model, schema = unpack(quantized)
    exact, types = unpack(float32)[0], names_of(schema.TensorType)
    if [_ends(graph) for graph in model.subgraphs[1:]] != [_ends(graph) for graph in exact.subgraphs[1:]]:
        return quantized
    numbers = [
        number
        for number, graph in enumerate(model.subgraphs)
        if number and any(types[tensor.type] in _FIXED_POINT for tensor in listed(graph.tensors))
    ]
    for number in numbers:
        model.subgraphs[number] = _adopted(model, exact, number)
    return pack(model) if numbers else quantized


def _ends(graph: Any) -> list[tuple[Any, ...]]:
    """What a caller must know of a graph: the names, dtypes and shapes of its inputs and the forms of its outputs."""
    inputs = [graph.tensors[k] for k in listed(graph.inputs)]
    outputs = [graph.tensors[k] for k in listed(graph.outputs)]
    named: list[tuple[Any, ...]] = [(tensor_name(one), one.type, *listed(one.shape)) for one in inputs]
    return named + [(one.type, *listed(one.shape)) for one in outputs]


def _adopted(model: Any, exact: Any, number: int) -> Any:
    """A copy of the graph of `exact`, with its constants and operation codes added to `model`."""
    graph = copy.deepcopy(exact.subgraphs[number])
    buffers: dict[int, int] = {0: 0}
    for tensor in listed(graph.tensors):
        if tensor.buffer not in buffers:
            buffers[tensor.buffer] = len(model.buffers)
            model.buffers.append(exact.buffers[tensor.buffer])
        tensor.buffer = buffers[tensor.buffer]
    for op in listed(graph.operators):
        op.opcodeIndex = _place_code(model.operatorCodes, exact.operatorCodes[op.opcodeIndex])
    return graph


def _place_code(codes: list[Any], code: Any) -> int:
    for number, known in enumerate(codes):
        if vars(known) == vars(code):
            return number
    codes.append(code)
    return len(codes) - 1
