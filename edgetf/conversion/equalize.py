"""Cross-layer equalization. In: a float flatbuffer and samples. Out: one that computes the same and quantizes better.

A tensor between two layers has one scale in int8, so that its small channels get few steps. What lies between the
layers commutes with a positive factor for each channel: dividing a channel where it is made and multiplying the weights
that read it changes no result, but brings the channels to one size (Nagel et al., Data-Free Quantization Through Weight
Equalization and Bias Correction, ICCV 2019; the factors are those of Xiao et al., SmoothQuant, ICML 2023, from the
largest values on samples). Float results stay the same up to float rounding.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import add_buffer, skeleton, values_of
from edgetf.conversion.factors import MOST, STEPS, Factors, spread
from edgetf.conversion.observe import Fetch, walk
from edgetf.conversion.prune import prune
from edgetf.flatbuffer import listed, pack, unpack
from edgetf.samples import Samples

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")
_NONE, _RELU = 0, 1  # fused activations that commute with positive factors
_LEAST = 1e-4  # of the largest channel: a smaller one counts as so large
_ALIKE = STEPS // 2  # exponents up to which a tensor's channels are left as they are

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two layers and the operations between them, by their numbers: `scaled` are those whose results get factors, the
    first layer among them; there are `channels` different ones."""

    first: int
    last: int
    scaled: tuple[int, ...]
    channels: int


@dataclass(frozen=True)
class Equalized:
    """A float flatbuffer that computes the same, and the factors of its tensors."""

    content: bytes
    factors: Factors


def find_pairs(float32: bytes) -> list[Pair]:
    """The pairs of layers whose channels may be scaled, in the order of the graph."""
    return _Graph(float32).pairs()


def equalize(float32: bytes, pairs: Sequence[Pair], samples: Samples, inferences: Sequence[int]) -> Equalized:
    """Scale the channels between the layers of `pairs`, by the largest values on some inferences.

    Tensors whose channels are alike are left; if all are, there are no factors.
    """
    graph = _Graph(float32)
    largest = graph.largest(pairs, samples, inferences)
    factors: dict[int, tuple[int, ...]] = {}
    for pair, values in zip(pairs, largest, strict=True):
        exponents = _exponents(values, graph.sensitivity(pair))
        if int(np.abs(exponents).max()) > _ALIKE:
            graph.scale(pair, exponents)
            factors |= dict.fromkeys(pair.scaled, tuple(int(one) for one in exponents))
    return Equalized(prune(pack(graph.model)), factors) if factors else Equalized(float32, {})


def _exponents(values: Doubles, weights: Doubles | None) -> NDArray[np.int64]:
    """The exponents of the factors by which channels are divided: sqrt(values / weights), about their mean.

    Without `weights` that matter, the values alone decide. Channels that are always zero, or that nothing reads, keep
    the factor 1.
    """
    alive = np.isfinite(values) & (values > 0)
    if weights is not None:
        alive &= weights > 0
    if not alive.any():
        return np.zeros(len(values), np.int64)
    ratio = _log2(values, alive)
    if weights is not None:
        ratio = (ratio - _log2(weights, alive)) / 2
    ratio = np.where(alive, ratio - ratio[alive].mean(), 0.0)
    found: NDArray[np.int64] = np.clip(np.rint(ratio * STEPS), -MOST, MOST).astype(np.int64)
    return found


def _log2(values: Doubles, alive: NDArray[np.bool_]) -> Doubles:
    """The logarithms of those that are alive, none far below the largest."""
    least = _LEAST * values.max(initial=0.0, where=alive)
    found: Doubles = np.log2(np.where(alive, np.maximum(values, least), 1.0))
    return found


def _is_dense(options: Any) -> bool:
    """Whether the weights of a layer are stored in order."""
    return int(getattr(options, "weightsFormat", None) or 0) == 0


