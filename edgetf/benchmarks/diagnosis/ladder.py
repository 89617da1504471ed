"""The steps that made one variant, rung by rung: Keras, SavedModel, float32, quantized, quantized on the device.

Each rung is compared with the one before it on all samples of the benchmark. Out: the first rung that broke, and the
share of the error that each rung adds. A conversion that must change nothing is judged by TensorFlow's own noise, a
quantization by what its scheme may cost, and a device by the same cost compared with this machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgetf import files
from edgetf.benchmarks.diagnosis.costly import ran_on
from edgetf.benchmarks.diagnosis.layers import Layer, blame
from edgetf.benchmarks.diagnosis.twins import EXACT, LadderOptions, Twins, find_twins, run_here
from edgetf.benchmarks.judging import verdict
from edgetf.benchmarks.judging.consistent import refuse_contradictions
from edgetf.benchmarks.judging.distinct import describe_distinct, find_distinct
from edgetf.benchmarks.judging.ground import Ground, count_rows, figures_of
from edgetf.benchmarks.judging.labels import interpret
from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.rows import Outputs, load_passes, together
from edgetf.conversion.keras_outputs import OutputsRequest, compute_outputs
from edgetf.device.measurements import read_measurement
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent, Step
from edgetf.figures import OpTime
from edgetf.owned import scratch
from edgetf.results import Benchmark, Reference, Result, Verdict, read_benchmark
from edgetf.samples import Array, save_arrays
from edgetf.samples.inputs import write_inputs

# 1: first
# 2: layers that could not be measured, with the reason
# 3: what computed each layer, and its share of the time; 2 is still read
LADDER_SCHEMA = 3
_FOLDER = "ladder"  # beside `benchmark.json`


@dataclass(frozen=True)
class Rung:
    """One step: what it changes, whether it may be trusted, and its share (0 to 1) of the error that all steps add.

    `reason` is that of the verdict, compared with the rung before; `max_abs` is the largest difference from it.
    """

    name: str
    verdict: Verdict
    reason: str
    max_abs: float
    share: float


@dataclass(frozen=True)
class Ladder:
    """The rungs of a variant in order; `broken` names the first that failed, or is null. `whole` is the verdict on all
    steps together: small losses add up. It is that of `check` and includes metrics; the verdicts of rungs do not.
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
    """`ladder/VARIANT.json` beside `benchmark.json`, for the report: a ladder, and layers if they were asked for.

    `benchmark` is when that was made: a ladder of an older benchmark does not belong to it.
    """

    schema: int
    benchmark: str
    ladder: Ladder
    layers: tuple[Layer, ...]


def climb(place: Path, options: LadderOptions, on_event: OnEvent) -> Ladder:
    """Climb the ladder of a variant of the benchmark at `place`.

    The variant, and float32 if it is among `options.variants`, run here on all samples. Raises EdgetfError for files
    that are missing or do not belong together.
    """
    return _climb(find_twins(place, options), place, options, on_event)


def explain(place: Path, options: LadderOptions, on_event: OnEvent) -> tuple[Ladder, list[Layer]]:
    """`climb` and `find_layers` of the same files, which are read once."""
    twins = find_twins(place, options)
    _refuse_no_float32(twins)
    return _climb(twins, place, options, on_event), _layers_of(twins)


