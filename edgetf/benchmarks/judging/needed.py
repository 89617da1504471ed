"""The number of samples that would decide. In: an undecided interval and how it narrows. Out: a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgetf.benchmarks.judging.statistics import agreement, paired_interval
from edgetf.results import Accuracy, Agreement

_DOUBLINGS = 14  # of the number of samples; beyond it the advice is useless


def narrowing(low: float, high: float, n: int) -> Callable[[int], tuple[float, float]]:
    """An interval that is `low` to `high` with `n` samples, and narrows with the square root of their number."""
    centre, reach = (low + high) / 2, (high - low) / 2

    def cost(m: int) -> tuple[float, float]:
        return centre - reach * math.sqrt(n / m), centre + reach * math.sqrt(n / m)

    return cost


def drop_cost(found: Accuracy) -> Callable[[int], tuple[float, float]]:
    """The interval of the drop in points with m samples, with the same rate of disagreement."""

    def cost(m: int) -> tuple[float, float]:
        lost, won = (round(count * m / found.n) for count in (found.only_reference_right, found.only_variant_right))
        low, high = paired_interval(lost, won, m)
        return 100 * low, 100 * high

    return cost


def agreement_cost(found: Agreement) -> Callable[[int], tuple[float, float]]:
    """The negative interval of the agreement with m samples, with the same rate of agreement."""

    def cost(m: int) -> tuple[float, float]:
        more = agreement(round(found.same * m / found.n), m)
        return -more.high, -more.low

    return cost


def needed(n: int, cost: Callable[[int], tuple[float, float]], budget: float) -> str:
    """How many more than `n` similar samples would decide; `cost(m)` is the interval with m samples."""

    def decided(m: int) -> bool:
        low, high = cost(m)
        return high <= budget or low > budget

    enough = next((n * 2**k for k in range(1, _DOUBLINGS) if decided(n * 2**k)), None)
    if enough is None:
        return "hardly any number of samples would decide: it is too close to the budget"
    few = enough // 2
    while enough - few > max(1, n // 50):
        middle = (few + enough) // 2
        few, enough = (few, middle) if decided(middle) else (middle, enough)
    return f"about {_round_up(enough - n):,} more samples would decide"


def _round_up(count: int) -> int:
    """Round up to two digits: the estimate is not more precise."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit
