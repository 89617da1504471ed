"""The worst samples of a variant for the report: what went in, what the Reference and the variant made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks import parity
from edgetf.benchmarks.report_evidence import Pair, worst_first
from edgetf.benchmarks.thumbnails import Kind, Thumbnail, draw_arrays, kind_of
from edgetf.results import Verdict
from edgetf.samples import Array, Samples

_MOST_VARIANTS = 3
_MOST_SAMPLES, _FEWEST_SAMPLES = 6, 3  # with decisions that differ, or filled up with the largest errors
_TOP = 3
_MOST_INPUTS = 3
_WHY = (
    "Lost: the reference is right, the variant is not.",
    "Decided otherwise; neither is right.",
    "Decided otherwise.",
    "Won: the variant is right, the reference is not.",
    "Decided alike, among the largest errors: {:.2g}.",
    "Among the largest errors: {:.2g}.",
)
_LOST, _BOTH_WRONG, _OTHERWISE, _WON, _ALIKE, _LIKE = range(len(_WHY))


@dataclass(frozen=True)
class Said:
    """What one side said: in words, and drawn where it is an image or a signal."""

    who: str
    text: str
    picture: Thumbnail | None


@dataclass(frozen=True)
class Shown:
    """One sample: its row in the samples, why it is here, its inputs by name, and what both sides said."""

    row: int
    why: str
    inputs: tuple[tuple[str, Thumbnail], ...]
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Worst:
    """The worst samples of one variant in one output."""

    variant: str
    output: str
    verdict: str
    samples: tuple[Shown, ...]


def find_worst(pairs: Sequence[Pair], samples: Samples) -> list[Worst]:
    """The worst samples of a few variants: of those that do not pass, or of all where every one passes.

    Decisions lost come first, then others that differ, then those won, and then the largest errors.
    """
    ranked = worst_first(pairs)
    doubtful = [pair for pair in ranked if pair.figures.verdict is not Verdict.PASS]
    return [_show(pair, samples) for pair in (doubtful or ranked)[:_MOST_VARIANTS]]


def _show(pair: Pair, samples: Samples) -> Worst:
    decided = parity.decisions(pair.reference, pair.variant, pair.truth)
    ranks = _ranks(pair, decided)
    order = np.lexsort((-pair.error, ranks))
    differ = int(np.sum(ranks < _ALIKE))
    few = order[: min(_MOST_SAMPLES, max(differ, _FEWEST_SAMPLES))]
    few = few[pair.error[few] > 0]
    rows = pair.rows[few]
    drawn: list[tuple[str, list[Thumbnail]]] = []
    for name, values in list(samples.inputs.items())[:_MOST_INPUTS]:
        drawn.append((name, draw_arrays([np.asarray(values[row]) for row in rows])))
    sides = [_say(who, [np.asarray(values[k]) for k in few], decided is not None) for who, values in _sides(pair)]
    found = []
    for k, row in enumerate(rows):
        why = _WHY[ranks[few[k]]].format(pair.error[few[k]])
        told = "" if pair.truth is None else f" Label {pair.truth[few[k]]}."
        inputs = tuple((name, thumbnails[k]) for name, thumbnails in drawn)
        found.append(Shown(int(row), f"{why}{told}", inputs, tuple(side[k] for side in sides)))
    return Worst(pair.result.variant, pair.figures.name, pair.figures.verdict.value, tuple(found))


def _sides(pair: Pair) -> tuple[tuple[str, Array], tuple[str, Array]]:
    return ("reference", pair.reference), (pair.result.variant, pair.variant)


def _ranks(pair: Pair, decided: tuple[NDArray[np.int64], NDArray[np.int64]] | None) -> NDArray[np.int64]:
    """For each sample what is to be said of it, an index of `_WHY`: the smaller, the sooner it is shown."""
    if decided is None:
        return np.full(len(pair.variant), _LIKE)
    theirs, ours = decided
    ranks = np.where(theirs == ours, _ALIKE, _OTHERWISE)
    if pair.truth is not None:
        truth = pair.truth[: len(ours)]
        cases = [theirs == ours, theirs == truth, ours == truth]
        ranks = np.select(cases, [_ALIKE, _LOST, _WON], _BOTH_WRONG)
    return np.asarray(ranks, np.int64)


def _say(who: str, rows: Sequence[Array], decides: bool) -> list[Said]:
    """What one side said on each of the shown samples."""
    if decides:
        return [Said(who, _top(row), None) for row in rows]
    if rows and kind_of(rows[0]) is not Kind.TEXT:
        return [
            Said(who, f"{np.min(row):.3g} to {np.max(row):.3g}", one)
            for row, one in zip(rows, draw_arrays(rows), strict=True)
        ]
    return [Said(who, one.text, None) for one in draw_arrays(rows)] if rows else []


def _top(row: Array) -> str:
    """The classes with the largest values."""
    values = np.asarray(row, np.float64)
    if len(values) == 1:
        return f"{values[0]:.3g}"
    precise = ".3f" if np.abs(values).max() <= 1 else ".4g"
    return ", ".join(f"{k} ({values[k]:{precise}})" for k in np.argsort(-values, kind="stable")[:_TOP])