def _climb(twins: Twins, place: Path, options: LadderOptions, on_event: OnEvent) -> Ladder:
    result, samples = twins.result, twins.samples
    refuse_contradictions(result)
    with scratch() as work:
        stages = _collect(work, twins.copied(work), options, on_event)
        device = _on_device(result, place if place.is_dir() else place.parent)
        if device is not None:
            stages.append(_Stage(f"{result.variant}: this machine to {result.device}", device, result.scheme))
        first = stages[0].outputs
        read = interpret(first.values, samples.labels, samples.output_labels, twins.labels_are)
        ground = Ground(samples, False, twins.reference, first, read, distinct=find_distinct(samples.inputs))
        rungs = _compare(stages, ground, options.budgets)
    broken = next((rung.name for rung in rungs if rung.verdict is Verdict.FAIL), None)
    assert result.parity is not None  # `find_twins` has checked it
    n, outputs = result.parity.counted, result.parity.outputs
    metrics, budgets = result.parity.metrics, options.budgets
    judged = [verdict.judge_metric(result.scheme, metric, budgets, outputs) for metric in metrics]
    informative = [output for output in outputs if verdict.is_informative(output, outputs)]
    judged += [verdict.judge_output(result.scheme, n, output, budgets, metrics) for output in informative]
    whole, of = verdict.worst(judged), describe_distinct(result.parity.n, result.parity.distinct)
    because = f"{whole.reason}; {of}" if of else whole.reason
    return Ladder(result.variant, result.device, len(samples), rungs, broken, whole.verdict, because)


def write_explanation(place: Path, ladder: Ladder, layers: Sequence[Layer]) -> None:
    """Write what was found beside the benchmark at `place`. Raises EdgetfError if that fails."""
    folder = (place if place.is_dir() else place.parent) / _FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise EdgetfError(
            f"cannot write to {folder}: {error.strerror}", "copy the benchmark to a folder that you may write to"
        ) from error
    found = Kept(LADDER_SCHEMA, read_benchmark(place).created, ladder, tuple(layers))
    files.write_document(folder / f"{ladder.variant}.json", found)


def read_kept(folder: Path, document: Benchmark) -> list[Kept]:
    """The ladders kept beside `document` in `folder` that are its own, in the order of its results."""
    paths = [folder / _FOLDER / f"{result.variant}.json" for result in document.results]
    found = [files.read_document(path, Kept, LADDER_SCHEMA, _upgrade) for path in paths if path.is_file()]
    return [one for one in found if one.benchmark == document.created]


def _upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """A document of schema 2, without the times of layers, as one of this schema; any other as it is."""
    return plain | {"schema": LADDER_SCHEMA} if plain.get("schema") == 2 else plain


def find_layers(place: Path, options: LadderOptions) -> list[Layer]:
    """What the layers of the variant cost, compared with float32 (see `blame`), and in time on the device.

    Raises EdgetfError as `climb` does.
    """
    return _layers_of(find_twins(place, options))


def _refuse_no_float32(twins: Twins) -> None:
    if twins.float32 is None or twins.float32.sha256 == twins.target.sha256:
        hint = "give --variants a folder with float32.tflite of the same conversion"
        raise EdgetfError(f"there is no float32 variant to compare the layers of {twins.result.variant} with", hint)


def _layers_of(twins: Twins) -> list[Layer]:
    _refuse_no_float32(twins)
    with scratch() as work:
        twins = twins.copied(work)
        target, float32 = twins.target, twins.float32
        assert target.private is not None
        assert float32 is not None
        assert float32.private is not None
        found = blame(float32.private, target.private, twins.samples.inputs, target.layers, target.signature)
    return _timed(found, twins.result)


def _timed(layers: Sequence[Layer], result: Result) -> list[Layer]:
    """The layers with what computed each on the device, and its share of the time there, if it was timed."""
    known: dict[str, OpTime] = {}
    for op in result.ops:  # the first of a name
        known.setdefault(op.name, op)
        known.setdefault(re.sub(r"^\[(.*)\]:\d+$", r"\1", op.name), op)
    return [
        replace(layer, ran_on=ran_on(known[layer.tensor], result), time_share=known[layer.tensor].share)
        if layer.tensor in known
        else layer
        for layer in layers
    ]


@dataclass(frozen=True)
class _Stage:
    """The outputs of one stage. `step` names the step that leads to it; its errors are judged as those of `scheme`."""

    step: str
    outputs: Outputs
    scheme: str | None


