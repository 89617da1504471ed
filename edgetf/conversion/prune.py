"""Pruning. In: a flatbuffer. Out: the same one without unused parts, and with equal constants stored once.

Converters and quantizers leave unused constants, tensors and operation codes (seen with
TensorFlow 2.21). The graph stays as it is: outputs are equal bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgetf.flatbuffer import LARGEST_PACKED, data_of, listed, pack, unpack


def prune(content: bytes) -> bytes:
    """Remove unused tensors, buffers and operation codes; share equal constants. Never returns more bytes."""
    if len(content) > LARGEST_PACKED:
        return content
    model, _ = unpack(content)
    for number, graph in enumerate(model.subgraphs):
        drop_tensors(graph, [one for one in listed(model.signatureDefs) if one.subgraphIndex == number])
    drop_codes(model)
    _share_buffers(model)
    pruned = pack(model)
    return pruned if len(pruned) < len(content) else content


def drop_tensors(graph: Any, signatures: list[Any]) -> None:
    """Remove the tensors that no operation, input, output or signature names, and renumber the others."""
    used = {int(k) for vector in _vectors(graph) for k in listed(vector) if k >= 0}
    maps = [m for one in signatures for m in (*listed(one.inputs), *listed(one.outputs))]
    used.update(int(m.tensorIndex) for m in maps)
    if len(used) == len(listed(graph.tensors)):
        return
    kept = sorted(used)
    place = {-1: -1, **{k: number for number, k in enumerate(kept)}}
    graph.tensors = [graph.tensors[k] for k in kept]
    graph.inputs, graph.outputs = _moved(graph.inputs, place), _moved(graph.outputs, place)
    for op in listed(graph.operators):
        op.inputs, op.outputs = _moved(op.inputs, place), _moved(op.outputs, place)
        op.intermediates = _moved(op.intermediates, place)
    for one in maps:
        one.tensorIndex = place[int(one.tensorIndex)]


def _vectors(graph: Any) -> Iterator[Any]:
    """The vectors that name tensors of a graph."""
    yield from (graph.inputs, graph.outputs)
    for op in listed(graph.operators):
        yield from (op.inputs, op.outputs, op.intermediates)


def _moved(vector: Any, place: dict[int, int]) -> Any:
    return None if vector is None else np.array([place[int(k)] for k in vector], np.int32)


def drop_codes(model: Any) -> None:
    """Remove the operation codes that no operation uses."""
    operators = [op for graph in model.subgraphs for op in listed(graph.operators)]
    kept = sorted({int(op.opcodeIndex) for op in operators})
    place = {k: number for number, k in enumerate(kept)}
    model.operatorCodes = [model.operatorCodes[k] for k in kept]
    for op in operators:
        op.opcodeIndex = place[int(op.opcodeIndex)]


def _share_buffers(model: Any) -> None:
    """Store equal constants once, and only buffers that are used. Buffer 0 is the empty one of all results.

    A tensor that an operation writes its state into keeps its own buffer.
    """
    kept = [model.buffers[0]]
    shared: dict[bytes, int] = {}

    def place(old: int, is_state: bool) -> int:
        data = data_of(model, old)
        if old == 0 or (not is_state and not len(data)):
            return 0
        key = b"" if is_state else hashlib.sha256(data.data).digest()
        if is_state or key not in shared:
            kept.append(model.buffers[old])
            if is_state:
                return len(kept) - 1
            shared[key] = len(kept) - 1
        return shared[key]

    for tensor in (one for graph in model.subgraphs for one in listed(graph.tensors)):
        tensor.buffer = place(int(tensor.buffer), bool(tensor.isVariable))
    for entry in listed(model.metadata):
        kept.append(model.buffers[entry.buffer])
        entry.buffer = len(kept) - 1
    model.metadataBuffer = None
    model.buffers = kept
