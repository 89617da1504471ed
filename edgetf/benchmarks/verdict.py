"""Verdicts: PASS only when the interval lies inside the budget, FAIL only when it lies outside, else not enough data.

What judges an output: the metrics that the labels or the user give, else with classes the paired accuracy drop, else
for classes the agreement with the Reference, else the SQNR about the mean. A float32 variant must reproduce the numbers
themselves, and is judged by them first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgetf.benchmarks.statistics import agreement, paired_interval
from edgetf.figures import Latency
from edgetf.results import (
    Accuracy,
    Agreement,
    MetricFigures,
    MetricParity,
    OutputFigures,
    OutputParity,
    Parity,
    Verdict,
)
from edgetf.schemes import SCHEMES

_UNKNOWN_SQNR_DB = 20.0  # as for int8
_METRIC_DROP = 0.01  # where no other is asked for
MIN_SAMPLES = 10  # the bootstrap of fewer says little
# float32 against TensorFlow's own noise floor: in ten networks it was at most 1.33 times as far from TensorFlow as
# TensorFlow from itself, the largest of 64 samples against the largest of as many (docs/parity.md)
FLOOR_FACTOR = 4.0
_ULP = 2.0**-23  # of float32
_MARGIN = 4.0  # the largest of many samples may be so much more than the largest of those that the noise is known of
_LEAST_ULPS = 8  # of the largest value, which adding a few numbers in another order gives
_DOUBLINGS = 14  # of the number of samples, beyond which "more" is no advice
_SEVERITY = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


@dataclass(frozen=True)
class Budgets:
    """What a variant may cost. `max_drop` is in percentage points of accuracy; `min_agreement` is a share.

    `max_metric_drop` is in the unit of the user's metric. The defaults: one point of accuracy, a hundredth of a metric,
    and 98 % of the Reference's decisions (MLPerf Mobile's gate for quantized classification is 98 % of the float
    accuracy). The SQNR that outputs without classes need is the Scheme's.
    """

    max_drop: float = 1.0
    max_metric_drop: float | None = None
    min_agreement: float = 0.98
    max_latency_ms: float | None = None
    max_bytes: int | None = None
    max_memory_bytes: int | None = None


@dataclass(frozen=True)
class Judged:
    """One budget and what became of it."""

    verdict: Verdict
    reason: str


def worst(judged: Sequence[Judged]) -> Judged:
    """The most severe of several (at least one): fail before inconclusive before pass; the first of equals."""
    return min(judged, key=lambda one: _SEVERITY.index(one.verdict))


def judge_parity(
    scheme: str | None,
    n: int,
    figures: Sequence[OutputFigures],
    budgets: Budgets,
    metrics: Sequence[MetricFigures] = (),
) -> Parity:
    """The verdict on every output and metric, and the worst of them for the whole."""
    outputs = []
    for figure in figures:
        judged = judge_output(scheme, n, figure, budgets, metrics)
        outputs.append(OutputParity(**vars(figure), verdict=judged.verdict, reason=judged.reason))
    measured = []
    for metric in metrics:
        judged = judge_metric(scheme, metric, budgets)
        measured.append(MetricParity(**vars(metric), verdict=judged.verdict, reason=judged.reason))
    all_ = [(o.name, Judged(o.verdict, o.reason)) for o in outputs]
    all_ = [(m.name, Judged(m.verdict, m.reason)) for m in measured] + all_  # of equals, what judges comes first
    total = worst([one if len(all_) == 1 else Judged(one.verdict, f"{name}: {one.reason}") for name, one in all_])
    return Parity(total.verdict, total.reason, n, tuple(outputs), tuple(measured))


def judge_output(
    scheme: str | None, n: int, figures: OutputFigures, budgets: Budgets, metrics: Sequence[MetricFigures] = ()
) -> Judged:
    """The verdict on one output: problems first, then exactness for float32, or else what the output is for.

    Of an output that has `metrics` it is they that say what it is worth.
    """
    if figures.problems:
        return Judged(Verdict.FAIL, "; ".join(figures.problems))
    if is_judged_by_metrics(scheme, figures.name, metrics):
        return Judged(Verdict.PASS, "its numbers are finite; its metrics judge")
    if figures.doubts:
        return Judged(Verdict.INCONCLUSIVE, "; ".join(figures.doubts))
    return _judge_exactness(n, figures) if is_exact(scheme) else _judge_use(scheme, n, figures, budgets)


def is_judged_by_metrics(scheme: str | None, output: str, metrics: Sequence[MetricFigures]) -> bool:
    """Whether an output that has no problems is judged by metrics, its own or those of all."""
    return not is_exact(scheme) and any(metric.output in (None, output) for metric in metrics)


def judge_metric(scheme: str | None, found: MetricFigures, budgets: Budgets) -> Judged:
    """The drop of a metric against its budget, by its interval; what must be exact is judged by its numbers alone."""
    if is_exact(scheme):
        told = f"{found.variant:.4g} beside the reference's {found.reference:.4g}"
        return Judged(Verdict.PASS, f"{told}; {scheme} is judged by its numbers")
    if found.doubts:
        return Judged(Verdict.INCONCLUSIVE, "; ".join(found.doubts))
    if found.n < MIN_SAMPLES:
        return Judged(Verdict.INCONCLUSIVE, f"{found.n} sample(s) are too few; {MIN_SAMPLES} are the least")
    own = _METRIC_DROP if budgets.max_metric_drop is None else budgets.max_metric_drop
    budget = own if found.output is None else budgets.max_drop
    told = f"{found.variant:.4g} beside the reference's {found.reference:.4g}"
    told = f"{told}, drop {found.drop:+.3g} [{found.low:+.3g}, {found.high:+.3g}], budget {budget:g}"
    hint = _needed(found.n, _narrowing(found.low, found.high, found.n), budget)
    return _judge_range(found.low, found.high, budget, told, hint)


def is_exact(scheme: str | None) -> bool:
    """Whether the scheme must reproduce the numbers themselves."""
    return scheme in SCHEMES and SCHEMES[scheme].min_sqnr_db is None


def _judge_exactness(n: int, figures: OutputFigures) -> Judged:
    if n < MIN_SAMPLES:
        return Judged(Verdict.INCONCLUSIVE, f"{n} sample(s) are too few; {MIN_SAMPLES} are the least")
    if figures.floor is None:
        return Judged(Verdict.INCONCLUSIVE, "the reference has no noise floor for it: nothing to judge exactness by")
    least = _LEAST_ULPS * _ULP * figures.max_abs_reference
    allowed = max(FLOOR_FACTOR * figures.floor, least)
    by = (
        f"{FLOOR_FACTOR:g} times TensorFlow's own noise"
        if allowed > least
        else f"{_LEAST_ULPS} units in the last place"
    )
    if figures.max_abs <= allowed:
        return Judged(Verdict.PASS, f"largest error {figures.max_abs:.2g}, within {allowed:.2g}, {by}")
    told = f"largest error {figures.max_abs:.2g}, beyond {allowed:.2g}, {by}"
    known = figures.floor_n or 0
    if n > known and figures.max_abs <= _MARGIN * allowed:
        return Judged(Verdict.INCONCLUSIVE, f"{told}, which was measured on {known} of the {n} samples only")
    return Judged(Verdict.FAIL, told)


def _judge_use(scheme: str | None, n: int, figures: OutputFigures, budgets: Budgets) -> Judged:
    if figures.accuracy is not None:
        return judge_drop(figures, budgets)
    if figures.agreement is not None:
        return judge_agreement(figures, budgets)
    return _judge_sqnr(scheme, n, figures)


def judge_agreement(figures: OutputFigures, budgets: Budgets) -> Judged:
    """The agreement with the Reference's decisions against its budget; not known for outputs without classes."""
    found = figures.agreement
    if found is None:
        return Judged(Verdict.INCONCLUSIVE, "the agreement is not known: this output does not decide between classes")
    told = f"agrees on {found.share:.2%} [{found.low:.2%}, {found.high:.2%}], needs {budgets.min_agreement:.0%}"
    low, high, least = -found.high, -found.low, -budgets.min_agreement
    cost = _narrowing(low, high, found.n) if figures.any_time else _agreement_cost(found)
    return _judge_range(low, high, least, told, _needed(found.n, cost, least))


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
    known = math.isfinite(low) and math.isfinite(high)
    hint = _needed(n, _narrowing(-high, -low, n), -needed) if known else "more samples would decide"
    return _judge_range(-high, -low, -needed, told, hint)


