"""Results by class. In: the decisions of both sides. Out: how much of each class is kept, and which classes are lost.

Rare classes hardly affect the share of all samples: a variant that always answers the most common class is right on
nearly all. A class is certainly lost if the variant keeps hardly any of its samples, significantly fewer than half (an
exact binomial test, with Bonferroni's correction over all classes). A class of few samples is fading if the variant
keeps none of them and does better on other classes. A class that is halved only has figures: the budget decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.distinct import Distinct
from edgetf.results import ClassFigures

Numbers = NDArray[Any]
_MOST = 32  # classes that are recorded
_NAMED = 3  # classes named in a sentence
_MOST_LABELS = 1 << 12  # larger numbers are counts, not classes
_HARDLY = 0.2  # share of a class's samples; if fewer are kept, it may be lost
_LEAST = 2  # minimum number of samples of a class for a statement
_BLOCK = 1 << 20
_ALPHA = 1 - statistics.CONFIDENCE
_Losses = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # lost, fading, problems


@dataclass(frozen=True)
class Classes:
    """The fields of `OutputFigures` of the same names.

    Decisions that are the same for every sample are a problem with any metric; those that are only `lost` are not.
    """

    classes: tuple[ClassFigures, ...] = ()
    chance: float | None = None
    lost: tuple[str, ...] = ()
    fading: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Kept:
    """A class: the samples that the Reference has right (or without labels, decides for), and how many are kept."""

    label: int
    n: int
    had: int
    kept: int


def by_class(theirs: Numbers, ours: Numbers, truth: Numbers | None) -> Classes:
    """The result for decisions and labels of distinct samples, shape (n,)."""
    known = theirs if truth is None else truth
    labels, place = np.unique(known, return_inverse=True)
    counts = np.bincount(place)
    had, kept = (np.bincount(place[side == known], minlength=len(labels)) for side in (theirs, ours))
    found = [_Kept(*map(int, one)) for one in zip(labels, counts, had, np.minimum(kept, had), strict=True)]
    figures = []
    for one in sorted(found, key=lambda one: ((one.kept - one.had) / one.n, -one.n))[:_MOST]:
        rows = known == one.label
        agreement = statistics.agreement(int((ours[rows] == theirs[rows]).sum()), one.n)
        accuracy = None
        if truth is not None:
            accuracy = statistics.accuracy_drop(theirs[rows] == one.label, ours[rows] == one.label)
        figures.append(ClassFigures(one.label, one.n, agreement, accuracy))
    lost, fading, problems = _all_lost(theirs, ours, found)
    if truth is not None and not lost and not problems:
        fading = fading or _never_answered(theirs, ours)
    return Classes(tuple(figures), float(counts.max()) / len(known), lost, fading, problems)


def _never_answered(theirs: Numbers, ours: Numbers) -> tuple[str, ...]:
    """Sentences on classes that the Reference answers and the variant never does, even if too few labels show it."""
    labels, counts = np.unique(theirs, return_counts=True)
    gone = [(int(label), int(n)) for label, n in zip(labels, counts, strict=True) if n >= _LEAST]
    gone = [(label, n) for label, n in gone if not (ours == label).any()]
    found = [f"class {label} may be lost: it is never answered, but {n} times by the reference" for label, n in gone]
    return tuple(found[:_NAMED])


def by_column(theirs: Numbers, ours: Numbers, truth: Numbers) -> Classes:
    """The result for yes (1) or no (0) answers of shape (n, columns), with a class per column, and labels like that."""
    found, figures = [], []
    for label in np.flatnonzero(truth.any(axis=0)):
        rows = truth[:, label] == 1
        one, other = theirs[rows, label] == 1, ours[rows, label] == 1
        found.append(_Kept(int(label), len(one), int(one.sum()), int((one & other).sum())))
        figures.append((float((one & ~other).mean()), int(label), one, other))
    worst = [
        ClassFigures(
            label,
            len(one),
            statistics.agreement(int((one == other).sum()), len(one)),
            statistics.accuracy_drop(one, other),
        )
        for _, label, one, other in sorted(figures, key=lambda one: (-one[0], one[1]))[:_MOST]
    ]
    return Classes(tuple(worst), None, *_all_lost(theirs, ours, found))


def by_position(theirs: Numbers, ours: Numbers, distinct: Distinct | None) -> Classes:
    """The result for decisions of shape (n, positions): a class is kept in a sample if the variant finds most of it."""
    n = len(theirs)
    low, high = int(theirs.min()), int(theirs.max())
    if low < 0 or high > _MOST_LABELS or n * (high + 1) > 50 * theirs.size + _BLOCK:
        return Classes((), None, *_all_lost(theirs, ours, []))
    size = high + 1
    had, same = np.zeros((n, size), np.int64), np.zeros((n, size), np.int64)
    step = max(1, _BLOCK // theirs.shape[1])
    for begin in range(0, n, step):
        one, other = theirs[begin : begin + step], ours[begin : begin + step]
        codes = one + size * np.arange(len(one))[:, np.newaxis]
        for counts, chosen in ((had, codes.ravel()), (same, codes[one == other])):
            counts[begin : begin + step] = np.bincount(chosen, minlength=size * len(one)).reshape(-1, size)
    if distinct is not None:
        had, same = had[distinct.first], same[distinct.first]
    found, figures = [], []
    for label in range(size):
        rows = had[:, label] > 0
        if rows.any():
            shares = same[rows, label] / had[rows, label]
            found.append(_Kept(label, int(rows.sum()), int(rows.sum()), int((shares > 0.5).sum())))
            figures.append((float(shares.mean()), label, 1 - shares, int(had[rows, label].mean())))
    worst = [
        ClassFigures(label, len(differ), statistics.agreement_of_positions(differ, max(positions, 1)))
        for _, label, differ, positions in sorted(figures, key=lambda one: one[0])[:_MOST]
    ]
    chance = float(had.sum(axis=0).max()) / float(had.sum())
    return Classes(tuple(worst), chance, *_all_lost(theirs, ours, found))


def _all_lost(theirs: Numbers, ours: Numbers, found: list[_Kept]) -> _Losses:
    """What is lost: the classes, and all of them if all samples get one answer."""
    (lost, fading), (problems, perhaps) = _lost(found), _constant(theirs, ours)
    return lost, () if problems else fading if lost or not perhaps else perhaps, problems


def _constant(theirs: Numbers, ours: Numbers) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A sentence if all samples get the same answer and should not: a problem, or of one other sample perhaps one."""
    varies = (ours != ours[:1]).reshape(len(ours), -1).any(axis=1)
    if len(ours) < 2 or varies.any():
        return (), ()
    _, counts = np.unique(theirs.reshape(len(theirs), -1), axis=0, return_counts=True)
    others = len(theirs) - int(counts.max())
    if not others:
        return (), ()
    what = f"class {int(ours[0])}" if ours.ndim == 1 else "the same"
    constant = f"it decides {what} for every sample, but the reference does not"
    return ((constant,), ()) if others >= _LEAST else ((), (f"{constant} for one",))


