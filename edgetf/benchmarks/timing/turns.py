"""How many turns variants take. In: the medians of their blocks. Out: which variants need more of them, and the order.

A run looks at its medians after some turns (`looks_of`), and ends when they decide what was asked: which variants keep
a limit, and the order of those that may. Looking often finds differences that are chance. Each look therefore has an
equal share of the error rate, which bounds the rate of all looks together whatever their dependence (Bonferroni; the
simplest alpha spending, Lan and DeMets 1983, Biometrika 70:659). `tests/performance/turns.py` simulates it.

Two variants are compared by the ratios of their blocks, turn by turn: what the machine does to a whole turn cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.timing.times import ALPHA, is_precise, reach_of, student

LOOKS = 4  # at most
# for each pair: five variants are ten pairs. Before, intervals of 95 % had to be disjoint, which is rarer still
ORDER_ALPHA = 0.01
_SAME = 0.05  # a difference that stability allows a variant's own blocks, too
_LEAST = 0.01  # a smaller difference is none: tools that report whole microseconds have this resolution
_VARIANTS = 10  # as many may take all turns; with more variants, the slowest undecided ones end before


def looks_of(least: int, most: int) -> tuple[int, ...]:
    """The numbers of turns after which a run looks at its medians: `least`, `most` and about equal ratios between."""
    ratio = (most / least) ** (1 / (LOOKS - 1))
    return tuple(sorted({round(least * ratio**k) for k in range(LOOKS)}))


def most_turns(variants: int, least: int, most: int) -> int:
    """The most turns of a run with so many variants, all together."""
    return variants * least + min(variants, _VARIANTS) * (most - least)


def is_faster(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether a variant is measurably faster, by the medians of its blocks and of another's, in the order of turns.

    Student's interval of the mean logarithm of the ratios, of turns that both took (at least 2), is below 0. If both
    are equally fast, one of both directions is claimed with a probability of at most ORDER_ALPHA, over all looks.
    """
    ratios = [math.log(a / b) for a, b in zip(one, other, strict=False)]
    if (mean := fmean(ratios)) >= -_LEAST:  # the most common reason comes first: reports compare all pairs
        return False
    error = math.sqrt(sum((x - mean) ** 2 for x in ratios) / (len(ratios) - 1) / len(ratios))
    return mean + _quantile(len(ratios), ORDER_ALPHA / LOOKS) * error < 0


def find_undecided(blocks: Sequence[Sequence[float]], looks: int, limit_ms: float | None) -> list[int]:
    """The positions of the variants that need more turns, by the medians of their blocks in milliseconds.

    All have as many blocks, at least 2. With `limit_ms`, a variant needs more until it is within or beyond it. Of those
    that are not beyond it, two need more until one is faster, or both are within 5 % of each other. A variant that is
    alone, without a limit, needs more until its median is precise.
    """
    precise = np.array([is_precise(medians) for medians in blocks])
    if limit_ms is None and len(blocks) == 1:
        return [] if precise[0] else [0]
    sides = [0 if limit_ms is None else _side_of(medians, looks, limit_ms) for medians in blocks]
    open_ = np.array([limit_ms is not None and side == 0 for side in sides])
    ranked = np.flatnonzero(np.array(sides) <= 0)
    logs = np.log(np.asarray(blocks, np.float64))
    for k in ranked:
        hard = ~_are_decided(logs[ranked] - logs[k]) & ~(precise[ranked] & precise[k])
        hard[ranked == k] = False
        open_[k] |= bool(hard.any())
    return [int(k) for k in np.flatnonzero(open_)]


def choose_fastest(blocks: Sequence[Sequence[float]], count: int) -> list[int]:
    """The positions of at most `count` variants, the fastest by the medians of their blocks: the choice is of these."""
    return sorted(sorted(range(len(blocks)), key=lambda k: median(blocks[k]))[:count])


def _are_decided(ratios: NDArray[np.float64]) -> NDArray[np.bool_]:
    """For each row of logarithms of ratios, whether one variant is faster or both are within 5 % of each other.

    The latter is no claim, so that its error rate is that of an interval.
    """
    turns = ratios.shape[1]
    mean, error = np.abs(ratios.mean(axis=1)), ratios.std(axis=1, ddof=1) / math.sqrt(turns)
    apart = mean > np.maximum(_quantile(turns, ORDER_ALPHA / LOOKS) * error, _LEAST)
    same = mean + _quantile(turns, ALPHA / LOOKS) * error <= math.log1p(_SAME)
    return np.asarray(apart | same)


def _side_of(medians: Sequence[float], looks: int, limit_ms: float) -> int:
    """-1: the interval and all blocks are within the limit; 1: they are beyond; 0: not decided."""
    centre, reach = median(medians), reach_of(medians, ALPHA / looks)
    if max(centre + reach, *medians) <= limit_ms:
        return -1
    return 1 if min(centre - reach, *medians) > limit_ms else 0


@cache
def _quantile(turns: int, alpha: float) -> float:
    return student(turns, alpha)
