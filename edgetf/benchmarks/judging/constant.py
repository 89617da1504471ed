"""Columns that are the same for every sample although the Reference's are not. In: outputs. Out: sentences.

A constant output fails with any budget. One constant column of a hundred hardly changes the SQNR, the agreement or the
error of the whole, but it is as useless. It counts if the variant could have shown the variation: other columns of the
same quantity vary, and their errors are clearly smaller than it. A quantity that is constant as a whole is judged by
its SQNR.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.columns import Moments, find_quantities, name_columns, per_column
from edgetf.benchmarks.judging.labels import blocks
from edgetf.defaults import MIN_AGREEMENT

Numbers = NDArray[Any]
Floats = NDArray[np.float64]
_LEAST_SPREAD = 0.1  # of the spread of the other columns
_LEAST_ERRORS = 3.0  # of the error of the other columns: smaller variation may be lost to quantization
_LEAST_SAMPLES = 5.0  # that vary: a few may be outliers
_HALF = 0.5  # where a probability decides
_LEAST_OTHERS = 2  # samples that the Reference decides otherwise


@dataclass(frozen=True)
class Sides:
    """Both sides of an output, in the order of the samples.

    `moments` are the Reference's; `noise` is the mean square of the error at each position, shape (positions,), and
    `varies` tells whether the variant varies there. `once` selects the distinct samples, shape (n,).
    """

    reference: Numbers
    variant: Numbers
    moments: Moments
    noise: Floats
    varies: NDArray[np.bool_]
    once: NDArray[np.bool_]


def constant_numbers(sides: Sides, image: bool) -> tuple[str, ...]:
    """Sentences on the constant columns of an output of numbers; `image` as in `find_quantities`."""
    row, found = sides.reference.shape[1:], list[str]()
    for axis, members in find_quantities(row, sides.moments, image).items():
        spread, _ = per_column(row, axis, sides.moments)
        error = np.sqrt(_by_column(sides.noise, row, axis).mean(axis=0))
        varies = _by_column(sides.varies, row, axis).any(axis=0)
        still = np.concatenate([_still(columns, varies, spread, error) for columns in members or [np.array([], int)]])
        if len(still):
            still = np.sort(still[_samples(sides, axis, still) >= _LEAST_SAMPLES])
        found += _in_words(axis, still)
    return tuple(found)


def one_sided(sides: Sides) -> tuple[str, ...]:
    """A sentence if a single number between 0 and 1 may be a probability, whose decision is then constant."""
    reference, variant = (
        np.asarray(side).reshape(len(side), -1)[sides.once] for side in (sides.reference, sides.variant)
    )
    if reference.shape[1] != 1 or reference.dtype.kind != "f" or reference.min() < 0 or reference.max() > 1:
        return ()
    theirs, ours = reference[:, 0] > _HALF, variant[:, 0] > _HALF
    if ours.min() != ours.max() or (theirs != ours).sum() < _LEAST_OTHERS or theirs.min() == theirs.max():
        return ()
    same = f"it is {'above' if ours[0] else 'at most'} {_HALF} for every sample, but the reference is not"
    return (f"{same}: labels would show whether decisions are lost",)


def constant_decisions(sides: Sides, truth: Numbers | None) -> tuple[str, ...]:
    """Sentences on the constant columns of an output whose numbers are decisions.

    With labels, only the Reference's right decisions are lost. A column counts if its agreement is below the default
    budget, and if so many samples with rarer decisions are lost that it is no chance (each with one half, with
    Bonferroni's correction over the columns).
    """
    row, found = sides.reference.shape[1:], list[str]()
    for axis in (k for k in range(len(row)) if row[k] > 1):
        varies = _by_column(sides.varies, row, axis).any(axis=0)
        expected = _by_column(sides.moments.spread > 0, row, axis).any(axis=0)
        still = [int(k) for k in np.flatnonzero(expected & ~varies) if _loses(sides, truth, axis, int(k))]
        found += _in_words(axis, still)
    return tuple(found)


def _by_column(values: Numbers, row: Sequence[int], axis: int) -> Numbers:
    """Values of shape (positions,) as (others, columns)."""
    return np.moveaxis(values.reshape(row), axis, -1).reshape(-1, row[axis])


def _still(columns: NDArray[np.int64], varies: NDArray[np.bool_], spread: Floats, error: Floats) -> NDArray[np.int64]:
    """The columns of a quantity that do not vary, but would if they were computed as precisely as the others."""
    others, still = columns[varies[columns]], columns[~varies[columns]]
    if not len(others) or not len(still):
        return still[:0]
    usual = float(np.sqrt(np.square(spread[others]).mean()))
    least = max(_LEAST_SPREAD * usual, _LEAST_ERRORS * float(np.median(error[others])))
    return np.asarray(still[spread[still] >= least])


def _samples(sides: Sides, axis: int, columns: NDArray[np.int64]) -> Floats:
    """The number of samples that make up the variation of each column of the Reference: (sum p)^2 / sum p^2 of the
    powers p of its samples."""
    row, total, squares = sides.reference.shape[1:], np.zeros(len(columns)), np.zeros(len(columns))
    mean = sides.moments.mean.reshape(row).take(columns, axis)
    for rows in blocks(sides.reference):
        values = np.asarray(sides.reference[rows], np.float64).take(columns, axis + 1)[sides.once[rows]]
        power = np.moveaxis(np.square(values - mean), axis + 1, -1).reshape(len(values), -1, len(columns)).sum(axis=1)
        total += power.sum(axis=0)
        squares += np.square(power).sum(axis=0)
    return np.asarray(np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0))


def _loses(sides: Sides, truth: Numbers | None, axis: int, column: int) -> bool:
    """Whether a column in which the variant is constant loses decisions of the Reference, and not by chance."""
    theirs, ours = (
        np.asarray(side).take(column, axis + 1).reshape(len(side), -1)[sides.once]
        for side in (sides.reference, sides.variant)
    )
    lost = theirs != ours
    if truth is not None:
        known = truth.reshape(sides.reference.shape).take(column, axis + 1).reshape(len(truth), -1)[sides.once]
        lost &= theirs == known
    _, place, counts = np.unique(theirs, axis=0, return_inverse=True, return_counts=True)
    other = place.reshape(-1) != counts.argmax()
    chance = 0.5 ** float((other & lost.any(axis=1)).sum()) * sides.reference.shape[axis + 1]
    return bool(lost.mean() > 1 - MIN_AGREEMENT and chance <= 1 - statistics.CONFIDENCE)


def _in_words(axis: int, columns: Sequence[int] | NDArray[np.int64]) -> Iterator[str]:
    if len(columns):
        verb = "is" if len(columns) == 1 else "are"
        same = f"{name_columns([int(k) for k in columns])} of axis {axis + 1} {verb} the same for every sample"
        yield f"{same}, but the reference's {verb} not"
