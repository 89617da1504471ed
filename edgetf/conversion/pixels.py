"""Inputs that take pixels. In: a `.tflite` file, and the map of pixels to the model's values for each of its inputs.

Out: the file with uint8 inputs, which maps them itself; its metadata has the maps. Scale and zero point of the input
are the map where they can be: QUANTIZE or DEQUANTIZE is then all that a file needs. Other maps (one for each channel,
or a mean between two pixels) are DEQUANTIZE, MUL and ADD. Nothing is folded into a first convolution: it pads with the
model's zeros, and there may be no pixel that means 0.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import add_buffer, add_code, add_entry
from edgetf.conversion.factors import renumber_factors
from edgetf.conversion.prune import prune
from edgetf.errors import EdgetfError, nearest
from edgetf.flatbuffer import builtin_code, listed, names_of, pack, unpack
from edgetf.pixels import ENTRY, LARGEST, PixelMap, maps_to_text
from edgetf.results import TensorSpec
from edgetf.samples import Array, Samples

_FLOAT = "float32"
_WHOLE = 0.01  # of a step between two pixels: samples that are further from one were not made of pixels
_DARK = 2  # pixels: samples of fewer were made in other units, such as 0..1
_ROWS = 256  # samples to look at
_HINT = "give the map that the samples were made with to --pixels; mean and std are in pixels: 255 times those of 0..1"
_QUANTIZED = ("INT8", "UINT8")
_SAME_SCALE = 1e-6  # a 4,000th of a pixel


def maps_for(asked: Mapping[str, PixelMap], inputs: Sequence[TensorSpec]) -> dict[str, PixelMap]:
    """The maps by input name; "" is the only float input. Raises EdgetfError for those that an input cannot have."""
    specs, found = {spec.name: spec for spec in inputs}, dict[str, PixelMap]()
    floats = [spec.name for spec in inputs if spec.dtype == _FLOAT]
    for name, one in asked.items():
        if not name and len(floats) != 1:
            there = f"it has {len(floats)} float32 inputs"
            hint = (
                f"name one: --pixels {floats[0]}=0..1" if floats else "leave out --pixels: it may take pixels as it is"
            )
            raise EdgetfError(f"the model has no single input for pixels: {there}", hint)
        spec = specs.get(name or floats[0])
        if spec is None:
            raise EdgetfError(f"the model has no input {name!r}", nearest(name, sorted(specs)))
        if spec.dtype != _FLOAT:
            hint = (
                "leave out --pixels: a uint8 input takes pixels as it is"
                if spec.dtype == "uint8"
                else "it is not an image"
            )
            raise EdgetfError(f"input {spec.name!r} takes {spec.dtype}: there is nothing to map pixels to", hint)
        channels = spec.shape[-1] if spec.shape else None
        if len(one.mean) not in (1, channels):
            message = f"--pixels has {len(one.mean)} channels, the last axis of {spec.name!r} has {channels}"
            raise EdgetfError(message, "give one number, or one for each channel")
        found[spec.name] = one
    return found


def refuse_other_values(maps: Mapping[str, PixelMap], samples: Samples) -> tuple[str, ...]:
    """Raise EdgetfError for samples that a map makes of no pixels; returns warnings if they are not whole pixels."""
    for name, one in maps.items():
        pixels, (low, high) = _pixels_of(one, samples.inputs[name]), one.span
        if not -0.5 < pixels.min() <= pixels.max() < LARGEST + 0.5:
            known = np.asarray(samples.inputs[name], np.float64)
            reach = f"{float(np.min(known)):.4g} to {float(np.max(known)):.4g}"
            message = f"{name!r} is {reach} in {samples.source}, but pixels become {low:.4g} to {high:.4g}"
            raise EdgetfError(message, _HINT)
        if 0 < pixels.max() - pixels.min() <= _DARK:
            among = f"between pixel {pixels.min():.3g} and pixel {pixels.max():.3g}, of 0 to {LARGEST}"
            message = f"all of {name!r} in {samples.source} is {among}: it was made with another map"
            raise EdgetfError(message, _HINT)
    return fractions(maps, samples)


def fractions(maps: Mapping[str, PixelMap], samples: Samples) -> tuple[str, ...]:
    """Warnings about samples that no pixels are mapped to: variants that take pixels get the nearest ones."""
    warnings = []
    for name, one in maps.items():
        pixels = _pixels_of(one, samples.inputs[name])
        nearest_ones = np.clip(np.rint(pixels), 0, LARGEST)
        share, most = float((np.abs(pixels - nearest_ones) > _WHOLE).mean()), float(np.abs(pixels - nearest_ones).max())
        if share:
            warnings.append(
                f"{name!r} is not made of whole pixels: {share:.1%} of its values lie between two, or outside of 0 to "
                f"{LARGEST}. Variants that take pixels get the nearest, up to {most:.3g} off, the reference does not: "
                "round images before they are normalized"
            )
    return tuple(warnings)


def _pixels_of(one: PixelMap, values: Array) -> NDArray[np.float64]:
    """The pixels, with fractions, of some of the samples."""
    rows = np.unique(np.linspace(0, len(values) - 1, min(_ROWS, len(values))).astype(int))
    found: NDArray[np.float64] = np.asarray(values[rows], np.float64) * one.std + one.mean
    return found


def with_known_ranges(content: bytes, maps: Mapping[str, PixelMap]) -> bytes:
    """A float flatbuffer with ranges, in which inputs have those of all pixels: then int8 has a step for each of them.

    Only for maps that are a scale and a zero point.
    """
    known = {name: one for name, one in maps.items() if one.zero_point is not None}
    if not known:
        return content
    model, _ = unpack(content)
    for name, k in _inputs(model).items():
        parameters = model.subgraphs[0].tensors[k].quantization
        if name in known and parameters is not None and len(listed(parameters.min)):
            low, high = known[name].span
            parameters.min, parameters.max = [low], [high]
    return pack(model)


def fold_pixels(content: bytes, maps: Mapping[str, PixelMap]) -> bytes:
    """The variant with inputs of uint8 pixels. Raises EdgetfError for an input that is not float32 or quantized."""
    if not maps:
        return content
    model, schema = unpack(content)
    added = sum([_Folding(model, schema, name).fold(one) for name, one in maps.items()])
    renumber_factors(model, schema, added)
    add_maps(model, schema, maps)
    return prune(pack(model))


def add_maps(model: Any, schema: Any, maps: Mapping[str, PixelMap]) -> None:
    """Write the maps to a model's metadata; if there are none, it stays as it is."""
    if maps:
        add_entry(model, schema, ENTRY, maps_to_text(maps).encode())


