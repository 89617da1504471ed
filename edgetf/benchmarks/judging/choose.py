"""The choice of a variant. In: `benchmark.json`, an objective and budgets. Out: a choice and its reasons by device.

Only a variant that passes its budgets can be chosen. No other such variant may be measurably better in the objective:
others are equivalent, as on the Pareto front. Of several such variants, those on the front are preferred, and then the
smallest. The choice contains codes and numbers; `choose_words` converts them to sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from edgetf.benchmarks.judging.check import Checked, check
from edgetf.benchmarks.judging.front import UNKNOWN, Cost, Point, cost_of, find_front, has_drops, is_below, latency_of
from edgetf.benchmarks.judging.loss import Loss, loss_of
from edgetf.benchmarks.judging.verdict import Budgets, Judged
from edgetf.errors import ExitCode
from edgetf.results import Benchmark, Result, Verdict

YARDSTICK = "float32"  # the scheme that others are compared with
# the peaks of two processes were within 0.5 % of each other in sixteen runs of the same file
_SAME_MEMORY = 0.01


class Objective(str, Enum):
    """What to minimize. BOTH is the product of latency and bytes: half the latency is worth half the size."""

    BOTH = "both"
    LATENCY = "latency"
    SIZE = "size"
    MEMORY = "memory"


class Outcome(str, Enum):
    """The result of the choice. UNDECIDED: no variant passes, but one might with more samples."""

    CHOSEN = "chosen"
    NOTHING_PASSES = "nothing_passes"
    UNDECIDED = "undecided"
    NOTHING_RAN = "nothing_ran"


class Standing(str, Enum):
    """The position of a variant. ALIKE passes and is equivalent to the chosen one in the objective. BEHIND passes and
    is measurably worse. UNMEASURED passes without a figure for the objective."""

    CHOSEN = "chosen"
    ALIKE = "alike"
    BEHIND = "behind"
    UNMEASURED = "unmeasured"
    UNDECIDED = "undecided"
    FAILS = "fails"
    NOT_RUN = "not_run"


class Order(str, Enum):
    """The order of two figures: measurably less or more, or equivalent."""

    LESS = "less"
    ALIKE = "alike"
    MORE = "more"


@dataclass(frozen=True)
class Comparison:
    """A variant compared with another, `to`: ratios above 1 are more. Unknown figures are None.

    `accuracy` is the order of what is lost: LESS is more accurate.
    """

    to: str
    latency: float | None
    latency_order: Order | None
    bytes: float | None
    memory: float | None
    memory_order: Order | None
    accuracy_order: Order | None


@dataclass(frozen=True)
class Candidate:
    """One variant: its standing, the verdict on each budget, its figures, and its comparison with two others."""

    variant: str
    standing: Standing
    verdict: Verdict
    parts: dict[str, Judged]
    latency_ms: float | None
    bytes: int | None
    memory_bytes: int | None
    loss: Loss | None
    beside_base: Comparison | None
    beside_chosen: Comparison | None


@dataclass(frozen=True)
class Choice:
    """The choice for one device. `variant` is the chosen one, `base` the float32 variant that all are compared with, if
    there is one. `candidates` are all variants: the chosen one, the equivalent ones, and so on."""

    device: str
    objective: Objective
    budgets: Budgets
    outcome: Outcome
    variant: str | None
    base: str | None
    emulated: bool
    candidates: tuple[Candidate, ...]

    def of(self, *standings: Standing) -> list[Candidate]:
        return [candidate for candidate in self.candidates if candidate.standing in standings]


def choose(
    benchmark: Benchmark,
    objective: Objective = Objective.BOTH,
    budgets: Budgets | None = None,
    explicit_drop: bool = False,
) -> tuple[Choice, ...]:
    """The choice for each device of `benchmark`, in their order.

    `budgets` are by default those of `edgetf check`; `explicit_drop` is as in `check`. Raises EdgetfError if there is
    nothing to judge.
    """
    budgets = budgets or Budgets()
    return rank(benchmark, check(benchmark, budgets, explicit_drop), objective, budgets)


def rank(
    benchmark: Benchmark, checked: Sequence[Checked], objective: Objective, budgets: Budgets
) -> tuple[Choice, ...]:
    """The same for results that are already `checked` against `budgets`, in the order of the benchmark."""
    drops = has_drops(benchmark.results)
    devices: dict[str, list[_Judged]] = {}
    for result, one in zip(benchmark.results, checked, strict=True):
        devices.setdefault(result.device, []).append(_Judged(result, one, cost_of(result, drops)))
    return tuple(_choose(rows, objective, budgets) for rows in devices.values())


def exit_code(choices: Sequence[Choice]) -> ExitCode:
    """0 if a variant was chosen for every device, otherwise the exit code of the worst device, as in `check`."""
    outcomes = {choice.outcome for choice in choices}
    for outcome, code in (
        (Outcome.NOTHING_RAN, ExitCode.DEVICE_FAILED),
        (Outcome.NOTHING_PASSES, ExitCode.BUDGET_MISSED),
        (Outcome.UNDECIDED, ExitCode.NOT_ENOUGH_DATA),
    ):
        if outcome in outcomes:
            return code
    return ExitCode.DONE


# the rule -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Judged:
    """A result with its verdict and its cost in accuracy, of the same kind for all results."""

    result: Result
    checked: Checked
    cost: Cost | None

    def point(self) -> Point:
        latency, size = latency_of(self.result) or UNKNOWN, self.result.bytes or 0
        return Point(self.result.variant, self.checked.verdict.value, latency, self.cost or UNKNOWN, size)


def _choose(rows: Sequence[_Judged], objective: Objective, budgets: Budgets) -> Choice:
    passing = [row for row in rows if row.checked.verdict is Verdict.PASS]
    chosen = _best(passing, objective)
    base = next((row for row in rows if row.result.scheme == YARDSTICK and row.result.error is None), None)
    candidates = [_candidate(row, base, chosen, objective) for row in rows]
    order = list(Standing)
    return Choice(
        device=rows[0].result.device,
        objective=objective,
        budgets=budgets,
        outcome=Outcome.CHOSEN if chosen else _why_none(candidates),
        variant=chosen.result.variant if chosen else None,
        base=base.result.variant if base else None,
        emulated=rows[0].result.emulated,
        candidates=tuple(sorted(candidates, key=lambda candidate: order.index(candidate.standing))),
    )


def _best(passing: Sequence[_Judged], objective: Objective) -> _Judged | None:
    """The variant to choose, None only if no variant passes."""
    if not passing:
        return None
    aims = [(row, _aim(row.result, objective)) for row in passing]
    known = [(row, aim) for row, aim in aims if aim is not None]
    first = [row for row, aim in known if not any(is_below(other, aim) for _, other in known)]
    pool = first or list(passing)  # if no variant has the figure, the smallest is chosen
    front = find_front([row.point() for row in passing])
    pool = [row for row in pool if row.point() in front] or pool

    def key(row: _Judged) -> tuple[float, float, float]:
        point = row.point()
        return point.bytes, point.latency.value, point.cost.value

    return min(pool, key=key)


def _aim(result: Result, objective: Objective) -> Cost | None:
    """The figure that the objective minimizes, with its interval; None if unknown."""
    if objective is Objective.SIZE:
        return None if result.bytes is None else Cost(result.bytes)
    if objective is Objective.MEMORY:
        return _memory(result)
    latency = latency_of(result)
    if objective is Objective.LATENCY or latency is None:
        return latency
    assert latency.low is not None
    assert latency.high is not None
    size = result.bytes or math.inf
    turns = tuple(turn * size for turn in latency.turns)
    return Cost(latency.value * size, latency.low * size, latency.high * size, turns)


def _memory(result: Result) -> Cost | None:
    if result.arena_bytes is not None:  # which is exact
        return Cost(result.arena_bytes)
    peak = result.peak_rss_bytes
    if peak is None or result.emulated:
        return None
    return Cost(peak, peak * (1 - _SAME_MEMORY / 2), peak * (1 + _SAME_MEMORY / 2))


def _why_none(candidates: Sequence[Candidate]) -> Outcome:
    standings = {candidate.standing for candidate in candidates}
    if Standing.UNDECIDED in standings:
        return Outcome.UNDECIDED
    return Outcome.NOTHING_PASSES if Standing.FAILS in standings else Outcome.NOTHING_RAN


# each variant ---------------------------------------------------------------------------------------------------------


def _candidate(row: _Judged, base: _Judged | None, chosen: _Judged | None, objective: Objective) -> Candidate:
    result, latency = row.result, latency_of(row.result)
    return Candidate(
        variant=result.variant,
        standing=_standing(row, chosen, objective),
        verdict=row.checked.verdict,
        parts=row.checked.parts,
        latency_ms=latency.value if latency else None,
        bytes=result.bytes,
        memory_bytes=None if result.emulated else result.arena_bytes or result.peak_rss_bytes,
        loss=loss_of(result.parity),
        beside_base=_beside(row, base),
        beside_chosen=_beside(row, chosen),
    )


def _standing(row: _Judged, chosen: _Judged | None, objective: Objective) -> Standing:
    if row is chosen:
        return Standing.CHOSEN
    if row.checked.failed_run:
        return Standing.NOT_RUN
    if row.checked.verdict is not Verdict.PASS or chosen is None:
        return Standing.FAILS if row.checked.verdict is Verdict.FAIL else Standing.UNDECIDED
    mine, best = _aim(row.result, objective), _aim(chosen.result, objective)
    if best is None:
        return Standing.ALIKE
    if mine is None:
        return Standing.UNMEASURED
    return Standing.BEHIND if is_below(best, mine) else Standing.ALIKE


def _beside(row: _Judged, other: _Judged | None) -> Comparison | None:
    if other is None or other is row or row.result.error is not None:
        return None
    mine, theirs = latency_of(row.result), latency_of(other.result)
    memory, other_memory = _memory(row.result), _memory(other.result)
    sizes = row.result.bytes, other.result.bytes
    return Comparison(
        to=other.result.variant,
        latency=_ratio(mine, theirs),
        latency_order=_order(mine, theirs),
        bytes=sizes[0] / sizes[1] if sizes[0] and sizes[1] else None,
        memory=_ratio(memory, other_memory),
        memory_order=_order(memory, other_memory),
        accuracy_order=_order(row.cost, other.cost),
    )


def _ratio(one: Cost | None, other: Cost | None) -> float | None:
    return one.value / other.value if one and other and one.value and other.value else None


def _order(one: Cost | None, other: Cost | None) -> Order | None:
    if one is None or other is None:
        return None
    return Order.LESS if is_below(one, other) else Order.MORE if is_below(other, one) else Order.ALIKE
