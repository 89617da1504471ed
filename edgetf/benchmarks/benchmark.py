"""Variants in, `benchmark.json` and everything raw out: each is run on a Device and compared with the Reference.

Random inputs are used only where there are no samples, for latency alone, and the document says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from edgetf import __version__, files
from edgetf.benchmarks import parity, verdict
from edgetf.benchmarks.reference import load_outputs
from edgetf.benchmarks.result import result_of
from edgetf.benchmarks.rounds import BLOCKS, PATIENCE, Course, Plan, measure
from edgetf.benchmarks.targets import Target, find_targets
from edgetf.benchmarks.times import is_throttled
from edgetf.device.devices import Device
from edgetf.device.doctor import disturbances
from edgetf.device.facts import Facts
from edgetf.device.runner.job import Job, Measurement, TimingPlan
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import read_contents
from edgetf.process import OnEvent
from edgetf.results import (
    BENCHMARK_SCHEMA,
    Benchmark,
    Failure,
    Parity,
    Reference,
    Result,
    Status,
    TensorSpec,
    read_reference,
)
from edgetf.samples import Array, Samples, load_samples, make_samples

_FOLDER = "measurements"
_RANDOM_ROWS = 8
_BUSY_CORES = 0.2  # of others, above which times are doubtful


@dataclass(frozen=True)
class BenchmarkOptions:
    """`runtime` is "litert", "tflite-runtime" or "auto"; `threads` are those of the timed interpreter.

    Variants take `blocks` turns, or up to `patience` times as many where the medians of their blocks do not agree.
    `affinity` are CPUs to run on, `nice` is the priority; `sustained_s` are seconds of load for each variant;
    `energy_s` are those with the power read, where the device tells it.
    """

    reference: Path | None = None
    samples: Path | None = None
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
    force: bool = False


@dataclass(frozen=True)
class _Ground:
    """What all variants are measured on and compared with."""

    samples: Samples
    random: bool
    reference: Reference | None
    outputs: dict[str, Array]


def benchmark(
    places: Sequence[Path], device: Device, out: Path, options: BenchmarkOptions, on_event: OnEvent
) -> Benchmark:
    """Run the variants at `places` (`.tflite` files or folders of them) on `device` and write the results into `out`.

    Raises EdgetfError for what cannot be measured at all. A variant whose run fails is told in its Result.
    """
    targets = find_targets(places)
    ground = _prepare(targets, options)
    claims = [_FOLDER, "benchmark.json"]
    with (
        files.staged(out, claims, options.force) as staging,
        tempfile.TemporaryDirectory() as work,
        device.reserve(),
    ):
        inputs = {}
        for k, (name, values) in enumerate(ground.samples.inputs.items()):
            inputs[name] = str(Path(work, f"input-{k}.npy"))
            np.save(inputs[name], values)
        job = _job(inputs, options, outputs=ground.reference is not None)
        plan = Plan(options.blocks, options.patience, job, options.energy_s)
        courses = measure(targets, device, plan, staging / _FOLDER, on_event)
        results = [
            _judged(course, result_of(course, device, job, staging, _FOLDER), staging, ground) for course in courses
        ]
        turns = [turn.measurement for course in courses for turn in course.turns]
        document = Benchmark(
            schema=BENCHMARK_SCHEMA,
            edgetf=__version__,
            created=files.now(),
            machine=turns[0].machine if turns else {},
            inputs=_describe_inputs(ground),
            warnings=tuple(warnings_of(turns)),
            samples=None if ground.random else ground.samples.used(),
            reference=ground.reference,
            results=tuple(results),
        )
        files.write_document(staging / "benchmark.json", document)
    return document


# what to measure on -----------------------------------------------------------------------------------------------


def _prepare(targets: Sequence[Target], options: BenchmarkOptions) -> _Ground:
    """Read the Reference and the Samples, and refuse those that do not belong together."""
    if options.reference is None:
        specs = _input_specs(next(target for target in targets if not target.failed))
        if options.samples is None:
            return _Ground(_random_samples(specs), True, None, {})
        return _Ground(load_samples(options.samples, specs), False, None, {})
    reference = read_reference(options.reference)
    source = options.samples or Path(reference.samples.source)
    if not source.is_file():
        raise EdgetfError(f"the reference was made on {source}, which is not here", "give the samples with --samples")
    samples = load_samples(source, reference.source.inputs)
    if samples.digest != reference.samples.digest:
        hint = "make a reference for these samples, or give the ones that it was made on"
        raise EdgetfError(f"the reference was made on other samples than {source}", hint)
    for target in targets:
        if target.source_digest not in (None, reference.source.digest):
            hint = "make a reference of the SavedModel that the variant was made from"
            raise EdgetfError(f"{target.path} was made from another model than the reference", hint)
    return _Ground(samples, False, reference, load_outputs(reference, options.reference))


def _input_specs(target: Target) -> tuple[TensorSpec, ...]:
    """What the variant's inputs take, integers of a quantized input standing for float32."""
    contents = read_contents(target.path)
    return tuple(TensorSpec(t.name, t.shape, "float32" if t.quantization else t.dtype) for t in contents.inputs)


