"""Variants in, `benchmark.json` and everything raw out: each is run on a Device and compared with the Reference.

Random inputs are used only where there are no samples, for latency alone, and the document says so.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf import __version__, files
from edgetf.benchmarks import parity, verdict
from edgetf.benchmarks.reference import load_outputs
from edgetf.benchmarks.statistics import judge_stability, summarize
from edgetf.benchmarks.targets import Target, find_targets
from edgetf.flatbuffer import read_contents
from edgetf.device.devices import Device
from edgetf.device.runner.job import Job, Measurement, TimingPlan
from edgetf.errors import DeviceError, EdgetfError
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


@dataclass(frozen=True)
class BenchmarkOptions:
    """`runtime` is "litert", "tflite-runtime" or "auto"; `threads` are those of the timed interpreter."""

    reference: Path | None = None
    samples: Path | None = None
    runtime: str = "auto"
    threads: int = 1
    timing: TimingPlan = TimingPlan()
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
        results, machine = [], {}
        for target in targets:
            if target.failed is not None:
                error = replace(target.failed, code="conversion")
                results.append(_failed(target, device, options, error))
                continue
            on_event({"event": "variant", "variant": target.name, "of": len(targets)})
            folder = f"{_FOLDER}/{target.name}"
            job = _job(target, inputs, options, outputs=ground.reference is not None)
            try:
                measurement = device.run(job, staging / folder, on_event)
            except DeviceError as error:
                results.append(_failed(target, device, options, Failure("device", error.message, error.hint)))
                continue
            machine = measurement.machine
            result = _result(target, device, measurement, staging, folder)
            try:
                result = replace(result, parity=_parity(target, measurement, staging / folder, ground))
            except EdgetfError as error:  # it cannot be compared; the others can
                failure = Failure("parity", error.message, error.hint)
                result = replace(result, status=Status.FAILED, error=failure)
            results.append(result)
        document = Benchmark(
            schema=BENCHMARK_SCHEMA,
            edgetf=__version__,
            created=files.now(),
            machine=machine,
            inputs=_describe_inputs(ground),
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


def load_timings(measurement: Measurement, folder: Path) -> dict[str, NDArray[np.int64]] | None:
    """The nanoseconds that `measurement` in `folder` names, or None where it was not timed."""
    if measurement.timings is None:
        return None
    try:
        with np.load(folder / measurement.timings, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise EdgetfError(f"{folder / measurement.timings} is missing or damaged", "benchmark again") from error


def _job(target: Target, inputs: dict[str, str], options: BenchmarkOptions, outputs: bool) -> Job:
    return Job(
        model=str(target.path.resolve()),
        inputs=inputs,
        signature=target.signature,
        runtime=options.runtime,
        threads=options.threads,
        outputs=outputs,
        timing=options.timing,
    )


# results ----------------------------------------------------------------------------------------------------------


def _result(target: Target, device: Device, measurement: Measurement, out: Path, folder: str) -> Result:
    """A Measurement, summed up. `folder` is where it lies, relative to `out`."""
    timings, passed = load_timings(measurement, out / folder), measurement.samples
    stable, why = judge_stability(timings["invoke_ns"]) if timings else (None, "it was not timed")
    error = None
    if measurement.error is not None:
        error = Failure("run", f"{measurement.error_phase}: {measurement.error}", "see the measurement for what came back")
    return Result(
        variant=target.name,
        scheme=target.scheme,
        device=device.name,
        status=Status.FAILED if error else Status.OK,
        runtime=f"{measurement.runtime} {measurement.runtime_version}".strip(),
        bytes=target.bytes,
        sha256=target.sha256,
        threads=measurement.threads,
        threads_effective=measurement.threads_effective,
        latency_ms=summarize(timings["invoke_ns"]) if timings else None,
        end_to_end_ms=summarize(timings["end_to_end_ns"]) if timings else None,
        load_ms=_ms(measurement.load_ns),
        first_ms=_ms(measurement.first_ns),
        peak_rss_bytes=measurement.peak_rss_bytes,
        samples_per_second=passed.n / passed.seconds if passed else None,
        stable=stable,
        stable_reason=why,
        measurement=folder,
        emulated=device.emulated,
        error=error,
    )


def _failed(target: Target, device: Device, options: BenchmarkOptions, error: Failure) -> Result:
    """A variant of which no measurement came back."""
    return Result(
        variant=target.name,
        scheme=target.scheme,
        device=device.name,
        status=Status.FAILED,
        runtime=options.runtime,
        bytes=target.bytes,
        sha256=target.sha256,
        threads=options.threads,
        error=error,
    )


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
    figures = [parity.compare(n, ground.outputs[n], ours[n], truth.get(n), doubts) for n in sorted(ours)]
    return verdict.judge_parity(target.scheme, len(ground.samples), figures, verdict.Budgets())


def _ms(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6
