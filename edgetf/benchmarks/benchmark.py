"""Run variants on a Device and compare them with the Reference. In: variants. Out: `benchmark.json` and raw data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

from edgetf import __version__, files
from edgetf.benchmarks.diagnosis.culprit import find_culprit, is_suspect
from edgetf.benchmarks.judging.distinct import describe_distinct
from edgetf.benchmarks.judging.ground import (
    Ground,
    is_decided,
    judge_course,
    prepare,
    refuse_changed,
    with_distinct,
    with_metrics,
)
from edgetf.benchmarks.judging.own_metric import GivenMetric
from edgetf.benchmarks.judging.pixels import between_pixels
from edgetf.benchmarks.judging.seen import seen_before
from edgetf.benchmarks.judging.toothless import by_warning, toothless
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.timing.figures import result_of
from edgetf.benchmarks.timing.fixed import copy_private, digests_of, inputs_of, with_inputs
from edgetf.benchmarks.timing.resume import FOLDER as PARTIAL
from edgetf.benchmarks.timing.resume import Resumable, key_of
from edgetf.benchmarks.timing.rounds import Bench, Course, Plan, measure
from edgetf.benchmarks.timing.targets import Target, find_targets
from edgetf.benchmarks.timing.turns import looks_of
from edgetf.defaults import BLOCKS, ENERGY_S, PATIENCE
from edgetf.device.doctor import disturbances
from edgetf.device.facts import Facts
from edgetf.device.kinds import Device
from edgetf.device.runner.answers import is_throttled
from edgetf.device.runner.delegates import AUTO, DEFAULT_DELEGATE
from edgetf.device.runner.job import Job, Measurement, TimingPlan
from edgetf.device.zipapp import build_runner
from edgetf.errors import EdgetfError
from edgetf.events import Note, OnEvent, Phase
from edgetf.owned import scratch
from edgetf.results import (
    BENCHMARK_SCHEMA,
    Benchmark,
    Failure,
    LabelsAre,
    Result,
    Status,
)
from edgetf.samples import SampleSource

_FOLDER = "measurements"
_MANY = 0.9  # of the distinct samples: if fewer remain without near copies, a warning is added
_BUSY_CORES = 0.2  # used by other programs; above it times are doubtful


@dataclass(frozen=True)
class BenchmarkOptions:
    """`runtime` and `delegate` are names of `device.runner.delegates`, or the delegate is a library on the device;
    `threads` are those of the timed interpreter.

    Variants take `blocks` turns, or up to `patience` times as many while their order, and which of them keep
    `max_latency_ms`, is not decided. Without a plan for `timing`, a turn only loads the variant. `affinity` are CPUs to
    run on, `nice` is the priority; `sustained_s` is the time of load for each variant;
    `energy_s` is the time of load with power readings, if the device reports power. `sequential` are the budgets of a
    sequential run; without them all samples are run. `metrics` are functions to judge by, or their names
    (`module:function`), all of them costs if `less_is_better`. `labels_are` is the meaning of ambiguous labels, by
    default as for the reference. Without `wait`, a device that another run holds is an error. `allow_nan` is for
    samples with NaN and no reference.
    """

    reference: Path | None = None
    samples: SampleSource | None = None
    runtime: str = AUTO
    delegate: str = DEFAULT_DELEGATE
    delegate_options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    affinity: tuple[int, ...] = ()
    nice: int = 0
    blocks: int = BLOCKS
    patience: int = PATIENCE
    max_latency_ms: float | None = None
    timing: TimingPlan | None = TimingPlan()
    sustained_s: float = 0.0
    energy_s: float = ENERGY_S
    sequential: Budgets | None = None
    metrics: tuple[GivenMetric, ...] = ()
    less_is_better: bool = False
    labels_are: LabelsAre | None = None
    wait: bool = True
    allow_nan: bool = False
    force: bool = False


def benchmark(
    places: Sequence[Path], device: Device, out: Path, options: BenchmarkOptions, on_event: OnEvent
) -> Benchmark:
    """Run the variants at `places` (`.tflite` files or folders of them) on `device` and write the results to `out`.

    An interrupted run with the same settings is resumed; `force` replaces complete results. Raises EdgetfError if
    nothing can be measured. If the run of a variant fails, its Result has the error.
    """
    targets = find_targets(places)
    ground = prepare(
        targets, options.reference, options.samples, options.sequential, options.labels_are, options.allow_nan
    )
    if options.metrics:
        ground = with_metrics(ground, options.metrics, options.less_is_better)
        for metric in ground.metrics:
            if metric.failed:
                on_event(Note(f"the metric {metric.name} fails: {metric.failed}"))
    claims = [_FOLDER, "benchmark.json"]
    with (
        files.staged(out, claims, options.force, {_FOLDER: out / PARTIAL / _FOLDER}) as staging,
        scratch() as work,
        device.reserve(on_event if options.wait else None),
    ):
        targets = copy_private(targets, work)
        facts = device.examine(options.runtime)
        job = with_inputs(_job(options, ground), ground.samples, work, ground.order, device.store is None)
        ground = with_distinct(ground, inputs_of(job))
        patience = 1 if device.emulated else options.patience  # its times do not decide
        looks = looks_of(options.blocks, options.blocks * patience)
        pieces = ground.pieces()
        plan = Plan(looks, options.max_latency_ms, job, options.energy_s, pieces, digests_of(job))
        key = key_of(_decisive(targets, device, facts, plan, ground))
        kept = Resumable(out / PARTIAL, key, on_event)
        with kept.interruptible():
            document = _measure(targets, Bench(device, plan, kept, on_event), ground)
            refuse_changed(ground, options.reference)
            files.write_document(staging / "benchmark.json", document)
    kept.discard()
    return document


def _decisive(targets: Sequence[Target], device: Device, facts: Facts, plan: Plan, ground: Ground) -> dict[str, object]:
    """All settings that affect the measurements."""
    machine = {name: value for name, value in vars(facts).items() if name in _LASTING}
    return {
        "variants": [(target.name, target.sha256, target.signature) for target in targets],
        "samples": ground.samples.digest,
        "shuffled": ground.order is not None,
        "plan": files.to_plain(replace(plan, job=replace(plan.job, inputs={}, known_inputs={}, raw_inputs={}))),
        "device": (device.name, device.emulated, machine),
        "runner": hashlib.sha256(build_runner()).hexdigest(),
    }


# facts that do not change from minute to minute
_LASTING = (
    *("architecture", "system", "kernel", "model", "cpu", "cores"),
    *("python", "numpy", "litert", "tflite_runtime", "tflite_micro", "benchmark_model"),
)


def _measure(targets: Sequence[Target], bench: Bench, ground: Ground) -> Benchmark:
    """Run the turns of all targets; returns the document of the results."""
    place, folder = bench.kept.place, bench.kept.folder
    courses = measure(targets, bench, partial(is_decided, place=place, ground=ground))
    job, looks = bench.plan.job, len(bench.plan.looks)
    timed = [result_of(course, bench.device, job, folder, place.name, looks) for course in courses]
    judged = [_judged(course, one, place, ground) for course, one in zip(courses, timed, strict=True)]
    results, uncut = _with_culprits(judged, targets, bench)
    turns = [turn.measurement for course in courses for turn in course.turns]
    samples = None if ground.random else ground.samples.used()
    seen = [] if ground.reference is None else seen_before(targets, ground.samples)
    mapped = [] if ground.random else between_pixels(targets, ground.samples)
    disturbed = (*bench.kept.stops, *warnings_of(turns), *_unknown(courses), *uncut)
    return Benchmark(
        schema=BENCHMARK_SCHEMA,
        edgetf=__version__,
        created=files.now(),
        machine=turns[0].machine if turns else {},
        inputs=ground.describe(timed=bench.plan.job.timing is not None),
        warnings=(*disturbed, *seen, *mapped, *_copies(ground), *_useless(ground, results)),
        samples=samples,
        reference=ground.reference,
        labels_are=ground.labels_are,
        results=results,
    )


def _with_culprits(
    results: Sequence[Result], targets: Sequence[Target], bench: Bench
) -> tuple[tuple[Result, ...], list[str]]:
    """The results, those that a delegate spoiled with the first operation that differs; and why some lack it."""
    found, reasons = [], []
    for result, target in zip(results, targets, strict=True):
        if is_suspect(result):
            bench.on_event(Phase(f"{target.name}, looking for the operation that differs"))
            try:
                with scratch() as work:
                    result = replace(result, culprit=find_culprit(target, bench, work))
            except EdgetfError as error:
                reasons.append(f"{target.name}: which operation of the delegate differs is unknown: {error.message}")
        found.append(result)
    return tuple(found), reasons


def _unknown(courses: Sequence[Course]) -> list[str]:
    """Warnings on facts that only inform and that could not be had, each once for all variants."""
    names = {"coverage": "what the delegate took is unknown", "ops": "the times of operations are unknown"}
    found: dict[str, list[str]] = {}
    for course in courses:
        reasons = {what: why for turn in course.turns for what, why in turn.measurement.unknown.items()}
        for what, why in reasons.items():
            found.setdefault(f"{names.get(what, what)}: {why}", []).append(course.target.name)
    return [f"{', '.join(variants)}: {warning}" for warning, variants in found.items()]


def _useless(ground: Ground, results: Sequence[Result]) -> list[str]:
    """Warnings about budgets of a sequential run that nothing can miss."""
    if (budgets := ground.budgets) is None:
        return []
    return by_warning((one.variant, toothless(one.parity, budgets)) for one in results if one.parity)


def _copies(ground: Ground) -> list[str]:
    """Warnings if samples are repeated, or many are nearly the same."""
    n = len(ground.samples)
    count = n if ground.distinct is None else ground.distinct.count
    found = []
    if count < n:
        found.append(f"{describe_distinct(n, count)}: copies count once, which widens intervals; give distinct samples")
    if ground.unlike is not None and ground.unlike < _MANY * count:
        similar = f"{count - ground.unlike:,} of {count:,} distinct samples are nearly the same as others"
        found.append(f"{similar}: they count, so that intervals may be too narrow; give distinct samples")
    return found


# what to do, and what came of it --------------------------------------------------------------------------------------


def _job(options: BenchmarkOptions, ground: Ground) -> Job:
    return Job(
        model="",  # each variant's own
        inputs={},
        unbatched_inputs=sorted(ground.samples.unbatched),
        unbatched_outputs=sorted(ground.outputs.unbatched) if ground.reference else None,
        runtime=options.runtime,
        delegate=options.delegate,
        delegate_options=dict(options.delegate_options),
        threads=options.threads,
        affinity=list(options.affinity) if options.affinity else None,
        nice=options.nice,
        timing=options.timing,
        sustained_s=options.sustained_s,
        outputs=ground.reference is not None,
    )


def warnings_of(turns: Sequence[Measurement]) -> list[str]:
    """Warnings about disturbed times, with remedies: from the device's state before the first turn, and during all."""
    if not any(turn.timings or turn.summary for turn in turns):
        return []
    first, state = turns[0], turns[0].state_before
    throttled = next(
        (t.state_after["throttled"] for t in turns if is_throttled(t.state_after.get("throttled", ""))), ""
    )
    facts = Facts(
        cores=first.machine.get("cores", ""),
        governor=state.get("governor", ""),
        swap_used_mib=state.get("swap_used_mib", ""),
        throttled=throttled,
    )
    warnings = [f"{finding.problem}; {finding.hint}" for finding in disturbances(facts)]
    others = [float(cores) for turn in turns if (cores := turn.state_after.get("others_cores"))]
    if others and median(others) > _BUSY_CORES:
        shares = [float(share) for turn in turns if (share := turn.state_after.get("waited_share"))]
        waited = median(shares) if shares else 0.0
        uncounted = f"; the {waited:.0%} of its time that they had the CPU is not counted" if waited > 0.01 else ""
        busy = f"other programs used {median(others):.1f} cores during the run{uncounted}"
        warnings.append(f"{busy}; close them (top shows which)")
    if first.nice_effective is not None and first.nice_effective > first.nice:
        inherited = f"it ran at nice {first.nice_effective}, like edgetf itself; start edgetf without nice"
        refused = f"the device refused the priority {first.nice}; run as root there, or leave --nice out"
        warnings.append(refused if first.nice else inherited)
    return warnings


# parity -----------------------------------------------------------------------------------------------------------


def _judged(course: Course, result: Result, place: Path, ground: Ground) -> Result:
    """The Result with its Parity; if that fails, the results of other variants are not affected."""
    if not course.passes or course.error is not None or ground.reference is None:
        return result
    try:
        return replace(result, parity=judge_course(course, place, ground))
    except EdgetfError as error:
        failure = Failure("parity", error.message, error.hint)
        return replace(result, status=Status.FAILED, error=failure)
