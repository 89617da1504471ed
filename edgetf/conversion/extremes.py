"""The smallest and largest values of tensors, found by the graph. In: a float flatbuffer. Out: one that computes them.

XNNPACK runs REDUCE_MIN, REDUCE_MAX and SUM in one piece with the rest, on values that are still in the cache, and a
tensor's memory is used again. (MobileNetV2-224, a sample on one thread: 7.2 ms without them, 7.8 with them, 11.5 where
all tensors are outputs that numpy looks at.) Its minimum and maximum lose NaN, which a sum keeps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgetf.conversion.constants import add_buffer, add_code
from edgetf.flatbuffer import listed, pack, unpack

REDUCTIONS = ("REDUCE_MIN", "REDUCE_MAX", "SUM")


def with_extremes(flatbuffer: bytes, small: Sequence[int], large: Sequence[int]) -> tuple[bytes, list[int]]:
    """The flatbuffer with other outputs: the tensors `small`, and the smallest value, the largest one and the sum of
    each of `large`; and the tensors of these, one after another."""
    model, schema = unpack(flatbuffer)
    graph, behind = model.subgraphs[0], defaultdict(list)
    axes: dict[int, int] = {}
    results: list[int] = []
    for k in large:
        rank = len(listed(graph.tensors[k].shape))
        if rank not in axes:
            axes[rank] = _add_tensor(graph, schema, schema.TensorType.INT32, [rank])
            graph.tensors[axes[rank]].buffer = add_buffer(model, schema, np.arange(rank, dtype=np.int32))
        for kind in REDUCTIONS:
            results.append(_add_tensor(graph, schema, schema.TensorType.FLOAT32, [1] * rank))
            behind[k].append(_reduction(model, schema, kind, (k, axes[rank]), results[-1]))
    operators = [op for k in graph.inputs for op in behind[int(k)]]
    for op in listed(graph.operators):
        operators += [op, *(one for k in listed(op.outputs) for one in behind[int(k)])]
    graph.operators, graph.outputs = operators, np.array([*small, *results], np.int32)
    for signature in listed(model.signatureDefs):
        signature.outputs = []
    return pack(model), results


def _add_tensor(graph: Any, schema: Any, kind: int, shape: list[int]) -> int:
    made = schema.TensorT()
    made.type, made.shape, made.name, made.buffer = kind, np.array(shape, np.int32), b"", 0
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def _reduction(model: Any, schema: Any, kind: str, inputs: tuple[int, int], result: int) -> Any:
    op = schema.OperatorT()
    op.opcodeIndex = add_code(model, getattr(schema.BuiltinOperator, kind), 1)
    op.inputs, op.outputs = np.array(inputs, np.int32), np.array([result], np.int32)
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT()
    op.builtinOptions.keepDims = True
    return op
