"""Repairs of known faults of converted flatbuffers. In: the flatbuffer. Out: the repaired one, and notes."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgetf.flatbuffer import builtin_code, listed, names_of, pack, tensor_name, unpack

_LSTM_OPTIONS = ("LSTMOptions", "UnidirectionalSequenceLSTMOptions", "BidirectionalSequenceLSTMOptions")
_CELL, _LEAST_CELL, _MOST_CELL = 19, 2.0**-15, 2.0**-9  # the operand, and the scales that its kernel knows
# the operands that an op with a state reads at its start and writes at its end
_STATES = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (18, 19),
    "LSTM": (18, 19),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (35, 36, 37, 38),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (4,),
    "RNN": (4,),
    "BIDIRECTIONAL_SEQUENCE_RNN": (4, 8),
    "SVDF": (4,),
}


def repair_faults(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Repair known faults; returns notes too. A flatbuffer without faults is returned unchanged."""
    model, schema = unpack(content)
    clipped, separated, cells = _unclip(model, schema), _separate_states(model, schema), _rescale_cells(model, schema)
    notes = []
    if clipped:
        notes.append(f"clipping of the cell state was removed from {clipped} LSTM op(s): Keras does not clip")
    if separated:
        notes.append(f"{separated} operand(s) that shared the state of an LSTM op were given their own zeros")
    if cells:
        notes.append(f"{cells} LSTM op(s) had a cell state's scale for which the integer kernel has no tanh")
    return (pack(model) if notes else content), tuple(notes)


def _unclip(model: Any, schema: Any) -> int:
    """Remove the clipping of cell states from fused LSTMs; returns the number of ops that had it.

    The converter's fused LSTM clips its cell state at 10 (`cellClip`, seen with TensorFlow 2.21). Keras does not clip,
    and trained cells do pass 10: decisions then flip. 0 means no clipping.
    """
    options = [getattr(schema.BuiltinOptions, name) for name in _LSTM_OPTIONS]
    clipped = [
        operator.builtinOptions
        for graph in model.subgraphs
        for operator in listed(graph.operators)
        if operator.builtinOptionsType in options and operator.builtinOptions.cellClip
    ]
    for one in clipped:
        one.cellClip = 0.0
    return len(clipped)


def _rescale_cells(model: Any, schema: Any) -> int:
    """Give quantized cell states a scale for which the kernel can compute tanh; returns how many had another.

    It supports powers of 2 from 2^-15 (cells within 1) to 2^-9 (within 64), and returns garbage for others (seen with
    LiteRT 2.3). The quantizer ignores this: it gives small cells a smaller scale.
    """
    names, rescaled = names_of(schema.BuiltinOperator), 0
    for graph in model.subgraphs:
        for op in listed(graph.operators):
            if names[builtin_code(model, op)] not in ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"):
                continue
            cell = graph.tensors[op.inputs[_CELL]]
            scales = listed(cell.quantization.scale) if cell.quantization else []
            if scales and not _LEAST_CELL <= scales[0] <= _MOST_CELL:
                cell.quantization.scale = [min(max(float(scales[0]), _LEAST_CELL), _MOST_CELL)]
                rescaled += 1
    return rescaled


def _separate_states(model: Any, schema: Any) -> int:
    """Give each op its own state tensor where several share one; returns the number of operands that were replaced.

    The converter (seen with TensorFlow 2.21) merges equal constants, including the zeros of initial states. An op
    writes its last state into that tensor. A loop that reads its initial zeros from there then starts with that state.
    """
    names = names_of(schema.BuiltinOperator)
    separated = 0
    for graph in model.subgraphs:
        owners: dict[int, list[tuple[Any, int]]] = defaultdict(list)
        readers: dict[int, list[tuple[Any, int]]] = defaultdict(list)
        for op in listed(graph.operators):
            states = _STATES.get(names[builtin_code(model, op)], ())
            for place, k in enumerate(listed(op.inputs)):
                if k >= 0 and graph.tensors[k].isVariable:
                    (owners if place in states else readers)[int(k)].append((op, place))
        for k, owning in owners.items():
            for op, place in owning[1:]:
                _replace_operand(op, place, _add_zeros(model, schema, graph, k, is_variable=True))
            if readers[k]:
                zeros = _add_zeros(model, schema, graph, k, is_variable=False)
                for op, place in readers[k]:
                    _replace_operand(op, place, zeros)
            separated += len(owning[1:]) + len(readers[k])
    return separated


def _replace_operand(op: Any, place: int, k: int) -> None:
    inputs = [int(one) for one in op.inputs]
    inputs[place] = k
    op.inputs = inputs


def _add_zeros(model: Any, schema: Any, graph: Any, like: int, is_variable: bool) -> int:
    """Add a tensor like the state `like`: another state that begins with zeros, or a constant of zeros."""
    made = copy.copy(graph.tensors[like])
    made.name, made.isVariable = f"{tensor_name(made)}_{len(graph.tensors)}".encode(), is_variable
    if not is_variable:
        zero = int((listed(made.quantization.zeroPoint) or [0])[0]) if made.quantization else 0
        dtype = names_of(schema.TensorType)[made.type].lower()
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.full(listed(made.shape), zero, dtype).tobytes(), np.uint8)
        model.buffers.append(buffer)
        made.buffer = len(model.buffers) - 1
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def has_empty_variables(content: bytes) -> bool:
    """Whether the flatbuffer reads variables that nothing initializes: they hold NaN or random memory.

    Seen with TensorFlow 2.21 for a Keras 3 model inside of a `tf.Module`: the converter does not freeze its variables.
    """
    model, schema = unpack(content)
    names = names_of(schema.BuiltinOperator)
    kinds = [[names[builtin_code(model, op)] for op in listed(graph.operators)] for graph in model.subgraphs]
    once = _initializers(model, kinds)
    filled: set[bytes] = set()
    used: set[bytes] = set()
    for k, graph in enumerate(model.subgraphs):
        named = {
            op.builtinOptions.sharedName
            for op, kind in zip(listed(graph.operators), kinds[k], strict=True)
            if kind == "VAR_HANDLE"
        }
        (filled if k in once else used).update(named)
    return bool(used - filled) and any("READ_VARIABLE" in found for found in kinds)


def _initializers(model: Any, kinds: Sequence[Sequence[str]]) -> set[int]:
    """The graphs that run once, before all others; `kinds` are the operations of each graph."""
    return {
        op.builtinOptions.initSubgraphIndex
        for graph, found in zip(model.subgraphs, kinds, strict=True)
        for op, kind in zip(listed(graph.operators), found, strict=True)
        if kind == "CALL_ONCE"
    }


def writes_variables(model: Any, schema: Any) -> bool:
    """Whether an inference writes variables, in any graph: those that only initialize them do not count."""
    names = names_of(schema.BuiltinOperator)
    kinds = [[names[builtin_code(model, op)] for op in listed(graph.operators)] for graph in model.subgraphs]
    once = _initializers(model, kinds)
    return any("ASSIGN_VARIABLE" in found for k, found in enumerate(kinds) if k not in once)


def has_states(content: bytes) -> bool:
    """Whether ops of the flatbuffer keep state between runs."""
    model, _ = unpack(content)
    return any(tensor.isVariable for graph in model.subgraphs for tensor in listed(graph.tensors))