def _collect(work: Path, twins: Twins, options: LadderOptions, on_event: OnEvent) -> list[_Stage]:
    """The stages on this machine, in order."""
    result, target, float32 = twins.result, twins.target, twins.float32
    reference, samples = twins.reference, twins.samples
    inputs = write_inputs(samples.inputs, work)
    stages: list[_Stage] = []
    if options.keras is not None:
        on_event(Step(options.keras.name, of=3))
        save_arrays(work / "inputs.npz", samples.inputs)
        paths = str(options.keras.resolve()), str(work / "inputs.npz"), str(work / "keras.npz")
        request = OutputsRequest(*paths, trust=options.trust)
        stages.append(_Stage("Keras", _renamed(compute_outputs(request, on_event), reference), EXACT))
    pinned = load_outputs(reference, options.reference)
    stages.append(_Stage("Keras to SavedModel" if stages else "SavedModel", pinned, EXACT))
    axes = samples.unbatched, pinned.unbatched
    if float32 is not None:
        outputs = run_here(float32, inputs, axes, work / "float32", on_event, options.wait)
        stages.append(_Stage("SavedModel to float32", outputs, EXACT))
    if float32 is None or target.sha256 != float32.sha256:
        before = EXACT if float32 is not None else "SavedModel"
        after = run_here(target, inputs, axes, work / "variant", on_event, options.wait)
        stages.append(_Stage(f"{before} to {result.variant}", after, result.scheme))
    return stages


def _compare(stages: Sequence[_Stage], ground: Ground, budgets: verdict.Budgets) -> tuple[Rung, ...]:
    judged, powers = [], []
    for previous, stage in pairwise(stages):
        one, other = previous.outputs, stage.outputs
        if set(one.values) != set(other.values):
            names = f"{sorted(one.values)} became {sorted(other.values)}"
            raise EdgetfError(f"{stage.step}: outputs {names}", "compare one signature")
        before, after = together(one, other)
        figures, (counted, n) = list(figures_of(before, after, ground)), count_rows(after, ground)
        found = verdict.judge_parity(stage.scheme, counted, figures, budgets)
        if counted < n:
            found = replace(found, reason=f"{found.reason}; {describe_distinct(n, counted)}")
        if all(figure.max_abs == 0 and not figure.problems for figure in figures):  # equal bit for bit
            found = replace(found, verdict=Verdict.PASS, reason="no difference at all")
        judged.append((stage.step, found, max(figure.max_abs for figure in figures)))
        powers.append(sum(_power(before[k], after[k]) for k in before))
    total = sum(powers) or 1.0
    return tuple(
        Rung(name, found.verdict, found.reason, largest, power / total)
        for (name, found, largest), power in zip(judged, powers, strict=True)
    )


def _power(before: Any, after: Any) -> float:
    """The mean square of the difference, over the variance of `before`, so that outputs of any size count."""
    one = np.asarray(before, np.float64)
    spread = float(np.var(one[np.isfinite(one)])) or 1.0
    power = float(np.mean((np.asarray(after, np.float64) - one) ** 2)) / spread
    return power if np.isfinite(power) else 0.0  # NaN fails its step anyway


def _on_device(result: Result, folder: Path) -> Outputs | None:
    """The outputs of the variant on the device; None if that is this machine."""
    if result.device == "local":
        return None
    place = folder / str(result.measurement) / "samples"
    measurement = read_measurement(result.device, place)
    if measurement.samples is None:
        raise EdgetfError(f"{result.variant} has no outputs from {result.device}", "benchmark it with --reference")
    return load_passes([(measurement.samples, place)])


def _renamed(outputs: Mapping[str, Array], reference: Reference) -> Outputs:
    """Keras's outputs by the names of the signature: their own if they are a dict, else in their order."""
    names = [spec.name for spec in reference.source.outputs]
    if set(outputs) == set(names):
        return Outputs(outputs)
    if len(outputs) == len(names) == 1:
        return Outputs({names[0]: next(iter(outputs.values()))})
    raise EdgetfError(f"Keras has outputs {sorted(outputs)}, the SavedModel has {sorted(names)}", "leave --keras out")
