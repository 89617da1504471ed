"""Verdicts: PASS only if the whole interval is within the budget, FAIL only if it is outside, else not enough data.

An output is judged by user metrics or built-in metrics, or else (with class labels) by the paired accuracy drop, or
else (with decisions) by the agreement with the Reference, or else by the SQNR about the mean, in total and for each
group of columns. A float32 variant must reproduce the numbers themselves. It is judged by them first, without labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetf.benchmarks.judging.columns import join_names
from edgetf.benchmarks.judging.needed import agreement_cost, drop_cost, narrowing, needed
from edgetf.defaults import MAX_DROP, MAX_METRIC_DROP, MIN_AGREEMENT
from edgetf.device.runner.answers import is_throttled
from edgetf.results import (
    MOST_NOISE,
    ColumnFigures,
    Comparable,
    LabelUse,
    MetricFigures,
    MetricParity,
    MetricState,
    OutputFigures,
    OutputParity,
    Parity,
    Result,
    Verdict,
)
from edgetf.schemes import SCHEMES

_UNKNOWN_SQNR_DB = 20.0  # as for int8
MIN_SAMPLES = 10  # the bootstrap of fewer is not meaningful
# float32 against TensorFlow's own noise floor: in ten networks it was at most 1.33 times as far from TensorFlow as
# TensorFlow from itself, 1.8 times in thirteen on a GPU, the largest of as many samples (docs/parity.md)
FLOOR_FACTOR = 4.0
_ULP = 2.0**-23  # of float32
_MARGIN = 4.0  # the maximum over many samples may exceed the maximum over the few samples of the noise by this
_LEAST_ULPS = 8  # of the largest value: the effect of adding a few numbers in another order
_EXACT_AGREEMENT = 0.999  # for decisions of an integer output: rounding flips those between two equal classes
_EXACT_COLUMN_DB = 40.0  # for each group of columns, as for float16: the bound on the largest error is for all groups
_RANDOM = "not comparable: TensorFlow's own output differs when the same samples are given twice"


@dataclass(frozen=True)
class Budgets:
    """The losses that are allowed. `max_drop` is in percentage points of accuracy; `min_agreement` is a share.

    `max_metric_drop` is in the unit of the user's metric (None: the user named no budget, see `metric_drop`). The SQNR
    that outputs without classes need is the Scheme's. `min_delegated` is the share of the operations that the delegate
    must take, `max_partitions` the most pieces in which it may.
    """

    max_drop: float = MAX_DROP
    max_metric_drop: float | None = None
    min_agreement: float = MIN_AGREEMENT
    max_latency_ms: float | None = None
    max_bytes: int | None = None
    max_memory_bytes: int | None = None
    min_delegated: float | None = None
    max_partitions: int | None = None

    @property
    def metric_drop(self) -> float:
        """What the user's metric may lose."""
        return MAX_METRIC_DROP if self.max_metric_drop is None else self.max_metric_drop


@dataclass(frozen=True)
class Judged:
    """The verdict on one budget, with its reason, and the output whose parity it is."""

    verdict: Verdict
    reason: str
    output: str = ""


def worst(judged: Sequence[Judged]) -> Judged:
    """The most severe of several (at least one): fail before inconclusive before pass; the first of equals."""
    return min(judged, key=lambda one: one.verdict.look.severity)


def judge_parity(
    scheme: str | None,
    n: int,
    figures: Sequence[OutputFigures],
    budgets: Budgets,
    metrics: Sequence[MetricFigures] = (),
) -> Parity:
    """The verdict on every output and metric, and the worst of them for all; `n` counts distinct samples."""
    outputs = []
    for figure in figures:
        judged = judge_output(scheme, n, figure, budgets, metrics)
        outputs.append(OutputParity(**vars(figure), verdict=judged.verdict, reason=judged.reason))
    measured = []
    for metric in metrics:
        judged = judge_metric(scheme, metric, budgets, figures)
        measured.append(MetricParity(**vars(metric), verdict=judged.verdict, reason=judged.reason))
    all_ = [(o.name, Judged(o.verdict, o.reason)) for o in outputs if is_informative(o, outputs)]
    all_ = [
        (m.name, Judged(m.verdict, m.reason)) for m in measured
    ] + all_  # of equal verdicts, that of a metric comes first
    total = worst([one if len(all_) == 1 else Judged(one.verdict, f"{name}: {one.reason}") for name, one in all_])
    return Parity(total.verdict, total.reason, n, tuple(outputs), tuple(measured))


def is_informative(output: OutputFigures, outputs: Sequence[OutputFigures]) -> bool:
    """Whether an output counts among `outputs`: one that is constant and the same on both sides shows nothing.

    It counts if there is no other: then nothing has been compared.
    """

    def idle(one: OutputFigures) -> bool:
        return one.constant and one.max_abs == 0 and not one.problems

    return not idle(output) or all(idle(one) for one in outputs)


def judge_output(
    scheme: str | None, n: int, figures: OutputFigures, budgets: Budgets, metrics: Sequence[MetricFigures] = ()
) -> Judged:
    """The verdict on one output: problems first, then exactness for float32, or else the use of the output.

    An output with `metrics` is judged by them. A random model is not a fault of the scheme.
    """
    if figures.comparable is Comparable.RANDOM:
        return Judged(Verdict.INCONCLUSIVE, _RANDOM)
    if figures.problems:
        return Judged(Verdict.FAIL, "; ".join(figures.problems))
    judged = _judge_sound(scheme, n, figures, budgets, metrics)
    if found := problems_of(figures, metrics):
        return Judged(Verdict.FAIL, "; ".join([*found, judged.reason]))
    doubts = figures.lost if _of_user(metrics) else figures.fading
    if doubts and judged.verdict is Verdict.PASS and not is_exact(scheme):
        return Judged(Verdict.INCONCLUSIVE, f"{judged.reason}; but {'; '.join(doubts)}")
    return judged


def problems_of(figures: OutputFigures, metrics: Sequence[MetricFigures] = ()) -> tuple[str, ...]:
    """The reasons why an output fails for any budget. Lost decisions count only without user metrics."""
    return figures.problems if _of_user(metrics) else (*figures.problems, *figures.lost)


def _of_user(metrics: Sequence[MetricFigures]) -> bool:
    return any(metric.output is None for metric in metrics)


def _judge_sound(
    scheme: str | None, n: int, figures: OutputFigures, budgets: Budgets, metrics: Sequence[MetricFigures]
) -> Judged:
    """The verdict on an output without problems."""
    if is_judged_by_metrics(scheme, figures.name, metrics):
        own = [metric for metric in metrics if metric.output in (None, figures.name)]
        found = [(metric.name, judge_metric(scheme, metric, budgets, [figures])) for metric in own]
        return worst([Judged(one.verdict, f"{name}: {one.reason}") for name, one in found])
    if figures.doubts:
        return Judged(Verdict.INCONCLUSIVE, "; ".join(figures.doubts))
    if is_exact(scheme):
        return _judge_decisions(n, figures) if figures.integer else _judge_exactness(n, figures)
    if figures.labels is LabelUse.UNFIT:
        return Judged(Verdict.INCONCLUSIVE, figures.labels_reason)
    return _judge_use(scheme, n, figures, budgets)


def is_judged_by_metrics(scheme: str | None, output: str, metrics: Sequence[MetricFigures]) -> bool:
    """Whether an output without problems is judged by metrics, its own or those of all outputs."""
    return not is_exact(scheme) and any(metric.output in (None, output) for metric in metrics)


