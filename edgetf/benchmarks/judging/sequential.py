"""Anytime-valid evidence, which may be checked after every sample. In: costs. Out: whether a budget is kept.

The cost of a sample is bounded: -1, 0 or 1 for right answers lost or won, 0 or 1 for decisions that differ. Two
gamblers bet: one that the mean cost is below the budget, the other that it is above. Each bet depends only on earlier
samples, so that neither can expect to win if the true mean is at the budget. By Ville's inequality, the probability
that one of them ever multiplies its money by 40 is at most 5 %, however often the evidence is checked. Betting:
Waudby-Smith and Ramdas 2024, Estimating means of bounded random variables by betting, JRSS B 86:1 (the bets are their
approximate GRAPA). Samples must be in random order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetf.results import Verdict

ALPHA = 0.05
_WIN = np.log(2 / ALPHA)  # each gambler has half of the error rate
_BOLDNESS = 0.9  # share of the largest bet that cannot lose everything
_FIRST, _GROWTH = 128, 1.25
_SIDE = 50  # grid points below and above the observed mean, in each of three refinements

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """The smallest and largest possible cost of one sample."""

    low: float
    high: float


def decide(costs: Floats, bounds: Bounds, budget: float) -> Verdict:
    """PASS if the mean cost is below `budget`, FAIL if above, with the error rate ALPHA for both together."""
    below, above = _log_wealth(costs, bounds, np.asarray([budget]))
    if below[0] >= _WIN:
        return Verdict.PASS
    return Verdict.FAIL if above[0] >= _WIN else Verdict.INCONCLUSIVE


def interval(costs: Floats, bounds: Bounds) -> tuple[float, float]:
    """The means that neither gambler has ruled out: covers the true mean at all times with 95 % probability."""
    mean = float(costs.mean())
    low, high = bounds.low, bounds.high
    for _ in range(3):  # a coarse grid, then finer ones around the ends
        grid = np.unique(np.concatenate([np.linspace(low, mean, _SIDE), np.linspace(mean, high, _SIDE)]))
        below, above = _log_wealth(costs, bounds, grid)
        kept = (below < _WIN) & (above < _WIN) | (grid == mean)
        inside = np.flatnonzero(kept)
        low = float(grid[max(inside[0] - 1, 0)])
        high = float(grid[min(inside[-1] + 1, len(grid) - 1)])
    return low, high


def looks(n: int, batch: int = 1) -> Iterator[int]:
    """The numbers of samples after which to check the evidence: each a quarter larger, and `n`."""
    count = float(_FIRST)
    while count < n:
        yield max(int(count) // batch, 1) * batch
        count *= _GROWTH
    yield n


def _log_wealth(costs: Floats, bounds: Bounds, means: Floats) -> tuple[Floats, Floats]:
    """The logarithm of both gamblers' money for each hypothetical mean, after all `costs` in their order."""
    width = bounds.high - bounds.low
    y = (np.asarray(costs, np.float64) - bounds.low) / width
    m = (means - bounds.low) / width
    before = np.arange(len(y))
    mean = (0.5 + np.concatenate([[0.0], np.cumsum(y)[:-1]])) / (before + 1)
    squares = np.concatenate([[0.0], np.cumsum((y - mean) ** 2)[:-1]])
    variance = (0.25 + squares) / (before + 1)
    lower, upper = np.empty(len(m)), np.empty(len(m))
    for k, one in enumerate(np.clip(m, 1e-9, 1 - 1e-9)):  # one at a time, to limit memory
        distance = one - mean
        bet = distance / (variance + distance**2)
        lower[k] = np.log1p(-np.clip(bet, 0, _BOLDNESS / (1 - one)) * (y - one)).sum()
        upper[k] = np.log1p(np.clip(-bet, 0, _BOLDNESS / one) * (y - one)).sum()
    return lower, upper
