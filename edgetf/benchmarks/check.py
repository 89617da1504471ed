"""`benchmark.json` and budgets in; one verdict for each variant out, of everything that has a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetf.benchmarks.verdict import (
    Budgets,
    Judged,
    is_judged_by_metrics,
    judge_bytes,
    judge_drop,
    judge_latency,
    judge_metric,
    judge_output,
    worst,
)
from edgetf.errors import EdgetfError, ExitCode, nearest
from edgetf.results import Benchmark, Parity, Result, Status, Verdict


@dataclass(frozen=True)
class Checked:
    """A variant's verdict: the worst of its `parts`, which are named by what was judged."""

    variant: str
    device: str
    verdict: Verdict
    parts: dict[str, Judged]
    failed_run: bool


def check(benchmark: Benchmark, budgets: Budgets, explicit_drop: bool) -> list[Checked]:
    """Judge every result against `budgets`.

    With `explicit_drop` the accuracy drop was asked for: samples without labels then leave it undecided, instead of
    agreement or SQNR standing in. Raises EdgetfError when there is nothing to judge.
    """
    if not benchmark.results:
        raise EdgetfError("there are no results to check", "run: edgetf benchmark")
    limits = (budgets.max_latency_ms, budgets.max_bytes, budgets.max_memory_bytes) != (None, None, None)
    failed = any(result.status is Status.FAILED for result in benchmark.results)
    if benchmark.reference is None and not limits and not failed:
        raise EdgetfError("nothing was compared: the benchmark has no reference", "run it with --reference REF")
    return [check_one(result, budgets, explicit_drop, benchmark.reference is not None) for result in benchmark.results]


def select(benchmark: Benchmark, variants: Sequence[str]) -> Benchmark:
    """The benchmark with only these variants, or all when none is named. Raises EdgetfError for an unknown one."""
    known = [result.variant for result in benchmark.results]
    for name in variants:
        if name not in known:
            raise EdgetfError(f"there is no result of a variant {name!r}", nearest(name, known))
    chosen = tuple(result for result in benchmark.results if not variants or result.variant in variants)
    return replace(benchmark, results=chosen)


def exit_code(checked: list[Checked]) -> ExitCode:
    """What the shell is told: a failed run before a missed budget before too little data."""
    if any(one.failed_run for one in checked):
        return ExitCode.DEVICE_FAILED
    if any(one.verdict is Verdict.FAIL for one in checked):
        return ExitCode.BUDGET_MISSED
    if any(one.verdict is Verdict.INCONCLUSIVE for one in checked):
        return ExitCode.NOT_ENOUGH_DATA
    return ExitCode.DONE


def _judge_latency(result: Result, most: float) -> Judged:
    if result.emulated:
        return Judged(Verdict.INCONCLUSIVE, "the device is emulated: its times are not the hardware's")
    if result.latency_ms is None:
        return Judged(Verdict.INCONCLUSIVE, "it was not timed")
    return judge_latency(result.latency_ms, most, result.stable, result.stable_reason)


def _judge_memory(result: Result, most: int) -> Judged:
    if result.peak_rss_bytes is None:
        return Judged(Verdict.INCONCLUSIVE, "the device did not tell the memory that it took")
    if result.emulated:
        return Judged(Verdict.INCONCLUSIVE, "the device is emulated: its memory is not the hardware's")
    return judge_bytes(result.peak_rss_bytes, most)


def check_one(result: Result, budgets: Budgets, explicit_drop: bool, compared: bool) -> Checked:
    """Judge one result; `compared` says whether its benchmark had a reference."""
    if result.status is Status.FAILED:
        message = result.error.message if result.error else "it failed"
        what = result.error.code if result.error else "run"
        ran = what in ("run", "device")
        return Checked(result.variant, result.device, Verdict.FAIL, {what: Judged(Verdict.FAIL, message)}, ran)
    parts: dict[str, Judged] = {}
    if result.parity is not None:
        parts = _judge_parity(result.scheme, result.parity, budgets, explicit_drop)
    elif compared or explicit_drop:
        parts["parity"] = Judged(Verdict.INCONCLUSIVE, "nothing was compared")
    if budgets.max_latency_ms is not None:
        parts["latency"] = _judge_latency(result, budgets.max_latency_ms)
    if budgets.max_bytes is not None and result.bytes is not None:
        parts["size"] = judge_bytes(result.bytes, budgets.max_bytes)
    if budgets.max_memory_bytes is not None:
        parts["memory"] = _judge_memory(result, budgets.max_memory_bytes)
    if not parts:
        parts["budgets"] = Judged(Verdict.INCONCLUSIVE, "no budget is set for it, and nothing was compared")
    return Checked(result.variant, result.device, worst(list(parts.values())).verdict, parts, False)


def _judge_parity(scheme: str | None, parity: Parity, budgets: Budgets, explicit_drop: bool) -> dict[str, Judged]:
    parts = {metric.name: judge_metric(scheme, metric, budgets) for metric in parity.metrics}
    for output in parity.outputs:
        judged = judge_output(scheme, parity.n, output, budgets, parity.metrics)
        if judged.verdict is not Verdict.PASS or not is_judged_by_metrics(scheme, output.name, parity.metrics):
            parts[f"parity of {output.name}"] = judged
    own = [metric for metric in parity.metrics if metric.output is None]
    if budgets.max_metric_drop is not None and not own:
        parts["metric"] = Judged(Verdict.INCONCLUSIVE, "none was measured: benchmark with --metric")
    if explicit_drop:
        parts.update(_judge_drops(parity, budgets, bool(own)))
    return parts


def _judge_drops(parity: Parity, budgets: Budgets, own_metric: bool) -> dict[str, Judged]:
    """The accuracy drop that was asked for, where nothing else has judged it, as where a metric judges all outputs."""
    labelled = [output for output in parity.outputs if output.accuracy is not None]
    if own_metric:
        return {f"accuracy drop of {output.name}": judge_drop(output, budgets) for output in labelled}
    if labelled or any(metric.output is not None for metric in parity.metrics):
        return {}
    return {"accuracy drop": judge_drop(parity.outputs[0], budgets)}