def judge_metric(
    scheme: str | None, found: MetricFigures, budgets: Budgets, outputs: Sequence[OutputFigures] = ()
) -> Judged:
    """The drop of a metric of `outputs` against its budget, by its interval.

    A scheme that must be exact is judged only by its numbers; a metric of a random output shows nothing.
    """
    if any(one.comparable is Comparable.RANDOM and found.output in (None, one.name) for one in outputs):
        return Judged(Verdict.INCONCLUSIVE, _RANDOM)
    if is_exact(scheme) and found.state is MetricState.MEASURED:
        return Judged(Verdict.PASS, f"{_scores(found)}; {scheme} is judged by its numbers")
    if found.doubts:
        return Judged(Verdict.INCONCLUSIVE, "; ".join(found.doubts))
    if found.n < MIN_SAMPLES:
        return Judged(Verdict.INCONCLUSIVE, f"{found.n} sample(s) are too few; {MIN_SAMPLES} are the least")
    budget = budgets.metric_drop if found.output is None else budgets.max_drop
    reason = f"{_scores(found)}, {'rise' if found.less_is_better else 'drop'} {found.drop:+.3g}"
    reason = f"{reason} [{found.low:+.3g}, {found.high:+.3g}], budget {budget:g}"
    hint = needed(found.n, narrowing(found.low, found.high, found.n), budget)
    judged = _judge_range(found.low, found.high, budget, reason, hint)
    if judged.verdict is Verdict.PASS and found.output is None and worth(found) <= 0:
        why = "the reference's outputs score no better than those for other samples: this metric shows nothing"
        return Judged(Verdict.INCONCLUSIVE, f"{reason}; {why}")
    asked = found.output is not None or budgets.max_metric_drop is not None
    if judged.verdict is Verdict.PASS and not asked and worth(found) <= budget:
        why = f"outputs for other samples are worse by only {worth(found):.3g}: give edgetf check --max-metric-drop"
        return Judged(Verdict.INCONCLUSIVE, f"{reason}; {why}")
    return judged


def worth(found: MetricFigures) -> float:
    """The difference between the Reference's score and that of its shuffled outputs, in the metric's unit; infinite if
    not measured. A budget of this size allows any outputs."""
    if found.chance is None:
        return math.inf
    return found.chance - found.reference if found.less_is_better else found.reference - found.chance


def _scores(found: MetricFigures) -> str:
    less = " (less is better)" if found.less_is_better else ""
    return f"{found.variant:.4g} beside the reference's {found.reference:.4g}{less}"


def is_exact(scheme: str | None) -> bool:
    """Whether the scheme must reproduce the numbers themselves."""
    return scheme in SCHEMES and SCHEMES[scheme].min_sqnr_db is None


def _judge_exactness(n: int, figures: OutputFigures) -> Judged:
    if n < MIN_SAMPLES:
        return Judged(Verdict.INCONCLUSIVE, f"{n} sample(s) are too few; {MIN_SAMPLES} are the least")
    if figures.floor is None:
        return Judged(Verdict.INCONCLUSIVE, "the reference has no noise floor for it to judge exactness by")
    if too_noisy := _too_noisy(figures):
        return Judged(Verdict.INCONCLUSIVE, too_noisy)
    least = _LEAST_ULPS * _ULP * figures.max_abs_reference
    allowed = max(FLOOR_FACTOR * figures.floor, least)
    by = (
        f"{FLOOR_FACTOR:g} times TensorFlow's own noise"
        if allowed > least
        else f"{_LEAST_ULPS} units in the last place"
    )
    if figures.max_abs <= allowed:
        found = Judged(Verdict.PASS, f"largest error {figures.max_abs:.2g}, within {allowed:.2g}, {by}")
        rough = [one for one in figures.columns if one.max_abs > _LEAST_ULPS * _ULP * one.max_abs_reference]
        return worst([found, *_judge_columns(n, rough, _EXACT_COLUMN_DB)])
    error, bound = _apart(figures.max_abs, allowed)
    reason = f"largest error {error}, beyond {bound}, {by}"
    known = figures.floor_n or 0
    if n > known and figures.max_abs <= _MARGIN * allowed:
        return Judged(Verdict.INCONCLUSIVE, f"{reason}, which was measured on {known} of the {n} samples only")
    return Judged(Verdict.FAIL, reason)


def _too_noisy(figures: OutputFigures) -> str:
    """The reason why numbers near the Reference's show nothing: TensorFlow itself is not near them. Empty if it is."""
    if figures.floor is None or figures.spread is None:
        return ""
    least = _LEAST_ULPS * _ULP * figures.max_abs_reference
    if figures.floor <= max(MOST_NOISE * figures.spread, least):
        return ""
    reason = f"TensorFlow itself differs by {figures.floor:.2g} from one way of computing it to another"
    return f"not comparable: {reason}, of a range of {figures.spread:.2g}"


def _apart(one: float, other: float) -> tuple[str, str]:
    """Two different values, with as many digits as show the difference, at least two."""
    for digits in range(2, 17):
        both = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if both[0] != both[1]:
            return both
    return repr(one), repr(other)