def _inputs(model: Any) -> dict[str, int]:
    """The tensors of the inputs, by their names in the signature."""
    return {one.name.decode(): int(one.tensorIndex) for one in listed(model.signatureDefs[0].inputs)}


class _Folding:
    """An input of the main graph that becomes one of pixels. `_first` are the new operations, in order."""

    def __init__(self, model: Any, schema: Any, name: str) -> None:
        self._model, self._schema, self._name = model, schema, name
        self._graph, self._given = model.subgraphs[0], _inputs(model)[name]
        self._types, self._kinds = names_of(schema.TensorType), names_of(schema.BuiltinOperator)
        self._first: list[Any] = []

    def fold(self, one: PixelMap) -> int:
        """Returns the number of new operations that do more than change the representation."""
        k, tensor = self._given, self._graph.tensors[self._given]
        dtype = self._types[tensor.type]
        if dtype != "FLOAT32" and dtype not in _QUANTIZED:
            raise EdgetfError(f"input {self._name!r} is {dtype.lower()} in this variant: it cannot take pixels")
        readers = [op for op in listed(self._graph.operators) if k in listed(op.inputs)]
        pixels = self._add("", tensor.name)
        self._make_input(pixels)
        tensor.name = f"{self._name}/pixels/normalized"
        arithmetic = 0
        if one.zero_point is not None:
            source, direct = pixels, [op for op in readers if self._quantizes(op)]
            self._quantize(
                pixels, self._scale(1 / one.std[0], [*(int(op.outputs[0]) for op in direct), k]), one.zero_point
            )
        elif dtype == "FLOAT32":
            source, direct, arithmetic = k, [], self._compute(one, pixels, k)
        else:
            source = self._add("exact", None)
            direct, arithmetic = [op for op in readers if self._quantizes(op)], self._compute(one, pixels, source)
        for op in direct:
            op.inputs = np.array([source], np.int32)
        is_read = len(direct) < len(readers) or k in listed(self._graph.outputs)
        if is_read and source != k:
            self._op("DEQUANTIZE" if dtype == "FLOAT32" else "QUANTIZE", [source], k)
        self._graph.operators = [*self._first, *listed(self._graph.operators)]
        return arithmetic

    def _quantizes(self, op: Any) -> bool:
        """Whether it is a QUANTIZE that can also read pixels: its kernel has none from uint8 to int16."""
        is_quantize = self._kinds[builtin_code(self._model, op)] == "QUANTIZE"
        return is_quantize and self._types[self._graph.tensors[op.outputs[0]].type] in _QUANTIZED

    def _scale(self, scale: float, known: Sequence[int]) -> float:
        """The scale, or that of one of these tensors if only rounding is between them: then a kernel flips a bit."""
        for parameters in (self._graph.tensors[k].quantization for k in known):
            for found in [] if parameters is None else map(float, listed(parameters.scale)):
                if abs(found / scale - 1) < _SAME_SCALE:
                    return found
        return scale

    def _compute(self, one: PixelMap, pixels: int, result: int) -> int:
        """Add the operations that compute the model's values in float32; returns how many do arithmetic."""
        of_channels = len(set(one.std)) > 1
        self._quantize(pixels, 1.0 if of_channels else 1 / one.std[0], 0)
        steps: list[tuple[str, NDArray[np.float64]]] = []
        if of_channels:
            steps.append(("MUL", 1 / np.array(one.std)))
        if any(one.mean):
            steps.append(("ADD", -np.array(one.mean) / one.std))
        place = self._add("values", None) if steps else result
        self._op("DEQUANTIZE", [pixels], place)
        for number, (kind, values) in enumerate(steps, start=1):
            made = result if number == len(steps) else self._add("scaled", None)
            self._op(kind, [place, self._constant(kind.lower(), values)], made)
            place = made
        return len(steps)

    # parts of the flatbuffer --------------------------------------------------------------------------------------

    def _add(self, label: str, name: Any) -> int:
        """A new tensor of the input's shape: float32, unless it is to be quantized."""
        tensor = copy.copy(self._graph.tensors[self._given])
        tensor.name = f"{self._name}/pixels/{label}" if name is None else name
        tensor.type, tensor.quantization, tensor.buffer = self._schema.TensorType.FLOAT32, None, 0
        self._graph.tensors = [*self._graph.tensors, tensor]
        return len(self._graph.tensors) - 1

    def _constant(self, label: str, values: NDArray[np.float64]) -> int:
        place = self._add(label, None)
        tensor = self._graph.tensors[place]
        tensor.shape, tensor.shapeSignature = np.array([len(values)], np.int32), None
        tensor.buffer = add_buffer(self._model, self._schema, values.astype(np.float32))
        return place

    def _quantize(self, place: int, scale: float, zero_point: int) -> None:
        tensor = self._graph.tensors[place]
        tensor.type, tensor.quantization = self._schema.TensorType.UINT8, self._schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([scale], np.float32)
        tensor.quantization.zeroPoint = np.array([zero_point], np.int64)

    def _make_input(self, place: int) -> None:
        inputs = [place if int(k) == self._given else int(k) for k in self._graph.inputs]
        self._graph.inputs = np.array(inputs, np.int32)
        for one in listed(self._model.signatureDefs[0].inputs):
            if int(one.tensorIndex) == self._given:
                one.tensorIndex = place

    def _op(self, kind: str, inputs: Sequence[int], output: int) -> None:
        op, options = self._schema.OperatorT(), f"{kind.capitalize()}Options"
        op.opcodeIndex = add_code(self._model, getattr(self._schema.BuiltinOperator, kind), 1)
        op.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
        op.builtinOptions = getattr(self._schema, f"{options}T")()
        op.inputs, op.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        self._first.append(op)
