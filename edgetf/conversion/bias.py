"""Bias correction. In: an int8 flatbuffer. Out: the same one, whose biases compensate the mean error of each channel.

Operation after operation, each on the corrected results of those before it (Nagel et al., Data-Free Quantization
Through Weight Equalization and Bias Correction, ICCV 2019, with means that are measured on samples). All at once,
errors are compensated several times, which destroyed models in tests.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import add_buffer, skeleton
from edgetf.conversion.observe import Fetch, expose, walk, walk_exposed
from edgetf.conversion.repairs import NotWorthItError
from edgetf.flatbuffer import listed, pack, unpack
from edgetf.samples import Samples

_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_MOST_S = 3.0  # for all operations: if it would take longer, it is not tried
_MOST_VALUES = 1 << 26  # of float32 that are kept for comparison
_RELU, _RELU6 = 1, 3  # fused activations
_LEAST, _MOST = -128, 127


@dataclass(frozen=True)
class _Layer:
    """An operation with its own bias: its result here and in float32, how the result is stored, and the ends at which
    its activation clips; `steps` are the steps of the bias, by channel."""

    bias: int
    result: int
    exact: int
    scale: float
    zero: int
    ends: tuple[float, float]
    steps: NDArray[np.float64]


def correct_biases(content: bytes, float32: bytes, samples: Samples, inferences: Sequence[int]) -> bytes:
    """Correct the biases of all convolutions and dense layers on some inferences.

    Raises ValueError if the graphs differ, and NotWorthItError before much time is spent.
    """
    content, layers = _separate(content, float32)
    exact = _exact_results(float32, [layer.exact for layer in layers], samples, inferences)
    exposed = bytearray(expose(content, [layer.result for layer in layers]))
    biases = {layer.bias: _bytes_of(exposed, layer.bias) for layer in layers}
    for done, layer in enumerate(layers):
        begin = perf_counter()
        shift = _shift(bytes(exposed), layer, exact[layer.exact], samples, inferences)
        place = biases[layer.bias]
        known = np.frombuffer(bytes(exposed[place]), np.int32).astype(np.int64)
        limits = np.iinfo(np.int32)
        moved = np.clip(known + np.rint(shift / layer.steps).astype(np.int64), limits.min, limits.max)
        exposed[place] = moved.astype(np.int32).tobytes()
        seconds = (perf_counter() - begin) * len(layers)
        if done == 0 and seconds > _MOST_S:
            raise NotWorthItError(f"{len(layers)} operations one after another would take about {seconds:.0f} s")
    corrected = bytearray(content)
    for bias, place in biases.items():
        corrected[_bytes_of(corrected, bias)] = exposed[place]
    return bytes(corrected)


def _separate(content: bytes, float32: bytes) -> tuple[bytes, list[_Layer]]:
    """The flatbuffer with a separate bias for each layer: equal ones are shared, most often zeros."""
    model, schema = unpack(content)
    twin, _ = unpack(float32)
    graph, exact = model.subgraphs[0], twin.subgraphs[0]
    here, there = list(skeleton(model, schema, graph)), list(skeleton(twin, schema, exact))
    if [kind for _, kind in here] != [kind for _, kind in there]:
        raise ValueError("its operations are not those of float32")
    layers = []
    for (op, kind), (other, _) in zip(here, there, strict=True):
        operands = [int(k) for k in listed(op.inputs)]
        if kind not in _KINDS or len(operands) < 3 or min(operands[:3]) < 0:
            continue
        data, weights, bias = (graph.tensors[k] for k in operands[:3])
        result = graph.tensors[int(op.outputs[0])]
        stored = model.buffers[bias.buffer].data
        int8 = all(one.type == schema.TensorType.INT8 for one in (data, weights, result))
        if not int8 or bias.type != schema.TensorType.INT32 or stored is None:
            continue
        own = copy.copy(bias)
        own.buffer = add_buffer(model, schema, np.asarray(stored, np.uint8))
        graph.tensors.append(own)
        operands[2] = len(graph.tensors) - 1
        op.inputs = np.array(operands, np.int32)
        scale, zero = float(result.quantization.scale[0]), int(result.quantization.zeroPoint[0])
        steps = float(data.quantization.scale[0]) * np.asarray(weights.quantization.scale, np.float64)
        ends = _ends(int(op.builtinOptions.fusedActivationFunction), scale, zero)
        layers.append(_Layer(operands[2], int(op.outputs[0]), int(other.outputs[0]), scale, zero, ends, steps))
    return pack(model), layers


def _ends(activation: int, scale: float, zero: int) -> tuple[float, float]:
    low, high = (_LEAST - zero) * scale, (_MOST - zero) * scale
    low = max(low, 0.0) if activation in (_RELU, _RELU6) else low
    return low, min(high, 6.0) if activation == _RELU6 else high


def _exact_results(
    float32: bytes, tensors: Sequence[int], samples: Samples, inferences: Sequence[int]
) -> dict[int, list[NDArray[np.float32]]]:
    """The values of these tensors in float32, inference by inference."""
    found: dict[int, list[NDArray[np.float32]]] = {k: [] for k in tensors}

    def visit(fetch: Fetch) -> None:
        if sum(fetch(k).size for k in found) * len(inferences) > _MOST_VALUES:
            raise NotWorthItError("its results take too much memory")
        for k, values in found.items():
            values.append(fetch(k).astype(np.float32))

    walk(float32, list(found), samples, inferences, visit)
    return found


def _shift(
    exposed: bytes, layer: _Layer, exact: list[NDArray[np.float32]], samples: Samples, inferences: Sequence[int]
) -> NDArray[np.float64]:
    """The mean error of each channel, over the values that the activation does not clip."""
    channels = exact[0].shape[-1]
    error, count, right = np.zeros(channels), np.zeros(channels), iter(exact)

    def visit(fetch: Fetch) -> None:
        there = next(right).reshape(-1, channels).astype(np.float64)
        here = (fetch(layer.result).reshape(-1, channels).astype(np.float64) - layer.zero) * layer.scale
        inside = (there > layer.ends[0] + layer.scale / 2) & (there < layer.ends[1] - layer.scale / 2)
        error[:] += ((there - here) * inside).sum(axis=0)
        count[:] += inside.sum(axis=0)

    walk_exposed(exposed, [layer.result], samples, inferences, visit)
    found: NDArray[np.float64] = error / np.maximum(count, 1)
    return found


def _bytes_of(content: bytearray, tensor: int) -> slice:
    """Where the bytes of a constant lie in a flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    buffer = model.Buffers(model.Subgraphs(0).Tensors(tensor).Buffer())
    begin = buffer._tab.Vector(buffer._tab.Offset(4))
    return slice(begin, begin + buffer.DataLength())