def _lost(found: list[_Kept]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes that are certainly lost, and those that may be."""
    had, kept = sum(one.had for one in found), sum(one.kept for one in found)
    lost, fading = [], []
    for one in found:
        if one.had < _LEAST or one.kept > _HARDLY * one.had:
            continue
        if statistics.special().bdtr(one.kept, one.had, 0.5) * len(found) <= _ALPHA:
            lost.append(one)
        elif one.kept == 0 and len(found) > 1:
            others = had - one.had
            missed = 1 - statistics.agreement(kept, others).low if others else 1.0  # of the other classes, at most
            if missed**one.had * len(found) <= _ALPHA:
                fading.append(one)
    return _in_words(lost, "lost"), _in_words(fading, "perhaps lost")


def lost_of(figures: Sequence[ClassFigures], positions: int) -> tuple[str, ...]:
    """The classes of an output of so many decisions for each sample that are certainly lost by these figures.

    Empty if the figures do not show it: classes were left out, or they are of positions.
    """
    if len(figures) >= _MOST:
        return ()
    found = []
    for one in figures:
        right, same = one.accuracy, one.agreement
        if right is not None:
            had = round(right.reference * one.n)
            kept = min(round(right.variant * one.n), had) if positions == 1 else had - right.only_reference_right
            found.append(_Kept(one.label, one.n, had, kept))
        elif positions == 1:
            found.append(_Kept(one.label, one.n, one.n, same.same))
    return _lost(found)[0]


def _in_words(found: list[_Kept], how: str) -> tuple[str, ...]:
    if not found:
        return ()
    named = sorted(found, key=lambda one: (one.kept - one.had, one.label))
    sentences = [
        f"class {one.label} is {'nearly ' if one.kept else ''}{how}: it keeps {one.kept} of {one.had}"
        for one in named[:_NAMED]
    ]
    more = len(found) - _NAMED
    return (*sentences, *([f"{more} more classes are {how}"] if more > 0 else []))
