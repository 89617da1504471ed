"""The scheme `weights`. In: a float flatbuffer. Out: the same one with int8 constants, unpacked by DEQUANTIZE.

Everything is computed in float32: the interpreter unpacks the constants when it loads the file, so that memory and
speed are those of float32. `Rounder` finds the steps of the constants from the inputs of their layers on samples.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import Constant, add_buffer, add_code, along, drop_unread, find_constants, values_of
from edgetf.conversion.layer_inputs import as_rows, from_rows, groups_of, is_small_enough, powers
from edgetf.conversion.rounding import Levels, round_for_inputs, round_to_nearest, symmetric_scales
from edgetf.flatbuffer import listed, pack, unpack
from edgetf.samples import Samples

DEQUANTIZE_VERSION = 5  # the first with a scale for each channel
HALF_VERSION = 3  # the first that takes float16
_SAME = 1e-5  # two scales that differ by less are one


class Rounder:
    """Rounds the constants of the main graph of a float flatbuffer for their layers' inputs.

    It uses `inferences` of `samples`. Steps are kept: schemes that have the same scales share them.
    """

    def __init__(self, content: bytes, samples: Samples, inferences: tuple[int, ...]) -> None:
        self._content, self._samples, self._inferences = content, samples, inferences
        self._model, schema = unpack(content)
        self._graph = self._model.subgraphs[0]
        self.constants = {one.tensor: one for one in find_constants(self._model, schema) if one.graph == 0}
        self._known: dict[int, tuple[NDArray[Any], Levels]] = {}

    def levels(self, scales: Mapping[int, NDArray[Any]]) -> dict[int, Levels]:
        """The steps of the constants with these scales (one for each channel, or one for all), by tensor.

        A constant whose layer's inputs cannot be used is left out.
        """
        wanted = {k: one for k, one in scales.items() if not self._has(k, one) and self._is_possible(k)}
        shapes = {k: values_of(self._model, self._graph, k).shape for k in wanted}
        for group in groups_of([self.constants[k] for k in wanted], shapes):
            found = powers(self._content, group, self._samples, self._inferences)
            for one in group:
                self._known[one.tensor] = (wanted[one.tensor], self._round(one, wanted[one.tensor], found[one.tensor]))
        return {k: self._known[k][1] for k in scales if k in self._known}

    def _has(self, tensor: int, scales: NDArray[Any]) -> bool:
        if tensor not in self._known:
            return False
        known = self._known[tensor][0]
        return known.shape == scales.shape and bool(np.allclose(known, scales, rtol=_SAME, atol=0.0))

    def _is_possible(self, tensor: int) -> bool:
        one = self.constants.get(tensor)
        if one is None or not one.alone:
            return False
        return is_small_enough(one.kind, values_of(self._model, self._graph, tensor).shape, one.axis)

    def _round(self, one: Constant, scales: NDArray[Any], power: NDArray[Any]) -> Levels:
        values = values_of(self._model, self._graph, one.tensor)
        everywhere = np.broadcast_to(along(scales, one.axis, values.ndim), values.shape)
        rows = as_rows(one.kind, values, one.axis, len(power))
        of_rows = as_rows(one.kind, everywhere, one.axis, len(power))[:, :, 0]
        return from_rows(one.kind, round_for_inputs(rows, of_rows, power), one.axis, values.shape)


def quantize_weights(content: bytes, rounder: Rounder | None) -> bytes:
    """Store the constants of a float flatbuffer as int8, rounded by `rounder` if it can, else to the nearest."""
    model, schema = unpack(content)
    constants = find_constants(model, schema)
    values = [values_of(model, model.subgraphs[one.graph], one.tensor) for one in constants]
    scales = [symmetric_scales(v, one.axis) for v, one in zip(values, constants, strict=True)]
    main = {one.tensor: scale for one, scale in zip(constants, scales, strict=True) if one.graph == 0}
    known = rounder.levels(main) if rounder else {}
    unpacking: list[list[Any]] = [[] for _ in model.subgraphs]
    for one, value, scale in zip(constants, values, scales, strict=True):
        levels = known.get(one.tensor) if one.graph == 0 else None
        if levels is None:
            levels = round_to_nearest(value, along(scale, one.axis, value.ndim))
        stored, op = store(model, schema, model.subgraphs[one.graph], one.tensor, levels)
        stored.quantization = per_channel(schema, scale, one.axis)
        unpacking[one.graph].append(op)
    for graph, ops in zip(model.subgraphs, unpacking, strict=True):
        graph.operators = [*reversed(ops), *listed(graph.operators)]
    drop_unread(model)
    return pack(model)


def unpacked_by(model: Any, schema: Any, source: int, result: int, version: int = DEQUANTIZE_VERSION) -> Any:
    """A DEQUANTIZE from one tensor to another."""
    op = schema.OperatorT()
    op.opcodeIndex = add_code(model, schema.BuiltinOperator.DEQUANTIZE, version)
    op.inputs, op.outputs = np.array([source], np.int32), np.array([result], np.int32)
    op.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    op.builtinOptions = schema.DequantizeOptionsT()
    return op


def per_channel(schema: Any, scales: NDArray[Any], axis: int) -> Any:
    """A symmetric quantization with a scale for each channel along `axis`."""
    made = schema.QuantizationParametersT()
    made.scale, made.zeroPoint = scales.astype(np.float32), np.zeros(len(scales), np.int64)
    made.quantizedDimension = axis
    return made


def store(model: Any, schema: Any, graph: Any, tensor: int, values: NDArray[Any]) -> tuple[Any, Any]:
    """Replace a constant by `values` in int8 or float16; returns that tensor and the DEQUANTIZE to run first."""
    stored, kind = copy.copy(graph.tensors[tensor]), values.dtype.name  # one name for both: a file has it once
    stored.type, stored.buffer = getattr(schema.TensorType, kind.upper()), add_buffer(model, schema, values)
    graph.tensors[tensor].buffer = 0
    graph.tensors.append(stored)
    version = HALF_VERSION if kind == "float16" else DEQUANTIZE_VERSION
    return stored, unpacked_by(model, schema, len(graph.tensors) - 1, tensor, version)
