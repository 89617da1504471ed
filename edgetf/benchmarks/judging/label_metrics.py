"""Built-in metrics of outputs against labels: a score for each sample, for both sides on the same samples.

They are the share of right positions of dense outputs (segmentation, tagging) and the error of regressions, in points.
User metrics (`own_metric`, given as `module:function`) are for detection, sequences and others. Intervals come from the
paired bootstrap: samples are resampled with both answers (Efron and Tibshirani, An Introduction to the Bootstrap,
chapters 8 and 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.distinct import Distinct
from edgetf.benchmarks.judging.labels import Interpretation, blocks, decisions, settle
from edgetf.results import LabelUse, MetricFigures
from edgetf.samples import Array

Outputs = Mapping[str, Array]


def built_in_metrics(
    reference: Outputs, variant: Outputs, read: Mapping[str, Interpretation], distinct: Distinct | None = None
) -> list[MetricFigures]:
    """Metrics for outputs with labels that are not one class per sample: right positions, and errors of values.

    `read` has the labels of each output, for at least as many samples as the outputs; `distinct` are the groups of
    identical samples, which count once.
    """
    found = []
    for name in sorted(variant):
        settled = settle(name, read[name], reference[name], variant[name])
        score = {LabelUse.POSITIONS: _positions, LabelUse.VALUE: _errors}.get(settled.use)
        if score is not None:
            found.append(_figures(name, score(reference[name], variant[name], settled), distinct))
    return found


@dataclass(frozen=True)
class _Scored:
    """A score of each sample for both sides, in points, and the score of a constant answer.

    `step` is the smallest possible change of a score, if known.
    """

    what: str
    reference: NDArray[np.float64]
    variant: NDArray[np.float64]
    span: tuple[float, float]
    chance: float | None
    step: float | None = None


def _figures(output: str, scored: _Scored, distinct: Distinct | None) -> MetricFigures:
    theirs, ours = scored.reference, scored.variant
    if distinct is not None and len(distinct.group) == len(theirs):
        theirs, ours = distinct.means(theirs), distinct.means(ours)
    low, high = statistics.paired_bootstrap(theirs - ours, scored.span, scored.step)
    name = f"{scored.what} of {output}"
    reached = float(theirs.mean()), float(ours.mean())
    drop = float((theirs - ours).mean())
    return MetricFigures(name, output, len(theirs), *reached, drop, low, high, (), chance=scored.chance)


def _positions(reference: Array, variant: Array, read: Interpretation) -> _Scored:
    """Percentage of the positions of a sample whose class is right."""
    assert read.decide is not None
    assert read.truth is not None
    scores = []
    for values in (reference, variant):
        right = decisions(read.decide, values) == read.truth[: len(values)]
        scores.append(100 * right.reshape(len(right), -1).mean(axis=1))
    step, chance = 100 / read.truth[0].size, None if read.chance is None else 100 * read.chance
    return _Scored("right positions, %,", scores[0], scores[1], (0.0, 100.0), chance, step)


def _errors(reference: Array, variant: Array, read: Interpretation) -> _Scored:
    """The negative mean absolute error of a sample, in percent of the standard deviation of each column's labels.

    Columns along the last axis may have different units. For a column whose labels are all the same, the deviation of
    all labels is used.
    """
    assert read.truth is not None
    known = np.asarray(read.truth, np.float64)
    columns = known.shape[-1] if known.ndim > 1 else 1
    spread = known.reshape(-1, columns).std(axis=0)
    spread[spread == 0] = float(known.std())
    scores = []
    for values in (reference, variant):
        pieces = []
        for rows in blocks(values):
            errors = np.abs(np.asarray(values[rows], np.float64) - known[rows]).reshape(-1, columns) / spread
            pieces.append(-100 * errors.reshape(len(values[rows]), -1).mean(axis=1))
        scores.append(np.concatenate(pieces))
    span = span_of(*scores)
    by_column = known.reshape(-1, columns)
    chance = -100 * float((np.abs(by_column - np.median(by_column, axis=0)) / spread).mean())
    return _Scored("less error, % of the labels' deviation,", scores[0], scores[1], span, chance)


def span_of(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """The range of scores: 0 to 1 if all are within, otherwise the smallest to the largest."""
    low, high = float(min(one.min(), other.min())), float(max(one.max(), other.max()))
    return (0.0, 1.0) if 0 <= low <= high <= 1 else (low, high)