def judge_drop(figures: OutputFigures, budgets: Budgets) -> Judged:
    """The accuracy drop against its budget; not known without labels."""
    found = figures.accuracy
    if found is None:
        return Judged(Verdict.INCONCLUSIVE, "the accuracy drop is not known: the samples have no labels that fit")
    told = f"accuracy drop {found.drop_points:+.2f} points [{found.low:+.2f}, {found.high:+.2f}]"
    told = f"{told}, budget {budgets.max_drop:g}"
    cost = _narrowing(found.low, found.high, found.n) if figures.any_time else _drop_cost(found)
    hint = _needed(found.n, cost, budgets.max_drop)
    return _judge_range(found.low, found.high, budgets.max_drop, told, hint)


def judge_latency(latency: Latency, max_ms: float, stable: bool | None, why: str) -> Judged:
    """The median latency against its budget, by its interval; a run that was not stable decides nothing."""
    if not stable:
        return Judged(Verdict.INCONCLUSIVE, f"the timing was not stable: {why}")
    told = f"median {latency.median:.3g} ms [{latency.low:.3g}, {latency.high:.3g}], budget {max_ms:g} ms"
    return _judge_range(latency.low, latency.high, max_ms, told, "more turns (--blocks) would decide")


def judge_bytes(size: int, most: int) -> Judged:
    """A number of bytes against its budget."""
    return Judged(Verdict.PASS if size <= most else Verdict.FAIL, f"{size:,} bytes, budget {most:,}")


