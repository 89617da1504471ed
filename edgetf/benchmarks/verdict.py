"""Verdicts: PASS only when the interval lies inside the budget, FAIL only when it lies outside, else not enough data.

What judges an output: with labels the paired accuracy drop, else for classes the agreement with the Reference, else
the SQNR about the mean. A float32 variant must reproduce the numbers themselves, and is judged by nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetf.figures import Latency
from edgetf.results import OutputFigures, OutputParity, Parity, Verdict
from edgetf.schemes import SCHEMES

_UNKNOWN_SQNR_DB = 20.0  # as for int8
MIN_SAMPLES = 10  # the bootstrap of fewer says little
EXACT_TOLERANCE = 1e-5  # float32: of the largest reference value, or of 1 where that is smaller
_SEVERITY = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


@dataclass(frozen=True)
class Budgets:
    """What a variant may cost. `max_drop` is in percentage points of accuracy; `min_agreement` is a share.

    The defaults: one point of accuracy, and 98 % of the Reference's decisions (MLPerf Mobile's gate for quantized
    classification is 98 % of the float accuracy). The SQNR that outputs without classes need is the Scheme's.
    """

    max_drop: float = 1.0
    min_agreement: float = 0.98
    max_latency_ms: float | None = None
    max_bytes: int | None = None


@dataclass(frozen=True)
class Judged:
    """One budget and what became of it."""

    verdict: Verdict
    reason: str


def worst(judged: Sequence[Judged]) -> Judged:
    """The most severe of several (at least one): fail before inconclusive before pass; the first of equals."""
    return min(judged, key=lambda one: _SEVERITY.index(one.verdict))


def judge_parity(scheme: str | None, n: int, figures: Sequence[OutputFigures], budgets: Budgets) -> Parity:
    """The verdict on every output, and the worst of them for the whole."""
    outputs = []
    for figure in figures:
        judged = judge_output(scheme, n, figure, budgets)
        outputs.append(OutputParity(**vars(figure), verdict=judged.verdict, reason=judged.reason))
    total = worst([Judged(o.verdict, o.reason if len(outputs) == 1 else f"{o.name}: {o.reason}") for o in outputs])
    return Parity(total.verdict, total.reason, n, tuple(outputs))


def judge_output(scheme: str | None, n: int, figures: OutputFigures, budgets: Budgets) -> Judged:
    """The verdict on one output: problems first, then exactness for float32, or else what the output is for."""
    if figures.problems:
        return Judged(Verdict.FAIL, "; ".join(figures.problems))
    if figures.doubts:
        return Judged(Verdict.INCONCLUSIVE, "; ".join(figures.doubts))
    if scheme in SCHEMES and SCHEMES[scheme].min_sqnr_db is None:
        return _judge_exactness(n, figures)
    return _judge_use(scheme, n, figures, budgets)


def _judge_exactness(n: int, figures: OutputFigures) -> Judged:
    if n < MIN_SAMPLES:
        return Judged(Verdict.INCONCLUSIVE, f"{n} sample(s) are too few; {MIN_SAMPLES} are the least")
    allowed = EXACT_TOLERANCE * max(1.0, figures.max_abs_reference)
    verdict = Verdict.PASS if figures.max_abs <= allowed else Verdict.FAIL
    sign = "within" if verdict is Verdict.PASS else "beyond"
    return Judged(verdict, f"largest error {figures.max_abs:.2g}, {sign} the {allowed:.2g} that float32 may differ by")


def _judge_use(scheme: str | None, n: int, figures: OutputFigures, budgets: Budgets) -> Judged:
    if figures.accuracy is not None:
        return judge_drop(figures, budgets)
    if figures.agreement is not None:
        found = figures.agreement
        interval = f"agrees on {found.share:.2%} [{found.low:.2%}, {found.high:.2%}]"
        return _judge_range(
            -found.high, -found.low, -budgets.min_agreement, f"{interval}, needs {budgets.min_agreement:.0%}"
        )
    return _judge_sqnr(scheme, n, figures)


def _judge_sqnr(scheme: str | None, n: int, figures: OutputFigures) -> Judged:
    """An end of the interval that is not known is infinite; few samples say nothing, however good they look."""
    needed = SCHEMES[scheme].min_sqnr_db if scheme in SCHEMES else None
    if needed is None:  # a file of an unknown scheme
        needed = _UNKNOWN_SQNR_DB
    if n < MIN_SAMPLES:
        return Judged(Verdict.INCONCLUSIVE, f"{n} sample(s) are too few for an interval; {MIN_SAMPLES} are the least")
    if figures.centred_db is None:
        same = figures.max_abs == 0
        return Judged(
            Verdict.PASS if same else Verdict.FAIL, "no error at all" if same else "the reference is constant"
        )
    low = -math.inf if figures.centred_low_db is None else figures.centred_low_db
    high = math.inf if figures.centred_high_db is None else figures.centred_high_db
    told = f"SQNR about the mean {figures.centred_db:.1f} dB [{low:.1f}, {high:.1f}], needs {needed:.0f}"
    return _judge_range(-high, -low, -needed, told)


def judge_drop(figures: OutputFigures, budgets: Budgets) -> Judged:
    """The accuracy drop against its budget; not known without labels."""
    found = figures.accuracy
    if found is None:
        return Judged(Verdict.INCONCLUSIVE, "the accuracy drop is not known: the samples have no labels that fit")
    told = f"accuracy drop {found.drop_points:+.2f} points [{found.low:+.2f}, {found.high:+.2f}]"
    return _judge_range(found.low, found.high, budgets.max_drop, f"{told}, budget {budgets.max_drop:g}")


def judge_latency(latency: Latency, max_ms: float, stable: bool | None, why: str) -> Judged:
    """The median latency against its budget, by its interval; a run that was not stable decides nothing."""
    if not stable:
        return Judged(Verdict.INCONCLUSIVE, f"the timing was not stable: {why}")
    told = f"median {latency.median:.3g} ms [{latency.low:.3g}, {latency.high:.3g}], budget {max_ms:g} ms"
    return _judge_range(latency.low, latency.high, max_ms, told, more="runs")


def judge_bytes(size: int, most: int) -> Judged:
    """The size of the file against its budget."""
    return Judged(Verdict.PASS if size <= most else Verdict.FAIL, f"{size:,} bytes, budget {most:,}")


def _judge_range(low: float, high: float, budget: float, told: str, more: str = "samples") -> Judged:
    """`low` to `high` is the interval of a cost that must not exceed `budget`."""
    if high <= budget:
        return Judged(Verdict.PASS, told)
    if low > budget:
        return Judged(Verdict.FAIL, told)
    return Judged(Verdict.INCONCLUSIVE, f"{told}: more {more} would decide")
