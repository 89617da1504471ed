"""The comparison of a variant's outputs with the Reference's, output by output, on the same samples.

In: arrays of both in the same order (memory-mapped and read in blocks), and the interpretation of the output. Out:
errors and SQNR; for outputs that decide between classes, agreement and accuracy drop; for others with several columns,
the SQNR of each group; columns that are constant or lost. `verdict` judges them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.classes import Classes, by_class, by_column, by_position
from edgetf.benchmarks.judging.columns import Groups, Moments, find_groups
from edgetf.benchmarks.judging.constant import Sides, constant_decisions, constant_numbers, one_sided
from edgetf.benchmarks.judging.distinct import Distinct
from edgetf.benchmarks.judging.labels import (
    Interpretation,
    Numbers,
    answers_by_column,
    are_decisions,
    blocks,
    decisions,
    settle,
)
from edgetf.benchmarks.judging.lost_columns import lost_columns
from edgetf.benchmarks.judging.sequential import Bounds
from edgetf.errors import EdgetfError
from edgetf.results import Accuracy, Agreement, ColumnFigures, Comparable, LabelUse, OutputFigures, Reference

_PLAIN = Interpretation(LabelUse.NONE)


_LARGEST = 1e99  # larger values have no square, and differences that no document holds


def compare(
    name: str,
    reference: Numbers,
    variant: Numbers,
    read: Interpretation = _PLAIN,
    one_quantity: bool = False,
    distinct: Distinct | None = None,
) -> OutputFigures:
    """Compare one output of shape (n, ...) with the Reference's.

    `read` is the interpretation of the output (see `labels.interpret`). With `one_quantity`, all its positions may be
    one quantity, as in an image: columns are grouped only if their spreads leap. `distinct` are the groups of identical
    samples, which count once in intervals. Raises EdgetfError if the shapes differ. NaN, infinity, and a constant
    output or column (unless the Reference's is constant) are `problems`. A constant Reference is a doubt, because it
    shows nothing.
    """
    if reference.shape != variant.shape:
        raise EdgetfError(
            f"output {name!r} has shape {list(variant.shape)}, the reference's has {list(reference.shape)}",
            "compare a variant with the reference of the SavedModel that it was made from",
        )
    read, moments = settle(name, read, reference, variant), _moments(reference)
    row = reference.shape[1:]
    groups = [] if read.decide is not None else find_groups(row, moments, one_quantity)
    distinct = None if distinct is None or len(distinct.group) != len(reference) else distinct
    sums = _Sums(len(reference), moments.mean, groups)
    for rows in blocks(reference):
        sums.add(rows, _floats(reference[rows]), _floats(variant[rows]))
    agreement, accuracy, classes = _decided(reference, variant, read, distinct)
    once = np.ones(len(reference), bool) if distinct is None else distinct.first
    sides = Sides(reference, variant, moments, sums.noise_at / len(reference), sums.variant_varies, once)
    sums.merge(distinct)
    figures = sums.figures(name, reference.size, agreement, accuracy)
    integer = reference.dtype.kind in "iub" or are_decisions(read)
    found = {**vars(classes), "problems": (*figures.problems, *classes.problems)}
    figures = replace(figures, integer=integer, labels=read.use, labels_reason=read.reason, **found)
    return figures if figures.problems else _with_columns(figures, sides, read, one_quantity)


def _with_columns(figures: OutputFigures, sides: Sides, read: Interpretation, one_quantity: bool) -> OutputFigures:
    """The figures with the columns that are constant, or that the labels show to be lost."""
    if are_decisions(read):
        return replace(figures, problems=constant_decisions(sides, read.truth))
    if read.decide is not None:
        return figures
    fading = one_sided(sides) if read.truth is None else figures.fading
    figures = replace(figures, problems=constant_numbers(sides, one_quantity), fading=fading)
    if read.use is not LabelUse.VALUE or read.truth is None:
        return figures
    return replace(figures, lost=lost_columns(sides.reference, sides.variant, read.truth, sides.once))


def with_floor(figures: OutputFigures, reference: Reference) -> OutputFigures:
    """The figures with TensorFlow's own noise, and whether its output can be compared."""
    name = figures.name
    floor, floor_n, spread = reference.floor(name), reference.floor_n(name), reference.spread(name)
    return replace(figures, floor=floor, floor_n=floor_n, spread=spread, comparable=reference.comparable(name))


@dataclass(frozen=True)
class Costs:
    """The cost of each sample: a right answer lost (1) or won (-1); without labels, a different decision (1)."""

    values: NDArray[np.float64]
    bounds: Bounds
    labelled: bool


def costs(reference: Numbers, variant: Numbers, read: Interpretation, distinct: Distinct | None = None) -> Costs | None:
    """The costs of the first samples, as many as `variant` has, each distinct one once; None for an output without one
    decision per sample."""
    read = settle("", read, reference, variant)
    if read.decide is None:
        return None
    ours = decisions(read.decide, variant)
    if ours.ndim > 1:
        return None
    theirs = decisions(read.decide, reference[: len(ours)])
    once = slice(None) if distinct is None else distinct.first
    if read.truth is None:
        return Costs(np.asarray(ours != theirs, np.float64)[once], Bounds(0.0, 1.0), False)
    known = read.truth[: len(ours)]
    return Costs(((theirs == known).astype(np.float64) - (ours == known))[once], Bounds(-1.0, 1.0), True)


def _decided(
    reference: Numbers, variant: Numbers, read: Interpretation, distinct: Distinct | None
) -> tuple[Agreement | None, Accuracy | None, Classes]:
    """The agreement of decisions, the accuracy for outputs with one class per sample, and both by class."""
    if read.decide is None:
        return None, None, Classes()
    ours, theirs = decisions(read.decide, variant), decisions(read.decide, reference)
    n, positions = len(ours), prod(ours.shape[1:])
    if positions == 1:
        once = slice(None) if distinct is None else distinct.first
        ours, theirs = ours.reshape(n)[once], theirs.reshape(n)[once]
        truth = None if read.truth is None else read.truth.reshape(n)[once]
        accuracy = None if truth is None else statistics.accuracy_drop(theirs == truth, ours == truth)
        agreement = statistics.agreement(int((ours == theirs).sum()), len(ours))
        return agreement, accuracy, by_class(theirs, ours, truth)
    ours, theirs = ours.reshape(n, -1), theirs.reshape(n, -1)
    differ = (ours != theirs).mean(axis=1)
    differ = differ if distinct is None else distinct.means(differ)
    if read.truth is not None and answers_by_column(read):
        once = np.ones(n, bool) if distinct is None else distinct.first
        classes = by_column(theirs[once], ours[once], read.truth[once])
    else:
        classes = by_position(theirs, ours, distinct)
    return statistics.agreement_of_positions(differ, positions), None, classes


def _moments(reference: Numbers) -> Moments:
    """The moments of the Reference's positions; unusable values count as 0."""
    n, positions = len(reference), prod(reference.shape[1:])
    first = _usable(_floats(reference[:1])[0])
    total, squares, low, high = np.zeros(positions), np.zeros(positions), first, first
    for rows in blocks(reference):
        values = _usable(_floats(reference[rows]))
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        values = values - first  # the sum of squares of small numbers is precise
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    spread = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0))
    return Moments(n, first + total / n, spread, low, high)


