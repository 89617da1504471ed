"""The inputs of the layers of a float model: for each constant, the sum over its layer's inputs x of x x^T.

Rounding needs nothing else of the samples. Only a few positions of large maps are drawn, so that memory stays small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import Constant, values_of
from edgetf.conversion.observe import Fetch, walk
from edgetf.flatbuffer import listed, unpack
from edgetf.samples import Samples

Floats = NDArray[Any]
_FEWEST, _MOST = 512, 4000  # inputs of a layer that are used; between them, as many as _FOR_A_TAP for each tap
_FOR_A_TAP = 4
_AT_ONCE = 512  # inputs that are summed by one product of matrices
_MOST_TAPS = 4608  # 3 x 3 of 512 channels: a layer of more is rounded to the nearest
_MOST_BYTES = 512 << 20  # of all sums that are in memory at once
_INPUT = {"TRANSPOSE_CONV": 2}
KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")


def is_small_enough(kind: str, shape: Sequence[int], axis: int) -> bool:
    """Whether a constant's inputs can be used: by its kind, and the number of its taps."""
    single = kind != "BATCH_MATMUL" or int(np.prod(shape[:-2])) == 1  # the same matrix for all
    return kind in KINDS and single and _taps(kind, shape, axis) <= _MOST_TAPS


def groups_of(constants: Iterable[Constant], shapes: dict[int, tuple[int, ...]]) -> list[list[Constant]]:
    """The constants in groups whose sums fit into memory together."""
    groups: list[list[Constant]] = []
    room = 0
    for one in constants:
        shape = shapes[one.tensor]
        taps = _taps(one.kind, shape, one.axis)
        size = 8 * taps * taps * (shape[3] if one.kind == "DEPTHWISE_CONV_2D" else 1)
        if not groups or size > room:
            groups.append([])
            room = _MOST_BYTES
        groups[-1].append(one)
        room -= size
    return groups