class _Graph:
    """The main graph of a float flatbuffer; `scale` changes it."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.model, self._schema = unpack(content)
        self._graph = self.model.subgraphs[0]
        self._ops = list(skeleton(self.model, self._schema, self._graph))
        every = listed(self._graph.operators)
        self._reads = Counter(int(k) for op in every for k in listed(op.inputs))
        self._outputs = {int(k) for k in listed(self._graph.outputs)}
        self._readers = {int(k): number for number, (op, _) in enumerate(self._ops) for k in listed(op.inputs)}

    def pairs(self) -> list[Pair]:
        found = (self._pair(number) for number in range(len(self._ops)))
        return [pair for pair in found if pair is not None]

    def _pair(self, first: int) -> Pair | None:
        """The pair whose first layer is an operation."""
        op, kind = self._ops[first]
        if kind not in _LAYERS or not self._is_plain_layer(first):
            return None
        channels = self._length(int(op.outputs[0]))
        if channels != self._weights(first).shape[3 if kind == "DEPTHWISE_CONV_2D" else 0]:
            return None
        scaled, number = [first], first
        while True:
            tensor = int(self._ops[number][0].outputs[0])
            if self._reads[tensor] != 1 or tensor in self._outputs or tensor not in self._readers:
                return None
            number = self._readers[tensor]
            op, kind = self._ops[number]
            if int(op.inputs[0]) != tensor or self._length(tensor) % channels:
                return None
            if kind in _LAYERS:
                return Pair(first, number, tuple(scaled), channels) if self._reads_channels(number, tensor) else None
            if not self._commutes(number, channels):
                return None
            scaled.append(number)

    def _is_plain_layer(self, number: int) -> bool:
        """Whether a layer has constant weights, and an activation that commutes with positive factors."""
        op, _ = self._ops[number]
        operands = [int(k) for k in listed(op.inputs)]
        options = op.builtinOptions
        plain = options.fusedActivationFunction in (_NONE, _RELU) and _is_dense(options)
        constants = operands[1:2] + [k for k in operands[2:3] if k >= 0]
        return plain and len(operands) > 1 and all(self._is_constant(k) for k in constants)

    def _is_constant(self, k: int) -> bool:
        """Whether a tensor is a dense float constant."""
        tensor = self._graph.tensors[k]
        if tensor.type != self._schema.TensorType.FLOAT32 or tensor.sparsity is not None or tensor.isVariable:
            return False
        data, size = self.model.buffers[tensor.buffer].data, int(np.prod(listed(tensor.shape)))
        return data is not None and len(data) == 4 * size > 0

    def _weights(self, number: int) -> NDArray[np.float32]:
        return values_of(self.model, self._graph, int(self._ops[number][0].inputs[1]))

    def _length(self, k: int) -> int:
        """The length of a tensor's last axis; 1 if it is not fixed, or if there is none."""
        tensor = self._graph.tensors[k]
        shape = listed(tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature)
        return max(int(shape[-1]), 1) if shape else 1

    def _reads_channels(self, number: int, tensor: int) -> bool:
        """Whether each weight of a layer reads one channel of its input."""
        op, kind = self._ops[number]
        operands = [int(k) for k in listed(op.inputs)]
        if len(operands) < 2 or not _is_dense(op.builtinOptions) or not self._is_constant(operands[1]):
            return False
        shape, length = self._weights(number).shape, self._length(tensor)
        if kind == "CONV_2D":
            return shape[3] == length  # not of groups
        if kind == "DEPTHWISE_CONV_2D":
            return shape[3] % length == 0
        return shape[1] % length == 0  # its rows may be several rows of the input, one after another

    def _commutes(self, number: int, channels: int) -> bool:
        """Whether an operation hands on what its channels are multiplied by."""
        op, kind = self._ops[number]
        if kind in _POOLS:
            return op.builtinOptions.fusedActivationFunction in (_NONE, _RELU)
        if kind == "RESHAPE":  # values stay in order: the place of one, modulo the channels, is its channel
            return self._length(int(op.outputs[0])) % channels == 0
        axes = len(listed(self._graph.tensors[int(op.inputs[0])].shape))
        if kind == "MEAN":
            means = self._integers(op, 1)
            return means is not None and all(axis % axes != axes - 1 for axis in means)
        if kind == "PAD":
            padding = self._integers(op, 1)
            return padding is not None and len(padding) == 2 * axes and not any(padding[-2:])
        return kind == "RELU"

    def _integers(self, op: Any, place: int) -> list[int] | None:
        """The values of a constant operand."""
        tensor = self._graph.tensors[int(op.inputs[place])]
        data = self.model.buffers[tensor.buffer].data
        types = {self._schema.TensorType.INT32: np.int32, self._schema.TensorType.INT64: np.int64}
        if data is None or not len(data) or tensor.type not in types:
            return None
        return [int(one) for one in np.frombuffer(bytes(data), types[tensor.type])]

    def largest(self, pairs: Sequence[Pair], samples: Samples, inferences: Sequence[int]) -> list[Doubles]:
        """The largest magnitude of each channel of the first layers' results."""
        tensors = [int(self._ops[pair.first][0].outputs[0]) for pair in pairs]
        found = [np.zeros(pair.channels) for pair in pairs]

        def visit(fetch: Fetch) -> None:
            for known, tensor in zip(found, tensors, strict=True):
                np.maximum(known, np.abs(fetch(tensor)).reshape(-1, len(known)).max(axis=0), out=known)

        walk(self._content, tensors, samples, inferences, visit)
        return found

    def sensitivity(self, pair: Pair) -> Doubles | None:
        """The largest weight that reads each channel, relative to those of the same output: each output has a scale.

        None for depthwise layers, whose outputs read one channel each: any factor is right for their weights.
        """
        if self._ops[pair.last][1] == "DEPTHWISE_CONV_2D":
            return None
        weights = np.abs(self._weights(pair.last)).astype(np.float64)
        rows = weights.reshape(len(weights), -1, pair.channels).max(axis=1)
        largest: Doubles = (rows / np.maximum(rows.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)).max(axis=0)
        return largest

    def scale(self, pair: Pair, exponents: NDArray[np.int64]) -> None:
        """Divide the channels by their factors where they are made, and multiply the weights that read them."""
        op, kind = self._ops[pair.first]
        factors = spread(tuple(int(one) for one in exponents), pair.channels)
        axes = 0 if kind == "DEPTHWISE_CONV_2D" else self._weights(pair.first).ndim - 1
        self._replace(pair.first, 1, self._weights(pair.first) / factors.reshape(-1, *[1] * axes))
        if len(listed(op.inputs)) > 2 and op.inputs[2] >= 0:
            self._replace(pair.first, 2, values_of(self.model, self._graph, int(op.inputs[2])) / factors)
        weights = self._weights(pair.last)
        if self._ops[pair.last][1] == "DEPTHWISE_CONV_2D":
            length = self._length(int(self._ops[pair.last][0].inputs[0]))
            every = np.repeat(np.tile(factors, length // pair.channels), weights.shape[3] // length)
        else:
            every = np.tile(factors, weights.shape[-1] // pair.channels)
        self._replace(pair.last, 1, weights * every)

    def _replace(self, number: int, place: int, values: NDArray[Any]) -> None:
        """Give an operand of an operation its own constant: others may share the old one."""
        op, _ = self._ops[number]
        own = copy.copy(self._graph.tensors[int(op.inputs[place])])
        own.buffer = add_buffer(self.model, self._schema, values.astype(np.float32))
        self._graph.tensors.append(own)
        operands = [int(k) for k in listed(op.inputs)]
        operands[place] = len(self._graph.tensors) - 1
        op.inputs = np.array(operands, np.int32)
