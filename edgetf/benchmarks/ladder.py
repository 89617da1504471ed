"""The road of one variant, rung by rung: Keras, SavedModel, float32, quantized, quantized on the device.

Each rung is compared with the one before it on all samples of the benchmark. What comes out: the first rung that broke,
and what share of the error each rung adds. A conversion that is to change nothing is judged by TensorFlow's own noise,
a quantization by what its scheme may cost, and a device by the same cost against this machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgetf import files
from edgetf.benchmarks import parity, verdict
from edgetf.benchmarks.blame import Layer, blame
from edgetf.benchmarks.reference import load_outputs
from edgetf.benchmarks.targets import Target, find_targets
from edgetf.convert.keras_outputs import Request, compute_outputs
from edgetf.device.devices import LocalDevice
from edgetf.device.measurements import read_measurement
from edgetf.device.runner.job import Job, Measurement
from edgetf.errors import EdgetfError, nearest
from edgetf.process import OnEvent
from edgetf.results import Benchmark, Reference, Result, Verdict, read_benchmark, read_reference
from edgetf.samples import Array, Samples, SampleSource, load_samples

# 1: first
LADDER_SCHEMA = 1
_FOLDER = "ladder"  # beside `benchmark.json`
_EXACT = "float32"
Outputs = Mapping[str, Any]


@dataclass(frozen=True)
class LadderOptions:
    """`variants` are files or folders where the variants of the benchmark are, `reference` is what it was compared
    with; `keras` is the Keras file that the SavedModel was exported from, where that rung is wanted."""

    variant: str
    variants: Sequence[Path]
    reference: Path
    samples: SampleSource | None = None
    keras: Path | None = None
    budgets: verdict.Budgets = verdict.Budgets()


@dataclass(frozen=True)
class Rung:
    """One step: what it changes, whether it may be trusted, and its share (0 to 1) of the error that all steps add.

    `reason` is that of the verdict, against the rung before; `max_abs` is the largest difference from it.
    """

    name: str
    verdict: Verdict
    reason: str
    max_abs: float
    share: float


@dataclass(frozen=True)
class Ladder:
    """The rungs of a variant in order; `broken` names the first that failed, or is null. `whole` is the verdict on all
    steps together: small losses add up. It is that of `check`, metrics included, which the rungs are judged without.
    """

    variant: str
    device: str
    n: int
    rungs: tuple[Rung, ...]
    broken: str | None
    whole: Verdict
    because: str


@dataclass(frozen=True)
class Kept:
    """`ladder/VARIANT.json` beside `benchmark.json`, for the report: a ladder, and layers where they were asked for.

    `benchmark` is when that was made: a ladder of an older one is none of this one.
    """

    schema: int
    benchmark: str
    ladder: Ladder
    layers: tuple[Layer, ...]


def climb(place: Path, options: LadderOptions, on_event: OnEvent) -> Ladder:
    """Climb the ladder of a variant of the benchmark at `place`.

    The variant, and float32 where it is among `options.variants`, run here on all samples. Raises EdgetfError for what
    is missing or does not belong together.
    """
    twins = find_twins(place, options)
    result, reference, samples = twins.result, twins.reference, twins.samples
    with tempfile.TemporaryDirectory() as work:
        said = _collect(Path(work), twins, options, on_event)
        device = _on_device(result, place if place.is_dir() else place.parent)
        if device is not None:
            said.append((f"{result.variant}: this machine to {result.device}", device))
        rungs = _compare(said, result, reference, samples, options.budgets)
    broken = next((rung.name for rung in rungs if rung.verdict is Verdict.FAIL), None)
    assert result.parity is not None  # `find_twins` saw to that
    n, outputs = result.parity.n, result.parity.outputs
    metrics, budgets = result.parity.metrics, options.budgets
    judged = [verdict.judge_metric(result.scheme, metric, budgets) for metric in metrics]
    judged += [verdict.judge_output(result.scheme, n, output, budgets, metrics) for output in outputs]
    whole = verdict.worst(judged)
    return Ladder(result.variant, result.device, len(samples), rungs, broken, whole.verdict, whole.reason)


def keep(place: Path, ladder: Ladder, layers: Sequence[Layer]) -> None:
    """Leave what was found beside the benchmark at `place`. Raises EdgetfError where that cannot be written."""
    folder = (place if place.is_dir() else place.parent) / _FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise EdgetfError(
            f"cannot write to {folder}: {error.strerror}", "copy the benchmark to where you may"
        ) from error
    found = Kept(LADDER_SCHEMA, read_benchmark(place).created, ladder, tuple(layers))
    files.write_document(folder / f"{ladder.variant}.json", found)


def read_kept(folder: Path, document: Benchmark) -> list[Kept]:
    """The ladders kept beside `document` in `folder` that are its own, in the order of its results."""
    paths = [folder / _FOLDER / f"{result.variant}.json" for result in document.results]
    found = [files.read_document(path, Kept, LADDER_SCHEMA) for path in paths if path.is_file()]
    return [one for one in found if one.benchmark == document.created]


@dataclass(frozen=True)
class Twins:
    """A result, its file, that of float32 where it is there, and what both were compared with."""

    result: Result
    target: Target
    float32: Target | None
    reference: Reference
    samples: Samples

    @property
    def batch(self) -> int:
        return self.reference.batch_alone


def find_layers(place: Path, options: LadderOptions) -> list[Layer]:
    """What the layers of the variant cost, beside float32; see `blame`. Raises EdgetfError as `climb` does."""
    twins = find_twins(place, options)
    if twins.float32 is None or twins.float32.sha256 == twins.target.sha256:
        hint = "give --variants a folder with float32.tflite of the same conversion"
        raise EdgetfError(f"there is no float32 variant to compare the layers of {options.variant} with", hint)
    return blame(twins.float32.path, twins.target.path, twins.samples.inputs)


def find_twins(place: Path, options: LadderOptions) -> Twins:
    """What `options` name. Raises EdgetfError for what is missing or does not belong together."""
    document = read_benchmark(place)
    result = _result(document, options.variant)
    reference = read_reference(options.reference)
    if document.reference is None or document.reference.source.digest != reference.source.digest:
        raise EdgetfError(f"{place} was not compared with {options.reference}", "give its reference with --reference")
    samples = load_samples(options.samples or reference.samples.source, reference.source.inputs)
    if samples.digest != reference.samples.digest:
        raise EdgetfError("the samples are not those of the reference", "give them with --samples")
    targets = find_targets(options.variants)
    same = [target for target in targets if target.sha256 == result.sha256]
    target = next((one for one in same if one.name == result.variant), same[0] if same else None)
    known = (None, reference.source.digest)  # a float32 of another model is no twin
    if target is None:
        raise EdgetfError(f"the file of {result.variant} is not there", "give its folder with --variants")
    float32 = next((t for t in targets if _EXACT in (t.scheme, t.name) and t.source_digest in known), None)
    return Twins(result, target, float32, reference, samples)


def _collect(work: Path, twins: Twins, options: LadderOptions, on_event: OnEvent) -> list[tuple[str, Outputs]]:
    """What each rung on this machine says, named by the step that leads to it."""
    result, target, float32 = twins.result, twins.target, twins.float32
    reference, samples = twins.reference, twins.samples
    inputs = {}
    for k, (name, values) in enumerate(samples.inputs.items()):
        inputs[name] = str(work / f"input-{k}.npy")
        np.save(inputs[name], values)
    said: list[tuple[str, Outputs]] = []
    if options.keras is not None:
        on_event({"event": "variant", "variant": options.keras.name, "of": 3})
        np.savez(work / "inputs.npz", **samples.inputs)
        request = Request(str(options.keras.resolve()), str(work / "inputs.npz"), str(work / "keras.npz"))
        said.append(("Keras", _renamed(compute_outputs(request, on_event), reference)))
    said.append(("Keras to SavedModel" if said else "SavedModel", load_outputs(reference, options.reference)))
    if float32 is not None:
        said.append(("SavedModel to float32", run_here(float32, inputs, work / "float32", on_event)))
    if float32 is None or target.sha256 != float32.sha256:
        before = _EXACT if float32 is not None else "SavedModel"
        said.append((f"{before} to {result.variant}", run_here(target, inputs, work / "variant", on_event)))
    return said


def _compare(
    said: Sequence[tuple[str, Outputs]],
    result: Result,
    reference: Reference,
    samples: Samples,
    budgets: verdict.Budgets,
) -> tuple[Rung, ...]:
    truth, doubts = parity.fit_labels(said[0][1], samples.labels)
    judged, powers = [], []
    for (_, before), (name, after) in pairwise(said):
        scheme = _EXACT if name in ("Keras to SavedModel", "SavedModel to float32") else result.scheme
        if set(before) != set(after):
            raise EdgetfError(f"{name}: outputs {sorted(before)} became {sorted(after)}", "compare one signature")
        figures = [
            parity.with_floor(parity.compare(k, before[k], after[k], truth.get(k), doubts), reference)
            for k in sorted(before)
        ]
        found = verdict.judge_parity(scheme, len(samples), figures, budgets)
        if all(figure.max_abs == 0 and not figure.problems for figure in figures):  # bit for bit: nothing to doubt
            found = replace(found, verdict=Verdict.PASS, reason="no difference at all")
        judged.append((name, found, max(figure.max_abs for figure in figures)))
        powers.append(sum(_power(before[k], after[k]) for k in before))
    total = sum(powers) or 1.0
    return tuple(
        Rung(name, found.verdict, found.reason, largest, power / total)
        for (name, found, largest), power in zip(judged, powers, strict=True)
    )


def _power(before: Any, after: Any) -> float:
    """The mean square of the difference, over the variance of what was before, so that outputs of any size count."""
    one = np.asarray(before, np.float64)
    spread = float(np.var(one[np.isfinite(one)])) or 1.0
    power = float(np.mean((np.asarray(after, np.float64) - one) ** 2)) / spread
    return power if np.isfinite(power) else 0.0  # NaN fails its step anyway


def run_here(target: Target, inputs: dict[str, str], out: Path, on_event: OnEvent) -> dict[str, Array]:
    """What a variant says on this machine, by output name. Raises EdgetfError where it does not run."""
    on_event({"event": "variant", "variant": f"{target.name}, here", "of": 3})
    job = Job(str(target.path.resolve()), inputs, target.signature, timing=None)
    device = LocalDevice()
    with device.reserve():
        measurement = device.run(job, out, on_event)
    if measurement.error is not None:
        raise EdgetfError(f"{target.name} does not run here: {measurement.error}", "is it made for another runtime?")
    return _load(measurement, out)


def _on_device(result: Result, folder: Path) -> dict[str, Array] | None:
    """What the variant said on the device; None where that is this machine."""
    if result.device == "local":
        return None
    place = folder / str(result.measurement) / "samples"
    measurement = read_measurement(result.device, place)
    if measurement.samples is None:
        raise EdgetfError(f"{result.variant} has no outputs of {result.device}", "benchmark it with --reference")
    return _load(measurement, place)


def _load(measurement: Measurement, folder: Path) -> dict[str, Array]:
    assert measurement.samples is not None
    return {o.name: np.load(folder / o.file) for o in measurement.samples.outputs}


def _renamed(outputs: Outputs, reference: Reference) -> Outputs:
    """Keras's outputs by the names of the signature: their own where they are a dict, else in their order."""
    names = [spec.name for spec in reference.source.outputs]
    if set(outputs) == set(names):
        return outputs
    if len(outputs) == len(names) == 1:
        return {names[0]: next(iter(outputs.values()))}
    raise EdgetfError(f"Keras has outputs {sorted(outputs)}, the SavedModel has {sorted(names)}", "leave --keras out")


def _result(document: Benchmark, variant: str) -> Result:
    known = {result.variant: result for result in document.results}
    if variant not in known:
        raise EdgetfError(f"there is no result of a variant {variant!r}", nearest(variant, known))
    found = known[variant].parity
    if found is not None and found.of is not None:  # in another order, and perhaps not all
        raise EdgetfError(f"{variant} ran on {found.n} of {found.of} samples", "benchmark it without --sequential")
    if found is None:
        raise EdgetfError(f"{variant} was not compared with a reference", "benchmark it with --reference")
    return known[variant]