def powers(
    content: bytes, constants: Sequence[Constant], samples: Samples, inferences: Sequence[int]
) -> dict[int, Floats]:
    """The sums of x x^T by tensor, (groups, taps, taps), of layers of the main graph."""
    model, _ = unpack(content)
    graph = model.subgraphs[0]
    operators, random = listed(graph.operators), np.random.default_rng(0)
    sources = {one: int(operators[one.reader].inputs[_INPUT.get(one.kind, 0)]) for one in constants}
    shapes = {one: values_of(model, graph, one.tensor).shape for one in constants}
    wanted = {one: np.clip(_FOR_A_TAP * _taps(one.kind, shapes[one], one.axis), _FEWEST, _MOST) for one in constants}
    sums = {one.tensor: _Sum() for one in constants}

    def visit(fetch: Fetch) -> None:
        for one, source in sources.items():
            options, rows = operators[one.reader].builtinOptions, -(-int(wanted[one]) // len(inferences))
            sums[one.tensor].add(_patches(one.kind, options, fetch(source), shapes[one], rows, random))

    walk(content, list(dict.fromkeys(sources.values())), samples, inferences, visit)
    return {tensor: one.total() for tensor, one in sums.items()}


class _Sum:
    """The sum of x x^T over inputs that come in pieces, multiplied some hundred at a time."""

    def __init__(self) -> None:
        self._power: Floats | None = None
        self._waiting: list[Floats] = []

    def add(self, inputs: Floats) -> None:
        self._waiting.append(inputs)
        if sum(one.shape[1] for one in self._waiting) >= _AT_ONCE:
            self._multiply()

    def total(self) -> Floats:
        self._multiply()
        assert self._power is not None
        return self._power

    def _multiply(self) -> None:
        if self._waiting:
            inputs = np.concatenate(self._waiting, axis=1)
            power = (inputs.transpose(0, 2, 1) @ inputs).astype(np.float64)
            self._power = power if self._power is None else self._power + power
            self._waiting = []


def as_rows(kind: str, weights: Floats, axis: int, groups: int) -> Floats:
    """Weights as (groups, rows, taps): each row makes one channel of the result of its group's taps."""
    if kind == "DEPTHWISE_CONV_2D":
        return weights.reshape(-1, groups, weights.shape[3] // groups).transpose(1, 2, 0)
    if kind == "TRANSPOSE_CONV":
        outputs, height, width, inputs = weights.shape
        return weights.transpose(1, 2, 0, 3).reshape(height * width, outputs, inputs)
    if kind == "BATCH_MATMUL" and axis == weights.ndim - 1:
        return weights.reshape(weights.shape[-2:]).T[None]
    outputs = weights.shape[axis]
    rows: Floats = weights.reshape(groups, outputs // groups, -1)
    return rows


def from_rows(kind: str, rows: Floats, axis: int, shape: tuple[int, ...]) -> Floats:
    """The inverse of `as_rows`."""
    if kind == "DEPTHWISE_CONV_2D":
        rows = rows.transpose(2, 0, 1)
    elif kind == "TRANSPOSE_CONV":
        outputs, height, width, inputs = shape
        rows = rows.reshape(height, width, outputs, inputs).transpose(2, 0, 1, 3)
    elif kind == "BATCH_MATMUL" and axis == len(shape) - 1:
        rows = rows[0].T
    return rows.reshape(shape)


def _taps(kind: str, shape: Sequence[int], axis: int) -> int:
    if kind == "DEPTHWISE_CONV_2D":
        return shape[1] * shape[2]
    if kind == "TRANSPOSE_CONV":
        return shape[3]
    return int(np.prod(shape)) // shape[axis]


def _patches(
    kind: str, options: Any, values: Floats, shape: tuple[int, ...], rows: int, random: np.random.Generator
) -> Floats:
    """Some of the inputs that a layer's weights are multiplied by: (groups, at most `rows`, taps)."""
    if kind == "BATCH_MATMUL":
        values = np.swapaxes(values, -1, -2) if options.adjX else values
        return _some(values.reshape(-1, values.shape[-1]), rows, random)[None]
    if kind == "FULLY_CONNECTED":
        return _some(values.reshape(-1, shape[-1]), rows, random)[None]
    if kind == "TRANSPOSE_CONV":  # each place of the filter alone: overlapping places are taken as independent
        return _some(values.reshape(-1, shape[3]), rows, random)[None]
    windows = _windows(options, values, shape[1], shape[2], rows, random)
    channels = values.shape[3]
    inputs: Floats
    if kind == "DEPTHWISE_CONV_2D":
        inputs = windows.reshape(len(windows), -1, channels).transpose(2, 0, 1)
        return inputs
    groups = channels // shape[3]
    parts = windows.reshape(len(windows), shape[1] * shape[2], groups, shape[3]).transpose(2, 0, 1, 3)
    inputs = parts.reshape(groups, len(windows), -1)
    return inputs


def _some(values: Floats, rows: int, random: np.random.Generator) -> Floats:
    """A copy of at most `rows` rows: the interpreter refuses to run while a view of its own memory exists."""
    return values.copy() if len(values) <= rows else values[random.choice(len(values), rows, replace=False)]


def _windows(options: Any, values: Floats, height: int, width: int, rows: int, random: np.random.Generator) -> Floats:
    """Windows (at most `rows`, height, width, channels) of maps (n, y, x, channels) at random places of the result."""
    ys = _places(options, values.shape[1], height, options.strideH, options.dilationHFactor)
    xs = _places(options, values.shape[2], width, options.strideW, options.dilationWFactor)
    places = np.arange(len(values) * len(ys) * len(xs))
    places = places if len(places) <= rows else random.choice(len(places), rows, replace=False)
    picture, place = np.divmod(places, len(ys) * len(xs))
    y, x = ys[place // len(xs)][:, :, None], xs[place % len(xs)][:, None, :]
    inside = (y >= 0) & (y < values.shape[1]) & (x >= 0) & (x < values.shape[2])
    found: Floats = values[picture[:, None, None], y.clip(0, values.shape[1] - 1), x.clip(0, values.shape[2] - 1)]
    found[~inside] = 0.0  # what is padded
    return found


def _places(options: Any, size: int, taps: int, stride: int, dilation: int) -> NDArray[np.intp]:
    """The place along an axis of each tap of each result: (results, taps); outside of 0 to `size` there is padding."""
    reach = (taps - 1) * dilation + 1
    same = int(options.padding) == 0
    results = -(-size // stride) if same else (size - reach) // stride + 1
    before = max((results - 1) * stride + reach - size, 0) // 2 if same else 0
    places: NDArray[np.intp] = (np.arange(results) * stride - before)[:, None] + np.arange(taps) * dilation
    return places