class _Sums:
    """Sums over blocks: powers for each sample, in total and by groups of columns, and extreme values."""

    def __init__(self, n: int, mean: Numbers, groups: list[Groups]) -> None:
        self.mean, self.groups = mean, groups
        self.signal, self.centred, self.noise, self.dot, self.power = (np.zeros(n) for _ in range(5))
        self.by_group = [(np.zeros((n, len(g.members))), np.zeros((n, len(g.members)))) for g in groups]
        self.largest = [np.zeros((2, len(g.members))) for g in groups]  # error, and value
        self.max_abs = self.total_abs = self.max_reference = 0.0
        self.unusable, self.reference_unusable = np.zeros(2, int), np.zeros(2, int)  # not finite, and too large
        self.first: tuple[Numbers, Numbers] | None = None
        self.reference_varies, self.variant_varies = (np.zeros(len(mean), bool) for _ in range(2))
        self.noise_at = np.zeros(len(mean))

    def add(self, rows: slice, reference: Numbers, variant: Numbers) -> None:
        for count, values in zip((self.reference_unusable, self.unusable), (reference, variant), strict=True):
            finite = np.isfinite(values)
            count += [int(np.sum(~finite)), int(np.sum(finite & (np.abs(values) > _LARGEST)))]
        reference, variant = _usable(reference), _usable(variant)
        if self.first is None:
            self.first = reference[0].copy(), variant[0].copy()
        self.reference_varies |= (reference != self.first[0]).any(axis=0)
        self.variant_varies |= (variant != self.first[1]).any(axis=0)
        error = np.abs(variant - reference)
        centred, squared = np.square(reference - self.mean), np.square(error)
        self.signal[rows] = (reference**2).sum(axis=1)
        self.centred[rows] = centred.sum(axis=1)
        self.noise[rows] = squared.sum(axis=1)
        self.noise_at += squared.sum(axis=0)
        self.power[rows] = (variant**2).sum(axis=1)
        self.dot[rows] = (reference * variant).sum(axis=1)
        for group, (signal, noise) in zip(self.groups, self.by_group, strict=True):
            signal[rows], noise[rows] = group.sums(centred), group.sums(squared)
        for group, largest in zip(self.groups, self.largest, strict=True):
            np.maximum(largest, [group.largest(error), group.largest(np.abs(reference))], out=largest)
        self.max_abs = max(self.max_abs, float(error.max()))
        self.total_abs += float(error.sum())
        self.max_reference = max(self.max_reference, float(np.abs(reference).max()))

    def merge(self, distinct: Distinct | None) -> None:
        """Merge identical samples into one by adding their powers."""
        if distinct is None:
            return
        self.signal, self.centred, self.noise, self.dot, self.power = (
            distinct.sums(values) for values in (self.signal, self.centred, self.noise, self.dot, self.power)
        )
        self.by_group = [(distinct.sums(one), distinct.sums(other)) for one, other in self.by_group]

    def figures(self, name: str, size: int, agreement: Agreement | None, accuracy: Accuracy | None) -> OutputFigures:
        signal, noise = float(self.signal.sum()), float(self.noise.sum())
        sqnr = float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
        centred = low = high = None
        if self.reference_varies.any() and noise > 0:
            with np.errstate(divide="ignore"):
                centred = float(10 * np.log10(self.centred.sum() / noise))
            bounds = statistics.sqnr_interval(self.centred, self.noise)
            low, high = (bound if np.isfinite(bound) else None for bound in bounds)
        norm = float(np.sqrt(signal * self.power.sum()))
        problems, doubts = self._remarks()
        return OutputFigures(
            name=name,
            max_abs=self.max_abs,
            mean_abs=self.total_abs / size,
            max_abs_reference=self.max_reference,
            sqnr_db=sqnr,
            centred_db=centred,
            centred_low_db=low,
            centred_high_db=high,
            cosine=min(1.0, float(self.dot.sum()) / norm) if norm else float(signal == 0 and noise == 0),
            agreement=agreement,
            accuracy=accuracy,
            problems=problems,
            doubts=doubts,
            floor=None,
            floor_n=None,
            any_time=False,
            integer=False,
            constant=len(self.signal) > 1 and not self.reference_varies.any(),
            columns=self._columns(),
            labels=LabelUse.NONE,
            labels_reason="",
            spread=None,
            comparable=Comparable.YES,
        )

    def _remarks(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Problems, and doubts."""
        several = len(self.signal) > 1
        problems = []
        for counts, whose in ((self.unusable, ""), (self.reference_unusable, " of the reference")):
            for count, what in zip(counts, ("NaN or infinite", f"beyond {_LARGEST:g}"), strict=True):
                problems += [f"{count} values{whose} are {what}"] if count else []
        if several and self.reference_varies.any() and not self.variant_varies.any():
            problems.append("it is the same for every sample, but the reference's is not")
        if several and not self.reference_varies.any():
            return tuple(problems), ("the reference is the same for every sample, so these samples show nothing",)
        return tuple(problems), ()

    def _columns(self) -> tuple[ColumnFigures, ...]:
        found: list[ColumnFigures] = []
        for group, powers, (error, value) in zip(self.groups, self.by_group, self.largest, strict=True):
            constant = [not varies for varies in group.varying(self.variant_varies)]
            found += group.figures(powers, (error, value), constant)
        return tuple(found)


def _usable(values: Numbers) -> Numbers:
    """The values, with 0 for those that are NaN, infinite or too large."""
    return np.where(np.abs(values) <= _LARGEST, values, 0.0)


def _floats(values: Numbers) -> Numbers:
    return np.asarray(values, np.float64).reshape(len(values), -1)
