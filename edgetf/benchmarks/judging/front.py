"""The Pareto front: the cost of each variant in latency, accuracy and size, and which variants others dominate.

The intervals decide. A variant beats another if it is measurably better in one cost (its whole interval is below the
other's) and measurably worse in none. If intervals overlap, the costs are equivalent. Bytes are exact. Times of
variants that took turns are compared turn by turn (`timing.turns`). If one was throttled, its interval counts, widened
to the medians of its blocks. The times of an emulated device are ignored. Drops are compared by their intervals against
the reference, because the pairing of two variants' samples is not stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetf.benchmarks.judging.loss import LossKind, drop_of, sqnr_of
from edgetf.device.runner.answers import is_throttled
from edgetf.results import Result
from edgetf.units import list_in_words

_MOST_NAMES = 12  # in one sentence


@dataclass(frozen=True)
class Cost:
    """A figure and its 95 % interval; less is better.

    Without `low` and `high` the figure is exact. An unknown end is infinite. `turns` are the figures of single turns,
    at least two, of variants that took turns.
    """

    value: float
    low: float | None = None
    high: float | None = None
    turns: tuple[float, ...] = ()


UNKNOWN = Cost(math.inf, -math.inf, math.inf)


@dataclass(frozen=True)
class Point:
    """A variant: its latency in milliseconds, its cost in accuracy (points, or -dB: less is better), its bytes.

    Variants of different `device`s are not compared.
    """

    label: str
    verdict: str
    latency: Cost
    cost: Cost
    bytes: int
    device: str = ""


def latency_of(result: Result) -> Cost | None:
    """The median latency with the interval that decides; None if times are unknown or do not count."""
    found = result.latency_ms
    if found is None or result.emulated:
        return None
    medians = [block.median_ms for block in result.blocks]
    blocks = [] if result.stable else medians
    paired = len(medians) > 1 and min(medians) > 0 and not any(is_throttled(one.throttled) for one in result.blocks)
    return Cost(
        found.median, min([found.low, *blocks]), max([found.high, *blocks]), turns=tuple(medians) if paired else ()
    )


def cost_of(result: Result, drops: bool) -> Cost | None:
    """The cost in accuracy: the drop of a metric or of the accuracy, or without `drops` the negative SQNR."""
    if result.parity is None:
        return None
    loss = drop_of(result.parity) if drops else sqnr_of(result.parity)
    if loss is None:
        return None
    if loss.kind is not LossKind.SQNR:
        return Cost(loss.value or 0.0, loss.low, loss.high)
    if loss.value is None:
        return Cost(-math.inf, -math.inf, -math.inf)
    low = -math.inf if loss.high is None else -loss.high
    return Cost(-loss.value, low, math.inf if loss.low is None else -loss.low)


def points_of(results: Sequence[Result]) -> list[Point]:
    """The results with a latency and a cost; the cost is of one kind for all."""
    drops = has_drops(results)
    known = [cost.value for r in results if (cost := cost_of(r, drops)) is not None and math.isfinite(cost.value)]
    best = min(known, default=0.0) - 10  # the position of a variant without any error, whose cost is infinitely low
    several = len({result.device for result in results}) > 1
    points = []
    for result in results:
        cost = cost_of(result, drops)
        if result.latency_ms is None or result.bytes is None or result.parity is None or cost is None:
            continue
        label = f"{result.variant} on {result.device}" if several else result.variant
        if not math.isfinite(cost.value):
            cost, label = replace(cost, value=best), f"{label} (no error)"
        latency = latency_of(result) or replace(UNKNOWN, value=result.latency_ms.median)
        points.append(Point(label, result.parity.verdict.value, latency, cost, result.bytes, result.device))
    return points


def has_drops(results: Sequence[Result]) -> bool:
    """Whether any result has the drop of a metric or of the accuracy; otherwise the cost is the SQNR."""
    return any(drop_of(result.parity) for result in results if result.parity)


def is_below(one: Cost, other: Cost) -> bool:
    """Whether `one` is measurably less: by the turns that both took, or the intervals do not overlap."""
    if one.turns and other.turns:
        from edgetf.benchmarks.timing.turns import is_faster  # scipy, which is not needed without times

        return is_faster(one.turns, other.turns)
    return (one.value if one.high is None else one.high) < (other.value if other.low is None else other.low)


def better_in(one: Point, other: Point) -> list[str]:
    """The costs in which `one` is measurably better: "faster", "more accurate", "smaller"."""
    faster, accurate = is_below(one.latency, other.latency), is_below(one.cost, other.cost)
    known = {"faster": faster, "more accurate": accurate, "smaller": one.bytes < other.bytes}
    return [word for word, better in known.items() if better]


def dominates(one: Point, other: Point) -> bool:
    """Whether `one`, on the same device, is measurably better in one cost and measurably worse in none."""
    return one.device == other.device and bool(better_in(one, other)) and not better_in(other, one)


def find_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other on the front dominates, in their order. All others are dominated by one on the front.

    Equivalence is not transitive. If a point is dominated only by points that are dominated themselves, it stays on the
    front. Wide intervals can even form a cycle, in which each point dominates the next: then the fastest stays, so that
    the front is never empty.
    """
    left, front = list(points), []
    while left:
        best = [point for point in left if not any(dominates(other, point) for other in left)]
        best = best or [min(left, key=lambda point: point.latency.value)]
        front += best
        left = [p for p in left if p not in best and not any(dominates(one, p) for one in best)]
    return [point for point in points if point in front]


def front_in_words(points: Sequence[Point]) -> list[str]:
    """Sentences on the variants on the front, and on which variants beat the others, and in what."""
    front = sorted(find_front(points), key=lambda point: point.latency.value)
    if not front:
        return []
    names = [f"{p.label} (which fails)" if p.verdict == "fail" else p.label for p in front]
    sentences = [f"On the front, the fastest first: {', '.join(names)}."]
    beaten: dict[tuple[str, str], list[str]] = {}
    for point in points:
        if point not in front:
            better = next(p for p in front if dominates(p, point))
            what = list_in_words(better_in(better, point))
            beaten.setdefault((better.label, what), []).append(point.label)
    for (name, what), others in beaten.items():
        shown = others if len(others) <= _MOST_NAMES else [*others[:_MOST_NAMES], f"{len(others) - _MOST_NAMES} others"]
        sentences.append(f"{name} is {what} than {list_in_words(shown)}, and not measurably worse in anything.")
    return sentences


def is_known(cost: Cost) -> bool:
    """Whether there is an interval to draw."""
    return all(end is not None and math.isfinite(end) for end in (cost.low, cost.high))
