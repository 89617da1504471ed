"""What differs between sessions of one file. In: sessions. Out: the ratio of two medians, its interval and p-value.

The blocks of a session are minutes apart at most. A session on another day has other neighbours, another temperature
and other pages of memory, of which its own interval knows nothing: intervals of sessions of one file often do not
overlap. How much sessions differ is estimated from those that measured a file again. Where these are few, an assumption
counts for some more of them (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3, section 4); `tests/performance/sessions.py`
simulates it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from edgetf.benchmarks.judging.statistics import special

# the assumption: a standard deviation of the logarithms of medians, and the repeated sessions that it counts for
ASSUMED, WEIGHT = 0.025, 4
RECENT = 30  # sessions of a variant that the estimate is from


@dataclass(frozen=True)
class Session:
    """A variant's median in milliseconds in one benchmark at `commit`; `file` is the SHA-256 of the variant's file."""

    commit: str
    file: str
    median_ms: float


@dataclass(frozen=True)
class Side:
    """The sessions of a file at one commit, and the squared error of the logarithm of a session's median by its blocks.

    `blocks` is their number, at least 2.
    """

    medians_ms: Sequence[float]
    error2: float
    blocks: int

    @property
    def centre(self) -> float:
        """The mean of the logarithms of the medians."""
        return fmean(map(math.log, self.medians_ms))


@dataclass(frozen=True)
class Spread:
    """How much sessions of one file differ: a standard deviation of logarithms, from `repeats` sessions of files that
    had been measured before, and the assumption."""

    deviation: float
    repeats: int


@dataclass(frozen=True)
class Ratio:
    """The ratio of a new median to an old one, its interval, and the p-value of a ratio of 1."""

    low: float
    high: float
    p: float


def spread_of(sessions: Sequence[Session], apart: Sequence[str] = ()) -> Spread:
    """The Spread of the sessions of one variant on one device with equal settings.

    The sessions at commits that are to be compared are `apart`: what differs between these is the question.
    """
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in sessions:
        groups[one.file, one.commit if one.commit in apart else ""].append(math.log(one.median_ms))
    squares = sum(squares_of(logs) for logs in groups.values())
    repeats = sum(len(logs) - 1 for logs in groups.values())
    return Spread(math.sqrt((WEIGHT * ASSUMED**2 + squares) / (WEIGHT + repeats)), repeats)


def squares_of(logs: Sequence[float]) -> float:
    """The sum of the squared deviations from their mean."""
    mean = fmean(logs)
    return sum((x - mean) ** 2 for x in logs)


def compare_sides(old: Side, new: Side, spread: Spread, alpha: float) -> Ratio:
    """The Ratio of the sides by Student's t, at the error rate `alpha`.

    A session whose blocks differ more than sessions do counts with the error of its blocks.
    """
    errors, freedoms = [], []
    for side in (old, new):
        between = spread.deviation**2
        errors.append(max(between, side.error2) / len(side.medians_ms))
        freedoms.append(WEIGHT + spread.repeats if between >= side.error2 else side.blocks - 1)
    freedom, error, apart = min(freedoms), math.sqrt(sum(errors)), new.centre - old.centre
    reach = float(special().stdtrit(freedom, 1 - alpha / 2)) * error
    p = 2 * float(special().stdtr(freedom, -abs(apart) / error))
    return Ratio(math.exp(apart - reach), math.exp(apart + reach), p)