def _random_samples(specs: Sequence[TensorSpec]) -> Samples:
    """Seeded numbers: normal for floats, zeros for integers, which may be indices. For latency only."""
    random = np.random.default_rng(0)
    inputs: dict[str, Array] = {}
    for spec in specs:
        if spec.dtype == "string":
            raise EdgetfError(f"input {spec.name!r} takes texts", "give samples to measure on with --samples")
        if None in spec.shape[1:]:
            raise EdgetfError(f"input {spec.name!r} takes {spec.describe()}", "give samples of the shape to measure")
        shape = [_RANDOM_ROWS * (spec.shape[0] or 1), *(axis or 1 for axis in spec.shape[1:])]
        floats = np.issubdtype(np.dtype(spec.dtype), np.floating)
        inputs[spec.name] = random.standard_normal(shape).astype(spec.dtype) if floats else np.zeros(shape, spec.dtype)
    return make_samples("random numbers", inputs, None)


def _describe_inputs(ground: _Ground) -> str:
    if ground.random:
        return "random numbers, seeded: for latency only, nothing was compared"
    used = ground.samples.used()
    return f"{used.n} samples of {Path(used.source).name}"


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


def _judged(course: Course, result: Result, out: Path, ground: _Ground) -> Result:
    """The Result with its Parity; where that cannot be had, the others still can."""
    if course.last is None or course.error is not None:
        return result
    try:
        place = out / _FOLDER / course.last.folder
        return replace(result, parity=_parity(course.target, course.last.measurement, place, ground))
    except EdgetfError as error:
        failure = Failure("parity", error.message, error.hint)
        return replace(result, status=Status.FAILED, error=failure)


def _parity(target: Target, measurement: Measurement, folder: Path, ground: _Ground) -> Parity | None:
    if ground.reference is None or measurement.samples is None:
        return None
    try:
        ours = {o.name: np.load(folder / o.file, mmap_mode="r") for o in measurement.samples.outputs}
    except (OSError, ValueError) as error:
        raise EdgetfError(f"an output of {target.path} is missing or damaged: {error}", "benchmark again") from error
    if set(ours) != set(ground.outputs):
        raise EdgetfError(
            f"{target.path} has outputs {sorted(ours)}, the reference has {sorted(ground.outputs)}",
            "convert and reference the same signature",
        )
    truth, doubts = parity.fit_labels(ground.outputs, ground.samples.labels)
    floor = ground.reference.floor
    figures = [parity.compare(n, ground.outputs[n], ours[n], truth.get(n), doubts, floor(n)) for n in sorted(ours)]
    return verdict.judge_parity(target.scheme, len(ground.samples), figures, verdict.Budgets())