def _narrowing(low: float, high: float, n: int) -> Callable[[int], tuple[float, float]]:
    """An interval that is `low` to `high` with `n` samples, and narrows with the root of their number."""
    centre, reach = (low + high) / 2, (high - low) / 2

    def cost(m: int) -> tuple[float, float]:
        return centre - reach * math.sqrt(n / m), centre + reach * math.sqrt(n / m)

    return cost


def _drop_cost(found: Accuracy) -> Callable[[int], tuple[float, float]]:
    """The interval of the drop, in points, with m samples that disagree as often."""

    def cost(m: int) -> tuple[float, float]:
        lost, won = (round(count * m / found.n) for count in (found.only_reference_right, found.only_variant_right))
        low, high = paired_interval(lost, won, m)
        return 100 * low, 100 * high

    return cost


def _agreement_cost(found: Agreement) -> Callable[[int], tuple[float, float]]:
    """The interval of the agreement, below zero, with m samples that agree as often."""

    def cost(m: int) -> tuple[float, float]:
        more = agreement(round(found.same * m / found.n), m)
        return -more.high, -more.low

    return cost


def _needed(n: int, cost: Callable[[int], tuple[float, float]], budget: float) -> str:
    """How many more than `n` samples would decide, if they are like these, where `cost(m)` is the interval with m."""

    def decided(m: int) -> bool:
        low, high = cost(m)
        return high <= budget or low > budget

    enough = next((n * 2**k for k in range(1, _DOUBLINGS) if decided(n * 2**k)), None)
    if enough is None:
        return "hardly any number of samples would decide: it lies at the budget"
    few = enough // 2
    while enough - few > max(1, n // 50):
        middle = (few + enough) // 2
        few, enough = (few, middle) if decided(middle) else (middle, enough)
    return f"about {_round_up(enough - n):,} more samples would decide"


def _round_up(count: int) -> int:
    """Two digits are all that is known."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit


def _judge_range(low: float, high: float, budget: float, told: str, hint: str) -> Judged:
    """`low` to `high` is the interval of a cost that must not exceed `budget`; `hint` is for where it is open."""
    if high <= budget:
        return Judged(Verdict.PASS, told)
    if low > budget:
        return Judged(Verdict.FAIL, told)
    return Judged(Verdict.INCONCLUSIVE, f"{told}: {hint}")
