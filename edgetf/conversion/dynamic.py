"""Improve the scheme `dynamic`. In: a flatbuffer for hybrid kernels. Out: the same one, rounded again or unpacked.

`unpack_depthwise` lets depthwise convolutions compute in float32: XNNPACK has no hybrid kernel for them, and a graph of
them falls into pieces (MobileNetV2: 16, where float32 is one). `reround` replaces constants by others that are rounded
for the inputs of their layers; the scales stay.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import add_buffer, add_code, along, skeleton, values_of
from edgetf.conversion.weights import Rounder, unpacked_by
from edgetf.flatbuffer import builtin_code, listed, pack, tensor_name, unpack

_HALF = 0.51  # of a step: the largest error of rounding to the nearest, and a little for float32


@dataclass(frozen=True)
class _Twin:
    """An int8 constant of the hybrid graph, its scales, its steps, and the float constant that it was made of."""

    tensor: int
    exact: int
    scales: NDArray[np.float32]


def unpack_depthwise(content: bytes) -> tuple[bytes, int]:
    """Give each depthwise convolution float weights, by a DEQUANTIZE; and return how many there were."""
    model, schema = unpack(content)
    graph = model.subgraphs[0]
    front = []
    for op in listed(graph.operators):
        if builtin_code(model, op) != schema.BuiltinOperator.DEPTHWISE_CONV_2D:
            continue
        source, inputs = int(op.inputs[1]), [graph.tensors[int(op.inputs[k])].type for k in (0, 1)]
        if inputs != [schema.TensorType.FLOAT32, schema.TensorType.INT8]:
            continue
        made = copy.copy(graph.tensors[source])
        made.type, made.buffer, made.quantization = schema.TensorType.FLOAT32, 0, None
        made.name = f"{tensor_name(made)}_float".encode()
        graph.tensors.append(made)
        op.inputs = np.array([op.inputs[0], len(graph.tensors) - 1, *op.inputs[2:]], np.int32)
        dilated = max(op.builtinOptions.dilationHFactor, op.builtinOptions.dilationWFactor) > 1
        op.opcodeIndex = add_code(model, schema.BuiltinOperator.DEPTHWISE_CONV_2D, 2 if dilated else 1)
        front.append(unpacked_by(model, schema, source, len(graph.tensors) - 1))
    if not front:
        return content, 0
    graph.operators = [*front, *listed(graph.operators)]
    return pack(model), len(front)


def reround(content: bytes, float32: bytes, rounder: Rounder) -> bytes:
    """Round the int8 constants for the inputs that `rounder` has used; `float32` is the source of both.

    Raises ValueError if the two graphs differ.
    """
    model, schema = unpack(content)
    twins = {twin.exact: twin for twin in _twins(model, schema, float32)}
    levels = rounder.levels({exact: twin.scales for exact, twin in twins.items()})
    for exact, found in levels.items():
        model.subgraphs[0].tensors[twins[exact].tensor].buffer = add_buffer(model, schema, found)
    return pack(model)


def _twins(model: Any, schema: Any, float32: bytes) -> Iterator[_Twin]:
    """The int8 constants with the float ones: operation by operation, and only if the values are the same."""
    exact, _ = unpack(float32)
    graph, twin = model.subgraphs[0], exact.subgraphs[0]
    here, there = list(skeleton(model, schema, graph)), list(skeleton(exact, schema, twin))
    if [kind for _, kind in here] != [kind for _, kind in there]:
        raise ValueError("its operations are not those of float32")
    unpacked = {
        int(op.outputs[0]): int(op.inputs[0])
        for op in listed(graph.operators)
        if builtin_code(model, op) == schema.BuiltinOperator.DEQUANTIZE
    }
    for (op, _), (other, _) in zip(here, there, strict=True):
        for k, float_k in zip(listed(op.inputs), listed(other.inputs), strict=False):
            k, float_k = unpacked.get(int(k), int(k)), int(float_k)
            if min(k, float_k) < 0 or graph.tensors[k].type != schema.TensorType.INT8:
                continue
            data = exact.buffers[twin.tensors[float_k].buffer].data
            if data is None or not len(data) or twin.tensors[float_k].type != schema.TensorType.FLOAT32:
                continue
            scales = np.asarray(listed(graph.tensors[k].quantization.scale), np.float32)
            if _is_made_of(model, graph.tensors[k], values_of(exact, twin, float_k), scales):
                yield _Twin(k, float_k, scales)


def _is_made_of(model: Any, tensor: Any, exact: NDArray[Any], scales: NDArray[Any]) -> bool:
    """Whether an int8 constant is a float one, rounded to the nearest step."""
    data = model.buffers[tensor.buffer].data
    if data is None or len(data) != exact.size or not len(scales) or np.any(listed(tensor.quantization.zeroPoint)):
        return False
    steps = np.frombuffer(bytes(data), np.int8).reshape(exact.shape)
    size = along(scales, int(tensor.quantization.quantizedDimension), exact.ndim) if len(scales) > 1 else scales[0]
    return bool((np.abs(steps * size - exact) <= _HALF * size + 1e-12).all())