def _judge_decisions(n: int, figures: OutputFigures) -> Judged:
    """Judge integers, such as an argmax: all must be the same, except for those that rounding flips."""
    if n < MIN_SAMPLES:
        return Judged(Verdict.INCONCLUSIVE, f"{n} sample(s) are too few; {MIN_SAMPLES} are the least")
    if figures.max_abs == 0:
        return Judged(Verdict.PASS, "every value is the same")
    return judge_agreement(figures, Budgets(min_agreement=_EXACT_AGREEMENT))


def _judge_use(scheme: str | None, n: int, figures: OutputFigures, budgets: Budgets) -> Judged:
    """Judge a variant by what the output is used for. Noise of TensorFlow's own is not held against it."""
    judged, too_noisy = _judge_figures(scheme, n, figures, budgets), _too_noisy(figures)
    by_numbers = figures.accuracy is None and figures.agreement is None
    if too_noisy and (by_numbers or judged.verdict is Verdict.FAIL):
        return Judged(Verdict.INCONCLUSIVE, f"{too_noisy}; {judged.reason}")
    return judged


def _judge_figures(scheme: str | None, n: int, figures: OutputFigures, budgets: Budgets) -> Judged:
    if figures.accuracy is not None:
        return judge_drop(figures, budgets)
    if figures.agreement is not None:
        return judge_agreement(figures, budgets)
    return _judge_sqnr(scheme, n, figures)


def judge_agreement(figures: OutputFigures, budgets: Budgets) -> Judged:
    """Judge the agreement with the Reference's decisions; unknown for outputs without classes."""
    if figures.comparable is Comparable.RANDOM:
        return Judged(Verdict.INCONCLUSIVE, _RANDOM)
    found = figures.agreement
    if found is None:
        return Judged(Verdict.INCONCLUSIVE, "the agreement is not known: this output does not decide between classes")
    of = " of positions" if found.positions > 1 else ""
    reason = (
        f"agrees on {found.share:.2%}{of} [{found.low:.2%}, {found.high:.2%}], needs {100 * budgets.min_agreement:g}%"
    )
    if found.positions > 1 and found.n < MIN_SAMPLES:
        return Judged(Verdict.INCONCLUSIVE, f"{reason}: {found.n} sample(s) are too few; {MIN_SAMPLES} are the least")
    low, high, least = -found.high, -found.low, -budgets.min_agreement
    narrows = figures.any_time or found.positions > 1
    cost = narrowing(low, high, found.n) if narrows else agreement_cost(found)
    return _judge_range(low, high, least, reason, needed(found.n, cost, least))


def _judge_sqnr(scheme: str | None, n: int, figures: OutputFigures) -> Judged:
    """Judge the SQNR; too few samples are never decided."""
    least_db = SCHEMES[scheme].min_sqnr_db if scheme in SCHEMES else None
    if least_db is None:  # a file of an unknown scheme
        least_db = _UNKNOWN_SQNR_DB
    if n < MIN_SAMPLES:
        return Judged(Verdict.INCONCLUSIVE, f"{n} sample(s) are too few for an interval; {MIN_SAMPLES} are the least")
    if figures.centred_db is None:
        same = figures.max_abs == 0
        return Judged(
            Verdict.PASS if same else Verdict.FAIL, "no error at all" if same else "the reference is constant"
        )
    whole = _judge_db(n, figures, least_db)
    return worst([whole, *_judge_columns(n, figures.columns, least_db)])


def _judge_db(n: int, found: OutputFigures | ColumnFigures, least_db: float) -> Judged:
    """Judge the interval of an SQNR; an unknown end is infinite."""
    low = -math.inf if found.centred_low_db is None else found.centred_low_db
    high = math.inf if found.centred_high_db is None else found.centred_high_db
    message = f"SQNR about the mean {found.centred_db:.1f} dB [{low:.1f}, {high:.1f}], needs {least_db:.0f}"
    known = math.isfinite(low) and math.isfinite(high)
    hint = needed(n, narrowing(-high, -low, n), -least_db) if known else "more samples would decide"
    return _judge_range(-high, -low, -least_db, message, hint)


