"""Columns of values that the labels show to be lost. In: both sides and the labels. Out: sentences.

The error of a regression is the mean over all columns: one lost column of a hundred costs less than a point, and in an
axis of boxes and scores the boxes are nearly all of it. A column is lost if the variant keeps hardly any of what the
Reference is better than a constant answer, significantly less than half (a test of means, with Bonferroni's correction
over the columns). A column of which the Reference itself knows hardly anything cannot be lost.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.columns import name_columns
from edgetf.benchmarks.judging.labels import blocks

Numbers = NDArray[Any]
Floats = NDArray[np.float64]
_LEAST_SAMPLES = 10
_KNOWN = 0.1  # of the error of a constant answer: what the Reference must be better
_HARDLY = 0.2  # of that


class _Mean:
    """The mean of each column over the samples, and its standard error, from blocks of shape (rows, columns)."""

    def __init__(self, columns: int) -> None:
        self.n, self.total, self.squares = 0, np.zeros(columns), np.zeros(columns)

    def add(self, values: Floats) -> None:
        self.n += len(values)
        self.total += values.sum(axis=0)
        self.squares += np.square(values).sum(axis=0)

    @property
    def mean(self) -> Floats:
        return self.total / self.n

    @property
    def deviation(self) -> Floats:
        return np.asarray(np.sqrt(np.maximum(self.squares / self.n - self.mean**2, 0.0) / self.n))


def lost_columns(reference: Numbers, variant: Numbers, truth: Numbers, once: NDArray[np.bool_]) -> tuple[str, ...]:
    """Sentences on the lost columns along each axis of an output of shape (n, ...), as `truth` has.

    `once` selects the distinct samples, shape (n,).
    """
    row, middle = reference.shape[1:], np.median(truth, axis=0)
    axes = [k for k in range(len(row)) if row[k] > 1]
    if once.sum() < _LEAST_SAMPLES:
        return ()
    sums = {axis: tuple(_Mean(row[axis]) for _ in range(4)) for axis in axes}
    for rows in blocks(reference):
        known = np.asarray(truth[rows], np.float64)[once[rows]]
        sides = [np.asarray(side[rows], np.float64)[once[rows]] for side in (reference, variant)]
        errors = [np.abs(side - known) for side in (middle, *sides)]
        for axis in axes:
            others = tuple(k + 1 for k in range(len(row)) if k != axis)
            constant, theirs, ours = (error.mean(axis=others) for error in errors)
            had, kept = constant - theirs, constant - ours
            for one, values in zip(sums[axis], (constant, had, kept, kept - had / 2), strict=True):
                one.add(values)
    return tuple(found for axis in axes if (found := _judge(axis, *sums[axis])))


def _judge(axis: int, constant: _Mean, had: _Mean, kept: _Mean, half: _Mean) -> str:
    """A sentence on the lost columns of an axis; empty if there are none."""
    sure = NormalDist().inv_cdf(1 - (1 - statistics.CONFIDENCE) / len(had.mean))
    known = (had.mean > _KNOWN * constant.mean) & (had.mean > sure * had.deviation)
    gone = (kept.mean <= _HARDLY * had.mean) & (half.mean < -sure * half.deviation)
    lost = np.flatnonzero(known & gone)
    if not len(lost):
        return ""
    theirs, ours = (1 - one.mean[lost].sum() / constant.mean[lost].sum() for one in (had, kept))
    name = f"{name_columns(lost.tolist())} of axis {axis + 1} {'is' if len(lost) == 1 else 'are'} lost"
    return f"{name}: the error is {ours:.0%} of a constant answer's, the reference's is {theirs:.0%}"
