"""What all variants of a benchmark are measured on and compared with: Samples and a Reference, and the comparison.

Random inputs are used only where there are no samples, for latency alone. Samples that are run sequentially come in a
random order (seeded), in pieces after each of which the evidence is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks import metrics, parity, sequential, verdict
from edgetf.benchmarks.reference import load_outputs
from edgetf.benchmarks.rounds import Course
from edgetf.benchmarks.targets import Target
from edgetf.benchmarks.verdict import Budgets
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import read_contents
from edgetf.results import MetricFigures, OutputFigures, Parity, Reference, TensorSpec, Verdict, read_reference
from edgetf.samples import Array, Samples, SampleSource, is_missing, load_samples, make_samples, release, short_name

_RANDOM_ROWS = 8
_ORDER_SEED = 0
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Ground:
    """`outputs` are the Reference's. With `budgets`, samples are run until there is a verdict on them.

    Labels and outputs come in the order in which samples are run, inputs as they are in their file; `order` has the
    rows of those, where it is another. `metrics` name functions of the user's.
    """

    samples: Samples
    random: bool
    reference: Reference | None
    outputs: dict[str, Array]
    budgets: Budgets | None = None
    metrics: tuple[str, ...] = ()
    order: NDArray[np.int64] | None = None

    def describe(self) -> str:
        if self.random:
            return "random numbers, seeded: for latency only, nothing was compared"
        used = self.samples.used()
        return f"{used.n} samples of {short_name(used.source)}{', until decided' if self.budgets else ''}"

    def pieces(self) -> tuple[tuple[int, int], ...]:
        """First and last of the samples in each pass: one pass with all, or one for each look at the evidence."""
        n = len(self.samples)
        if self.budgets is None or self.reference is None:
            return ((0, n),)
        ends = sorted(set(sequential.looks(n, self.reference.batch_alone)))
        return tuple(pairwise([0, *ends]))


def prepare(
    targets: Sequence[Target], place: Path | None, given: SampleSource | None, sequential: Budgets | None
) -> Ground:
    """Read the Reference at `place` and the Samples, and refuse those that do not belong together."""
    if place is None:
        specs = _input_specs(next(target for target in targets if not target.failed))
        if given is None:
            return Ground(_random_samples(specs), True, None, {})
        return Ground(load_samples(given, specs), False, None, {})
    reference = read_reference(place)
    source = given or reference.samples.source
    if is_missing(source):
        raise EdgetfError(f"the reference was made on {source}, which is not here", "give the samples with --samples")
    samples = load_samples(source, reference.source.inputs)
    if samples.digest != reference.samples.digest:
        hint = "make a reference for these samples, or give the ones that it was made on"
        raise EdgetfError(f"the reference was made on other samples than {source}", hint)
    for target in targets:
        if target.source_digest not in (None, reference.source.digest):
            hint = (
                "make a reference of the SavedModel that conversion.json beside the variant names (two exports differ)"
            )
            theirs = f"the reference, which is of {reference.source.path}"
            raise EdgetfError(f"{target.path} was made from another model than {theirs}", hint)
    outputs = load_outputs(reference, place)
    if sequential is None:
        return Ground(samples, False, reference, outputs)
    return _shuffled(Ground(samples, False, reference, outputs, sequential))


def with_metrics(ground: Ground, names: tuple[str, ...]) -> Ground:
    """The same, judged by these functions. Raises EdgetfError, before anything runs, for what cannot be judged so."""
    if ground.reference is None or ground.samples.labels is None:
        lacks = "a reference: give --reference" if ground.reference is None else "labels in the samples"
        raise EdgetfError(f"the metric {names[0]} needs {lacks}", "a metric compares both sides with the labels")
    for name in names:
        metrics.load_metric(name)
    return replace(ground, metrics=names)


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


def _shuffled(ground: Ground) -> Ground:
    """The same in random order: what comes first must be like what comes last."""
    n = len(ground.samples)
    batch = ground.reference.batch_alone if ground.reference else 1
    if any(len(values) != n for values in ground.outputs.values()) or n % batch:
        raise EdgetfError("an output has no axis for samples: it cannot be judged bit by bit", "leave out --sequential")
    order, labels = random_order(n), ground.samples.labels
    samples = ground.samples if labels is None else replace(ground.samples, labels=labels[order])
    outputs = {name: np.asarray(values)[order] for name, values in ground.outputs.items()}
    return replace(ground, samples=samples, outputs=outputs, order=order)


def write_inputs(ground: Ground, folder: Path) -> dict[str, str]:
    """The inputs as `.npy` files by name, in the order in which they are run; memory does not grow with them."""
    written = {}
    for k, (name, values) in enumerate(ground.samples.inputs.items()):
        written[name] = str(folder / f"input-{k}.npy")
        with Path(written[name]).open("wb") as file:
            header = {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape}
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
            rows = max(1, _BLOCK_BYTES // max(1, values[0].nbytes))
            for begin in range(0, len(values), rows):
                block = slice(begin, begin + rows)
                chosen = values[block] if ground.order is None else values[ground.order[block]]
                file.write(np.ascontiguousarray(chosen).data)
                release(values)
    return written


def random_order(n: int) -> NDArray[np.int64]:
    """The rows of `n` samples in the order in which samples are run until decided."""
    return np.random.default_rng(_ORDER_SEED).permutation(n)


# the comparison ---------------------------------------------------------------------------------------------------


def judge(course: Course, place: Path, ground: Ground) -> Parity:
    """A variant's outputs beside the Reference's. Raises EdgetfError where they cannot be compared."""
    ours = _load(course, place, ground)
    n = len(next(iter(ours.values())))
    figures, scores = list(_figures(ours, ground)), _metrics(ours, ground)
    if ground.budgets is None:
        return verdict.judge_parity(course.target.scheme, n, figures, Budgets(), scores)
    found = verdict.judge_parity(course.target.scheme, n, figures, ground.budgets, scores)
    return replace(found, of=len(ground.samples))


def is_decided(course: Course, place: Path, ground: Ground) -> bool:
    """Whether the evidence so far decides about every output. Never for float32, whose largest error is what counts."""
    if ground.budgets is None or ground.metrics or verdict.is_exact(course.target.scheme):
        return False
    ours = _load(course, place, ground)
    truth, _ = parity.fit_labels(ground.outputs, ground.samples.labels)
    for name, values in ours.items():
        costs = parity.costs(ground.outputs[name], values, truth.get(name))
        if costs is None or _decide(costs, ground.budgets) is Verdict.INCONCLUSIVE:
            return False
    return True


def _decide(costs: parity.Costs, budgets: Budgets) -> Verdict:
    budget = budgets.max_drop / 100 if costs.labelled else 1 - budgets.min_agreement
    return sequential.decide(costs.values, costs.bounds, budget)


def _figures(ours: dict[str, Array], ground: Ground) -> Iterator[OutputFigures]:
    assert ground.reference is not None
    truth, doubts = parity.fit_labels(ground.outputs, ground.samples.labels)
    for name in sorted(ours):
        theirs, values, known = ground.outputs[name], ours[name], truth.get(name)
        part = theirs[: len(values)] if ground.budgets else theirs
        known = known[: len(values)] if known is not None else None
        found = parity.with_floor(parity.compare(name, part, values, known, doubts), ground.reference)
        yield _at_any_time(found, parity.costs(theirs, values, truth.get(name))) if ground.budgets else found


def _at_any_time(figures: OutputFigures, costs: parity.Costs | None) -> OutputFigures:
    """Intervals that hold whenever one stops, in the place of those for a number of samples that was fixed before."""
    if costs is None:
        return figures
    figures = replace(figures, any_time=True)
    low, high = sequential.interval(costs.values, costs.bounds)
    if costs.labelled and figures.accuracy is not None:
        accuracy = replace(figures.accuracy, low=100 * low, high=100 * high, mcnemar_p=None)
        return replace(figures, accuracy=accuracy)
    if figures.agreement is not None:
        return replace(figures, agreement=replace(figures.agreement, low=1 - high, high=1 - low))
    return figures


def _metrics(ours: dict[str, Array], ground: Ground) -> list[MetricFigures]:
    """Those that were asked for, else what the labels let one say."""
    labels = ground.samples.labels
    if labels is not None and ground.budgets is not None:
        labels = labels[: len(next(iter(ours.values())))]  # as many as were run until there was a verdict
    theirs = {name: ground.outputs[name][: len(values)] for name, values in ours.items()}
    if ground.metrics:
        return [metrics.own_metric(name, theirs, ours, labels) for name in ground.metrics]
    return metrics.built_in_metrics(theirs, ours, labels)


def _load(course: Course, place: Path, ground: Ground) -> dict[str, Array]:
    """The outputs of all passes, one after another."""
    pieces: dict[str, list[Array]] = {}
    try:
        for turn in course.passes:
            for output in turn.measurement.samples.outputs if turn.measurement.samples else ():
                pieces.setdefault(output.name, []).append(np.load(place / turn.folder / output.file, mmap_mode="r"))
    except (OSError, ValueError) as error:
        path = course.target.path
        raise EdgetfError(f"an output of {path} is missing or damaged: {error}", "benchmark again") from error
    if set(pieces) != set(ground.outputs):
        raise EdgetfError(
            f"{course.target.path} has outputs {sorted(pieces)}, the reference has {sorted(ground.outputs)}",
            "convert and reference the same signature",
        )
    return {name: arrays[0] if len(arrays) == 1 else np.concatenate(arrays) for name, arrays in pieces.items()}
