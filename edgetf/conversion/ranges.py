"""Ranges: the smallest and largest value of each activation on the samples, and how they are chosen.

They are the result of calibration, and quantization needs nothing else of the samples. `ranges.json` stores them for
inspection and reuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import EdgetfError
from edgetf.results import Calibration

# 1: first
RANGES_SCHEMA = 1

Floats = NDArray[np.float32]
_LEVELS = 255  # steps of int8 between the ends of a range
_BINS = 16 * 256  # of a histogram
_CLIPS = np.linspace(0.2, 1.0, 81)


class Choice(str, Enum):
    """How a range is chosen from the observed values of a tensor."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    AUTO = "auto"  # the one with the best outputs; as that of Ranges: of several tensors another one


@dataclass(frozen=True)
class RangeChoice:
    """A Choice and, for percentiles, the share of values in percent that the range must hold."""

    how: Choice = Choice.MINMAX
    percentile: float = 100.0

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise EdgetfError(f"{self.percentile:g} is not a valid percentile", "give one above 50, such as 99.99")

    @property
    def needs_values(self) -> bool:
        """Whether more than the smallest and largest values must be kept."""
        return self.how is not Choice.MINMAX

    def describe(self) -> str:
        """The choice in words."""
        return f"{self.how.value} {self.percentile:g}" if self.percentile < 100 else self.how.value


@dataclass(frozen=True)
class Range:
    """A tensor's range. `widest_sample` is the row of the sample with the largest absolute value.

    `stretch` is the ratio of that value to the largest one of all other samples.
    """

    tensor: str
    low: float
    high: float
    widest_sample: int
    stretch: float


@dataclass(frozen=True)
class Ranges:
    """`ranges.json`: the ranges of the activations of the float flatbuffer with this `digest`."""

    schema: int
    edgetf: str
    digest: str
    calibration: Calibration
    choice: RangeChoice
    ranges: tuple[Range, ...]


def choose(choice: RangeChoice, low: float, high: float, values: Floats) -> tuple[float, float]:
    """The range for a tensor whose smallest and largest values were `low` and `high`.

    `values`, shape (n,), is a random selection of its observed values. It is used for percentiles and the mean squared
    error. A range never extends beyond `low` to `high`.
    """
    if choice.how is Choice.MINMAX or not len(values):
        return low, high
    if choice.how is Choice.PERCENTILE:
        tail = (100 - choice.percentile) / 2
        chosen_low, chosen_high = np.percentile(values, [tail, 100 - tail])
        return max(low, float(chosen_low)), min(high, float(chosen_high))
    return _least_error(low, high, values)


def _least_error(low: float, high: float, values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Shrink both ends by the factor with the least mean squared error of rounding and clipping to int8.

    As in Banner et al., Post training 4-bit quantization (NeurIPS 2019), by search instead of by a model of the
    distribution. The factors are compared on a histogram with bins 16 times finer than the steps.
    """
    values = values.astype(np.float64)  # the step of a narrow range may be too small for a normal float32
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        places = (values - low) * (_BINS / np.float64(high - low))
    if not np.isfinite(places).all():  # all values are the same
        return low, high
    bins = places.astype(np.int64).clip(0, _BINS - 1)
    counts, sums = np.bincount(bins, minlength=_BINS), np.bincount(bins, values, _BINS)
    filled = counts > 0
    counts, means = counts[filled], sums[filled] / counts[filled]
    bottoms, tops = np.minimum(low * _CLIPS, 0.0)[:, None], np.maximum(high * _CLIPS, 0.0)[:, None]
    off = _rounded(means, bottoms, tops) - means
    best = float(_CLIPS[int(np.argmin((counts * off**2).sum(axis=1)))])
    shrunk, whole = (_error(values, min(low * clip, 0.0), max(high * clip, 0.0)) for clip in (best, 1.0))
    if shrunk > whole:  # of the values themselves
        return low, high
    # the quantizer's range always includes zero: an end on the other side of zero has nothing to clip and is kept
    return (low * best if low < 0 else low), (high * best if high > 0 else high)


def _error(values: NDArray[np.float64], bottom: float, top: float) -> float:
    return float(np.mean((_rounded(values, bottom, top) - values) ** 2))


def _rounded(values: NDArray[np.float64], bottom: Any, top: Any) -> NDArray[np.float64]:
    """Values on the 256 steps from `bottom` to `top`, which hold zero; ends of several ranges are columns."""
    step = (top - bottom) / _LEVELS
    step = np.where(step > 0, step, 1.0)
    rounded: NDArray[np.float64] = np.rint((np.clip(values, bottom, top) - bottom) / step) * step + bottom
    return rounded
