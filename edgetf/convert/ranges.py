"""Ranges: the smallest and largest value that each activation takes on the samples, and how they are chosen.

They are what calibration finds out and all that quantization needs of the samples. Written to `ranges.json`, they
can be looked at, kept, and used again.
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
_CLIPS = np.linspace(0.2, 1.0, 81)


class Choice(str, Enum):
    """How a range is chosen from the values that a tensor took."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


@dataclass(frozen=True)
class RangeChoice:
    """A Choice and, for percentiles, the share of values in percent that the range must hold."""

    how: Choice = Choice.MINMAX
    percentile: float = 100.0

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise EdgetfError(f"a percentile of {self.percentile:g} is no range", "give one above 50, such as 99.99")

    @property
    def needs_values(self) -> bool:
        """Whether more than the smallest and largest values must be kept."""
        return self.how is not Choice.MINMAX


@dataclass(frozen=True)
class Range:
    """A tensor's range. `widest_sample` is the row of the sample that had its largest absolute value.

    `stretch` is that value beside the largest one of all other samples.
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

    `values`, shape (n,), is a random choice of the values that it took; it is looked at for percentiles and the
    mean squared error. A range never grows beyond `low` to `high`.
    """
    if choice.how is Choice.MINMAX or not len(values):
        return low, high
    if choice.how is Choice.PERCENTILE:
        tail = (100 - choice.percentile) / 2
        chosen_low, chosen_high = np.percentile(values, [tail, 100 - tail])
        return max(low, float(chosen_low)), min(high, float(chosen_high))
    return _least_error(low, high, values)


def _least_error(low: float, high: float, values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Shrink both ends by the factor that gives the least mean squared error of rounding and clipping to int8.

    As in Banner et al., Post training 4-bit quantization (NeurIPS 2019), by search instead of by a model of the
    distribution.
    """
    values = values.astype(np.float64)  # a range may be so narrow that its step is no normal float32
    errors = []
    for clip in _CLIPS:
        bottom, top = min(low * clip, 0.0), max(high * clip, 0.0)
        step = (top - bottom) / _LEVELS or 1.0
        rounded = np.rint((np.clip(values, bottom, top) - bottom) / step) * step + bottom
        errors.append(float(np.mean((rounded - values) ** 2)))
    best = float(_CLIPS[int(np.argmin(errors))])
    return low * best, high * best