def _judge_columns(n: int, columns: Sequence[ColumnFigures], least_db: float) -> list[Judged]:
    """Judge the groups of columns of each axis: the worst, named together with all that have its verdict, unless it
    passes."""
    found = []
    for axis in dict.fromkeys(one.axis for one in columns):
        group = [one for one in columns if one.axis == axis and one.centred_db is not None]
        judged = [(one, _judge_db(n, one, least_db)) for one in group]
        total = worst([Judged(Verdict.PASS, ""), *(verdict for _, verdict in judged)]).verdict
        alike = [(one, verdict) for one, verdict in judged if verdict.verdict is total]
        if total is Verdict.PASS:
            continue
        lowest, reason = min(alike, key=lambda pair: pair[0].centred_db or 0.0)
        names = join_names([one for one, _ in alike])
        same = ", the same for every sample, unlike the reference's" if all(one.constant for one, _ in alike) else ""
        of = f"; the worst is {join_names([lowest])}" if len(alike) > 1 else ""
        found.append(Judged(total, f"{names} of axis {axis}{same}: {reason.reason}{of}"))
    return found


def judge_drop(figures: OutputFigures, budgets: Budgets) -> Judged:
    """Judge the accuracy drop; unknown without labels."""
    if figures.comparable is Comparable.RANDOM:
        return Judged(Verdict.INCONCLUSIVE, _RANDOM)
    found = figures.accuracy
    if found is None:
        return Judged(Verdict.INCONCLUSIVE, "the accuracy drop is not known: the samples have no labels that fit")
    reason = f"accuracy drop {found.drop_points:+.2f} points [{found.low:+.2f}, {found.high:+.2f}]"
    reason = f"{reason}, budget {budgets.max_drop:g}"
    cost = narrowing(found.low, found.high, found.n) if figures.any_time else drop_cost(found)
    hint = needed(found.n, cost, budgets.max_drop)
    return _judge_range(found.low, found.high, budgets.max_drop, reason, hint)


def judge_latency(result: Result, max_ms: float) -> Judged:
    """Judge the median latency by its interval.

    Differences between blocks matter only near the budget: if the medians of all blocks are on the same side as the
    interval, the verdict is decided. A throttled device may be faster otherwise, so that it cannot certainly miss a
    budget.
    """
    if result.emulated:
        return Judged(Verdict.INCONCLUSIVE, "the device is emulated: its times are not those of the hardware")
    latency = result.latency_ms
    if latency is None:
        return Judged(Verdict.INCONCLUSIVE, "it was not timed")
    message = f"median {latency.median:.3g} ms [{latency.low:.3g}, {latency.high:.3g}], budget {max_ms:g} ms"
    if result.stable:
        hint = f"more turns (edgetf benchmark --max-latency-ms {max_ms:g} --blocks N) would decide"
        return _judge_range(latency.low, latency.high, max_ms, message, hint)
    medians = [block.median_ms for block in result.blocks]
    low, high = min([latency.low, *medians]), max([latency.high, *medians])
    blocks = f"{message}; the blocks, {low:.3g} to {high:.3g} ms,"
    if len(medians) > 1 and high <= max_ms:
        return Judged(Verdict.PASS, f"{blocks} are all within it")
    if len(medians) > 1 and low > max_ms and not any(is_throttled(block.throttled) for block in result.blocks):
        return Judged(Verdict.FAIL, f"{blocks} are all beyond it")
    return Judged(Verdict.INCONCLUSIVE, f"{message}; the timing was not stable: {result.stable_reason}")


def judge_bytes(size: int, most: int) -> Judged:
    """Judge a number of bytes."""
    return Judged(Verdict.PASS if size <= most else Verdict.FAIL, f"{size:,} bytes, budget {most:,}")


def _judge_range(low: float, high: float, budget: float, reason: str, hint: str) -> Judged:
    """Judge the interval `low` to `high` of a cost that must not exceed `budget`; `hint` is for an undecided one."""
    if high <= budget:
        return Judged(Verdict.PASS, reason)
    if low > budget:
        return Judged(Verdict.FAIL, reason)
    return Judged(Verdict.INCONCLUSIVE, f"{reason}: {hint}")
