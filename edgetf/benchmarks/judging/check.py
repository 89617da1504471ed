"""Verdicts on variants. In: `benchmark.json` and budgets. Out: a verdict for each variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

from edgetf.benchmarks.judging.consistent import refuse_contradictions, refuse_other_noise
from edgetf.benchmarks.judging.covered import judge_coverage
from edgetf.benchmarks.judging.distinct import describe_distinct
from edgetf.benchmarks.judging.toothless import toothless
from edgetf.benchmarks.judging.verdict import (
    Budgets,
    Judged,
    is_exact,
    is_informative,
    is_judged_by_metrics,
    judge_bytes,
    judge_drop,
    judge_latency,
    judge_metric,
    judge_output,
    problems_of,
    worst,
)
from edgetf.benchmarks.timing.fixed import has_changed
from edgetf.errors import EdgetfError, ExitCode, nearest
from edgetf.results import Benchmark, Parity, Result, Status, Verdict


@dataclass(frozen=True)
class Checked:
    """A variant's verdict: the worst of its `parts`, which are the judged figures by name.

    `model` is a short name of its model if several models were judged together, otherwise empty. `warnings` are about
    budgets that it could not miss.
    """

    variant: str
    device: str
    verdict: Verdict
    parts: dict[str, Judged]
    failed_run: bool
    model: str = ""
    warnings: tuple[str, ...] = ()


def check(benchmark: Benchmark, budgets: Budgets, explicit_drop: bool) -> list[Checked]:
    """Judge every result against `budgets`.

    With `explicit_drop` the user gave a budget for the accuracy drop: without labels the verdict is then undecided, and
    is not replaced by agreement or SQNR. Raises EdgetfError if there is nothing to judge.
    """
    if not benchmark.results:
        raise EdgetfError("there are no results to check", "run: edgetf benchmark")
    limits = (budgets.max_latency_ms, budgets.max_bytes, budgets.max_memory_bytes) != (None, None, None)
    failed = any(result.status is Status.FAILED for result in benchmark.results)
    if benchmark.reference is None and not limits and not failed:
        hint = "compare with one: edgetf benchmark --reference REF"
        raise EdgetfError("nothing was compared: the benchmark has no reference", hint)
    refuse_other_noise(benchmark)
    return [check_one(result, budgets, explicit_drop, benchmark.reference is not None) for result in benchmark.results]


def select(benchmark: Benchmark, variants: Sequence[str]) -> Benchmark:
    """The benchmark with only these variants, or all if none is named. Raises EdgetfError for an unknown variant."""
    known = [result.variant for result in benchmark.results]
    for name in variants:
        if name not in known:
            raise EdgetfError(f"there is no result of a variant {name!r}", nearest(name, known))
    chosen = tuple(result for result in benchmark.results if not variants or result.variant in variants)
    return replace(benchmark, results=chosen)


def refuse_changed(results: Sequence[Result], checked: Sequence[Checked]) -> list[Checked]:
    """The same verdicts, with a failure for each variant whose file is another one than was measured."""
    found = []
    for result, one in zip(results, checked, strict=True):
        if (judged := judge_file(result)) is not None:
            parts = {_free("file", one.parts): judged, **one.parts}
            one = replace(one, parts=parts, verdict=Verdict.FAIL)
        found.append(one)
    return found


def judge_file(result: Result) -> Judged | None:
    """A failure if the file of a variant has changed since it was measured."""
    if not has_changed(result):
        return None
    return Judged(Verdict.FAIL, f"{result.path}: the file has changed since it was measured: benchmark it again")


def together(checked: Sequence[Checked]) -> list[Checked]:
    """Merge verdicts: one for each variant of a model on a device, with all parts.

    A verdict without a device, such as that a file has changed, is merged into those of all devices of the variant; a
    verdict without a model into those of all models.
    """
    found: dict[tuple[str, str, str], Checked] = {}
    for one in sorted(checked, key=lambda one: (not one.model, not one.device)):
        like = [
            key for key in found if key[2] == one.variant and one.model in ("", key[0]) and one.device in ("", key[1])
        ]
        for key in like or [(one.model, one.device, one.variant)]:
            found[key] = _merged(found[key], one) if key in found else one
    first = {(one.model, one.device, one.variant): k for k, one in reversed(list(enumerate(checked)))}
    return [found[key] for key in sorted(found, key=lambda key: first[key])]


def _merged(one: Checked, other: Checked) -> Checked:
    parts = dict(one.parts)
    for what, judged in other.parts.items():
        parts[_free(what, parts)] = judged
    verdict = worst([*one.parts.values(), *other.parts.values()]).verdict
    warnings = tuple(dict.fromkeys((*one.warnings, *other.warnings)))
    failed_run = one.failed_run or other.failed_run
    return replace(one, verdict=verdict, parts=parts, failed_run=failed_run, warnings=warnings)


def exit_code(checked: list[Checked]) -> ExitCode:
    """The exit code: a failed run takes precedence over a missed budget, and that over insufficient data."""
    if any(one.failed_run for one in checked):
        return ExitCode.DEVICE_FAILED
    if any(one.verdict is Verdict.FAIL for one in checked):
        return ExitCode.BUDGET_MISSED
    if any(one.verdict is Verdict.INCONCLUSIVE for one in checked):
        return ExitCode.NOT_ENOUGH_DATA
    return ExitCode.DONE


def _judge_memory(result: Result, most: int) -> Judged:
    if result.arena_bytes is not None:  # of a microcontroller
        return judge_bytes(result.arena_bytes, most)
    if result.peak_rss_bytes is None:
        return Judged(Verdict.INCONCLUSIVE, "the device did not report the memory")
    if result.emulated:
        return Judged(Verdict.INCONCLUSIVE, "the device is emulated: its memory is not that of the hardware")
    return judge_bytes(result.peak_rss_bytes, most)


def check_one(result: Result, budgets: Budgets, explicit_drop: bool, compared: bool) -> Checked:
    """Judge one result; `compared` is whether its benchmark had a reference."""
    if result.status is Status.FAILED:
        message = result.error.message if result.error else "it failed"
        what = result.error.code if result.error else "run"
        ran = what in ("run", "device")
        return Checked(result.variant, result.device, Verdict.FAIL, {what: Judged(Verdict.FAIL, message)}, ran)
    refuse_contradictions(result)
    parts: dict[str, Judged] = {}
    if result.parity is not None:
        parts = _judge_parity(result.scheme, result.parity, budgets, explicit_drop)
    elif compared or explicit_drop:
        parts["parity"] = Judged(Verdict.INCONCLUSIVE, "nothing was compared")
    if budgets.max_latency_ms is not None:
        parts[_free("latency", parts)] = judge_latency(result, budgets.max_latency_ms)
    if budgets.max_bytes is not None and result.bytes is not None:
        parts[_free("size", parts)] = judge_bytes(result.bytes, budgets.max_bytes)
    if budgets.max_memory_bytes is not None:
        parts[_free("memory", parts)] = _judge_memory(result, budgets.max_memory_bytes)
    parts |= {_free(what, parts): judged for what, judged in judge_coverage(result, budgets).items()}
    if not parts:
        parts["budgets"] = Judged(Verdict.INCONCLUSIVE, "no budget is set for it, and nothing was compared")
    warnings = toothless(result.parity, budgets)
    return Checked(result.variant, result.device, worst(list(parts.values())).verdict, parts, False, warnings=warnings)


def _judge_parity(scheme: str | None, parity: Parity, budgets: Budgets, explicit_drop: bool) -> dict[str, Judged]:
    parts: dict[str, Judged] = {}
    for metric in parity.metrics:
        parts[_free(metric.name, parts)] = judge_metric(scheme, metric, budgets, parity.outputs)
    for output in parity.outputs:
        if not is_informative(output, parity.outputs):
            continue
        found = problems_of(output, parity.metrics)
        if found or not is_judged_by_metrics(scheme, output.name, parity.metrics):
            key = _free(f"parity of {output.name}", parts)
            judged = judge_output(scheme, parity.counted, output, budgets, parity.metrics)
            parts[key] = replace(judged, output=output.name)
    own = [metric for metric in parity.metrics if metric.output is None]
    if budgets.max_metric_drop is not None and not own:
        parts[_free("metric", parts)] = Judged(Verdict.INCONCLUSIVE, "none was measured: benchmark with --metric")
    if explicit_drop and not is_exact(scheme):  # identical computation needs no labels
        parts |= {_free(what, parts): judged for what, judged in _judge_drops(parity, budgets, bool(own)).items()}
    of = describe_distinct(parity.n, parity.distinct)
    return {what: replace(judged, reason=f"{judged.reason}; {of}") for what, judged in parts.items()} if of else parts


def _free(name: str, parts: Mapping[str, Judged]) -> str:
    """The name, with a number appended if another part has the same name."""
    return next(one for one in chain([name], (f"{name} ({k})" for k in count(2))) if one not in parts)


def _judge_drops(parity: Parity, budgets: Budgets, own_metric: bool) -> dict[str, Judged]:
    """Judge the requested accuracy drop if nothing else has judged it, as when a metric judges all outputs."""
    labelled = [output for output in parity.outputs if output.accuracy is not None]
    if own_metric:
        return {f"accuracy drop of {output.name}": judge_drop(output, budgets) for output in labelled}
    if labelled or any(metric.output is not None for metric in parity.metrics):
        return {}
    return {"accuracy drop": judge_drop(parity.outputs[0], budgets)}
