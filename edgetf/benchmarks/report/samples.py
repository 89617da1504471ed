"""The worst samples of a variant for the report: their inputs, and the answers of the Reference and the variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.report.evidence import Pair, worst_first
from edgetf.benchmarks.report.thumbnails import Thumbnail, ThumbnailKind, draw_arrays, kind_of
from edgetf.results import Verdict
from edgetf.samples import Array, Samples

_MOST_VARIANTS = 3
_MOST_SAMPLES, _FEWEST_SAMPLES = 6, 3  # with different decisions; the minimum is reached with the largest errors
_TOP = 3
_MOST_INPUTS = 3
_WHY = (
    "Lost: the reference is right, the variant is not.",
    "Different decisions; neither is right.",
    "Decided otherwise.",
    "Won: the variant is right, the reference is not.",
    "The same decision; among the largest errors: {:.2g}.",
    "Among the largest errors: {:.2g}.",
)
_LOST, _BOTH_WRONG, _OTHERWISE, _WON, _ALIKE, _LIKE = range(len(_WHY))


@dataclass(frozen=True)
class Answer:
    """The answer of one side: as text, and as a picture for an image or a signal."""

    side: str
    text: str
    picture: Thumbnail | None


@dataclass(frozen=True)
class Shown:
    """One sample: its row, the reason why it is shown, its inputs by name, and the answers of both sides."""

    row: int
    why: str
    inputs: tuple[tuple[str, Thumbnail], ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Worst:
    """The worst samples of one variant in one output."""

    variant: str
    output: str
    verdict: str
    samples: tuple[Shown, ...]


def find_worst(pairs: Sequence[Pair], samples: Samples) -> list[Worst]:
    """The worst samples of a few variants: of those that do not pass, or of all if every variant passes.

    Decisions lost come first, then others that differ, then those won, and then the largest errors.
    """
    ranked = worst_first(pairs)
    doubtful = [pair for pair in ranked if pair.figures.verdict is not Verdict.PASS]
    return [_show(pair, samples) for pair in (doubtful or ranked)[:_MOST_VARIANTS]]


def _show(pair: Pair, samples: Samples) -> Worst:
    decided = pair.decisions()
    ranks = _ranks(pair, decided)
    order = np.lexsort((-pair.error, ranks))
    differ = int(np.sum(ranks < _ALIKE))
    few = order[: min(_MOST_SAMPLES, max(differ, _FEWEST_SAMPLES))]
    few = few[pair.error[few] > 0]
    rows = pair.rows[few]
    drawn: list[tuple[str, list[Thumbnail]]] = []
    for name, values in list(samples.inputs.items())[:_MOST_INPUTS]:
        drawn.append((name, draw_arrays([np.asarray(values[row]) for row in rows])))
    sides = [_answers(side, [np.asarray(v[k]) for k in few], decided is not None) for side, v in _sides(pair)]
    found = []
    for k, row in enumerate(rows):
        why = _WHY[ranks[few[k]]].format(pair.error[few[k]])
        label = "" if pair.truth is None else f" Label {pair.truth[few[k]]}."
        inputs = tuple((name, thumbnails[k]) for name, thumbnails in drawn)
        found.append(Shown(int(row), f"{why}{label}", inputs, tuple(side[k] for side in sides)))
    return Worst(pair.result.variant, pair.figures.name, pair.figures.verdict.value, tuple(found))


def _sides(pair: Pair) -> tuple[tuple[str, Array], tuple[str, Array]]:
    return ("reference", pair.reference), (pair.result.variant, pair.variant)


def _ranks(pair: Pair, decided: tuple[NDArray[np.int64], NDArray[np.int64]] | None) -> NDArray[np.int64]:
    """For each sample its reason, an index of `_WHY`: smaller ones are shown first."""
    if decided is None:
        return np.full(len(pair.variant), _LIKE)
    theirs, ours = decided
    ranks = np.where(theirs == ours, _ALIKE, _OTHERWISE)
    if pair.truth is not None:
        cases = [theirs == ours, theirs == pair.truth, ours == pair.truth]
        ranks = np.select(cases, [_ALIKE, _LOST, _WON], _BOTH_WRONG)
    return np.asarray(ranks, np.int64)


def _answers(side: str, rows: Sequence[Array], decides: bool) -> list[Answer]:
    """The answers of one side for the shown samples."""
    if decides:
        return [Answer(side, _top(row), None) for row in rows]
    if rows and kind_of(rows[0]) is not ThumbnailKind.TEXT:
        return [
            Answer(side, f"{np.min(row):.3g} to {np.max(row):.3g}", one)
            for row, one in zip(rows, draw_arrays(rows), strict=True)
        ]
    return [Answer(side, one.text, None) for one in draw_arrays(rows)] if rows else []


def _top(row: Array) -> str:
    """The classes with the largest values."""
    values = np.asarray(row, np.float64).reshape(-1)
    if row.dtype.kind in "iub":
        return f"{values[0]:g}"
    if len(values) == 1:
        return f"{values[0]:.3g}"
    precise = ".3f" if np.abs(values).max() <= 1 else ".4g"
    return ", ".join(f"{k} ({values[k]:{precise}})" for k in np.argsort(-values, kind="stable")[:_TOP])
