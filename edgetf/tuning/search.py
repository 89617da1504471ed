"""In: candidates with their costs and their distances to float32. Out: the front, and the cheapest that passes.

On the front, a candidate that costs more is nearer. Bisection evaluates the middle: if it passes, all above it pass,
and if not, all below it fail, so that of fifteen candidates four are evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgetf.recipes import Aim
from edgetf.results import Verdict

_NO_GAIN = 0.01  # of the bytes of a plain variant: a mixture that saves less is equivalent to it
_ALIKE = 0.05  # of a latency, which short turns do not measure more precisely; then the smaller file is better
Cost = tuple[float, float]  # compared in this order


@dataclass(frozen=True)
class Standing:
    """A candidate for the front: the cost to minimize, and the other one; `db` is its SQNR."""

    name: str
    plain: bool
    bytes: int
    latency_ms: float | None
    db: float

    def cost(self, aim: Aim) -> Cost:
        """Bytes; or the step of latency, and then bytes."""
        if aim is Aim.SIZE or self.latency_ms is None:
            return (0.0 if aim is Aim.SIZE else math.inf, self.bytes)
        return (round(math.log(max(self.latency_ms, 1e-6)) / math.log1p(_ALIKE)), self.bytes)


@dataclass(frozen=True)
class Work:
    """What decides about the latency of a candidate before it is measured: its operations from int8, those that any
    kernel for integers runs, and the delegate's pieces. Of equal latencies the one with fewer bytes is better; `db` is
    its SQNR."""

    int8: int
    integers: int
    pieces: int
    bytes: int
    db: float

    def beats(self, other: Work) -> bool:
        """Whether `other` is neither faster, as far as one can know, nor smaller or nearer to float32, and not the
        same."""
        no_slower = self.int8 >= other.int8 and self.integers >= other.integers and self.pieces <= other.pieces
        return no_slower and self.bytes <= other.bytes and self.db >= other.db and self != other


@dataclass(frozen=True)
class Beaten:
    """A candidate that is not on the front, and the one that beats it."""

    name: str
    by: str


def find_front(standings: Sequence[Standing], aim: Aim) -> tuple[list[Standing], list[Beaten]]:
    """Those that no other beats, the cheapest first, and the others.

    One beats another that is not cheaper by more than the margin, and not nearer to float32. Of two equivalent ones,
    the plain one beats the mixture, and then the smaller one the larger.
    """
    beaten = []
    front: list[Standing] = []
    for one in sorted(standings, key=lambda s: (s.cost(aim), not s.plain, s.bytes, s.name)):
        by = next((other for other in standings if _beats(other, one, aim)), None)
        if by is None:
            front.append(one)
        else:
            beaten.append(Beaten(one.name, by.name))
    kept: list[Standing] = []
    for one in front:  # a candidate that costs more must be nearer
        if kept and one.db <= kept[-1].db:
            beaten.append(Beaten(one.name, kept[-1].name))
        else:
            kept.append(one)
    return kept, beaten


def _beats(other: Standing, one: Standing, aim: Aim) -> bool:
    """Whether `other` beats `one`. No two beat each other."""
    if other.name == one.name or other.db < one.db:
        return False
    mine, theirs = one.cost(aim), other.cost(aim)
    if other.plain and not one.plain:
        return takes_place(theirs, mine, True)
    if one.plain and not other.plain:
        return not takes_place(mine, theirs, True)
    return theirs <= mine and (other.db > one.db or theirs < mine)


def takes_place(plain: Cost, cost: Cost, mixture: bool) -> bool:
    """Whether a plain variant is better by its cost than another variant, or, than a mixture, equivalent to it."""
    return (plain[0], plain[1] * (1 - _NO_GAIN)) <= cost if mixture else plain < cost


def bisect(count: int, evaluate: Callable[[int], Verdict], most: int) -> int | None:
    """The number of the cheapest of `count` candidates on the front that passes, as far as `most` evaluations find it.

    None where none passes: the last evaluation is the nearest to float32's, if nothing has passed before, so that
    nothing is concluded about candidates above the last that fails.
    """
    low, high, best = 0, count, None
    while low < high and most > 0:
        middle = count - 1 if most == 1 and best is None else (low + high) // 2
        most -= 1
        if evaluate(middle) is Verdict.PASS:
            best = high = middle
        else:
            low = middle + 1
    return best
