"""Variants in, `benchmark.json` and everything raw out: each is run on a Device and compared with the Reference."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from edgetf import __version__, files
from edgetf.benchmarks.ground import Ground, is_decided, judge, prepare, with_metrics, write_inputs
from edgetf.benchmarks.result import result_of
from edgetf.benchmarks.rounds import BLOCKS, PATIENCE, Course, Plan, measure
from edgetf.benchmarks.targets import find_targets
from edgetf.benchmarks.times import is_throttled
from edgetf.benchmarks.verdict import Budgets
from edgetf.device.devices import Device
from edgetf.device.doctor import disturbances
from edgetf.device.facts import Facts
from edgetf.device.runner.job import Job, Measurement, TimingPlan
from edgetf.errors import EdgetfError
from edgetf.process import OnEvent
from edgetf.results import (
    BENCHMARK_SCHEMA,
    Benchmark,
    Failure,
    Result,
    Status,
)
from edgetf.samples import SampleSource

_FOLDER = "measurements"
_BUSY_CORES = 0.2  # of others, above which times are doubtful


@dataclass(frozen=True)
class BenchmarkOptions:
    """`runtime` is "litert", "tflite-runtime" or "auto"; `threads` are those of the timed interpreter.

    Variants take `blocks` turns, or up to `patience` times as many where the medians of their blocks do not agree.
    `affinity` are CPUs to run on, `nice` is the priority; `sustained_s` are seconds of load for each variant;
    `energy_s` are those with the power read, where the device tells it. `sequential` are the budgets for which samples
    are run until a verdict is there; without them all are run. `metrics` name functions (`module:function`) that judge.
    """

    reference: Path | None = None
    samples: SampleSource | None = None
    runtime: str = "auto"
    delegate: str = "xnnpack"
    threads: int = 1
    affinity: tuple[int, ...] = ()
    nice: int = 0
    blocks: int = BLOCKS
    patience: int = PATIENCE
    timing: TimingPlan = TimingPlan()
    sustained_s: float = 0.0
    energy_s: float = 10.0
    sequential: Budgets | None = None
    metrics: tuple[str, ...] = ()
    force: bool = False


def benchmark(
    places: Sequence[Path], device: Device, out: Path, options: BenchmarkOptions, on_event: OnEvent
) -> Benchmark:
    """Run the variants at `places` (`.tflite` files or folders of them) on `device` and write the results into `out`.

    Raises EdgetfError for what cannot be measured at all. A variant whose run fails is told in its Result.
    """
    targets = find_targets(places)
    ground = prepare(targets, options.reference, options.samples, options.sequential)
    if options.metrics:
        ground = with_metrics(ground, options.metrics)
    claims = [_FOLDER, "benchmark.json"]
    with (
        files.staged(out, claims, options.force) as staging,
        tempfile.TemporaryDirectory() as work,
        device.reserve(),
    ):
        job = _job(write_inputs(ground, Path(work)), options, outputs=ground.reference is not None)
        plan = Plan(options.blocks, options.patience, job, options.energy_s, ground.pieces())
        enough = partial(is_decided, place=staging / _FOLDER, ground=ground)
        courses = measure(targets, device, plan, staging / _FOLDER, enough, on_event)
        results = [
            _judged(course, result_of(course, device, job, staging, _FOLDER), staging, ground) for course in courses
        ]
        turns = [turn.measurement for course in courses for turn in course.turns]
        document = Benchmark(
            schema=BENCHMARK_SCHEMA,
            edgetf=__version__,
            created=files.now(),
            machine=turns[0].machine if turns else {},
            inputs=ground.describe(),
            warnings=tuple(warnings_of(turns)),
            samples=None if ground.random else ground.samples.used(),
            reference=ground.reference,
            results=tuple(results),
        )
        files.write_document(staging / "benchmark.json", document)
    return document


# what to do, and what came of it --------------------------------------------------------------------------------------


def _job(inputs: dict[str, str], options: BenchmarkOptions, outputs: bool) -> Job:
    return Job(
        model="",  # each variant's own
        inputs=inputs,
        runtime=options.runtime,
        delegate=options.delegate,
        threads=options.threads,
        affinity=list(options.affinity) if options.affinity else None,
        nice=options.nice,
        timing=options.timing,
        sustained_s=options.sustained_s,
        outputs=outputs,
    )


def warnings_of(turns: Sequence[Measurement]) -> list[str]:
    """What disturbed the times, each with what mends it: as the device told before the first turn, and in any."""
    if not turns:
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
    told = [f"{finding.problem}; {finding.mend}" for finding in disturbances(facts)]
    others = [float(cores) for turn in turns if (cores := turn.state_after.get("others_cores"))]
    if others and median(others) > _BUSY_CORES:
        told.append(f"other programs kept {median(others):.1f} cores busy meanwhile; end them: top shows which")
    if first.nice_effective is not None and first.nice_effective > first.nice:
        told.append(f"the priority {first.nice} was refused; run as root there, or leave --nice out")
    return told


# parity -----------------------------------------------------------------------------------------------------------


def _judged(course: Course, result: Result, out: Path, ground: Ground) -> Result:
    """The Result with its Parity; where that cannot be had, the others still can."""
    if not course.passes or course.error is not None or ground.reference is None:
        return result
    try:
        return replace(result, parity=judge(course, out / _FOLDER, ground))
    except EdgetfError as error:
        failure = Failure("parity", error.message, error.hint)
        return replace(result, status=Status.FAILED, error=failure)
