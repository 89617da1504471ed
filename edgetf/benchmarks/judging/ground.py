"""The common ground of all variants of a benchmark: Samples and a Reference, and the comparison with them.

Without samples, random inputs are used, and only latency is measured. Sequential runs use a seeded random order of the
samples, in pieces; the evidence is checked after each piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import label_metrics, parity, sequential, verdict
from edgetf.benchmarks.judging.columns import is_image
from edgetf.benchmarks.judging.distinct import Distinct, describe_distinct, find_copies
from edgetf.benchmarks.judging.labels import Interpretation, interpret, reread
from edgetf.benchmarks.judging.own_metric import (
    AskedMetric,
    GivenMetric,
    load_metric,
    metric_name,
    own_metric,
    with_chance,
)
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.rows import COUNTS, Outputs, load_passes, together
from edgetf.benchmarks.timing.fixed import changed_during_run
from edgetf.benchmarks.timing.rounds import Course
from edgetf.benchmarks.timing.targets import Target
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import read_contents
from edgetf.results import (
    LabelsAre,
    MetricFigures,
    OutputFigures,
    Parity,
    Reference,
    TensorSpec,
    Verdict,
    read_reference,
)
from edgetf.samples import Array, Samples, SampleSource, is_missing, load_same, load_samples, make_samples, short_name
from edgetf.samples.load import has_changed

_RANDOM_ROWS = 8
_ORDER_SEED = 0


@dataclass(frozen=True)
class Ground:
    """`outputs` are the Reference's, `read` their interpretations.

    With `budgets`, samples are run until the verdict on them is certain. Labels and outputs are in the order of the
    run, inputs in that of their file; `order` has the rows of the inputs if the orders differ. `metrics` name user
    functions; `labels_are` is the user's statement on the labels. `distinct` are the groups of identical samples, if
    any; `unlike` is the number of samples without those that are nearly the same, for a warning.
    """

    samples: Samples
    random: bool
    reference: Reference | None
    outputs: Outputs
    read: dict[str, Interpretation] = field(default_factory=dict)
    budgets: Budgets | None = None
    metrics: tuple[AskedMetric, ...] = ()
    order: NDArray[np.int64] | None = None
    labels_are: LabelsAre | None = None
    distinct: Distinct | None = None
    unlike: int | None = None

    def describe(self, timed: bool) -> str:
        """What the inputs are; `timed`: whether the device measures times, or memory alone."""
        if self.random:
            what = "latency" if timed else "memory"
            return f"random numbers, seeded: for {what} only; give --reference to compare outputs"
        used = self.samples.used()
        return f"{used.n} samples of {short_name(used.source)}{', until decided' if self.budgets else ''}"

    def pieces(self) -> tuple[tuple[int, int], ...]:
        """The first and the end of the samples in each pass: one pass for all, or one for each check of evidence."""
        n = len(self.samples)
        if self.budgets is None or self.reference is None:
            return ((0, n),)
        ends = sorted(set(sequential.looks(n, self.reference.batch_alone)))
        return tuple(pairwise([0, *ends]))


def prepare(
    targets: Sequence[Target],
    place: Path | None,
    given: SampleSource | None,
    sequential: Budgets | None,
    labels_are: LabelsAre | None = None,
    allow_nan: bool = False,
) -> Ground:
    """Read the Reference at `place` and the Samples, and check that they belong together.

    `allow_nan` is for samples without a reference: a reference has it recorded.
    """
    if place is None:
        specs = input_specs(next(target for target in targets if not target.failed))
        if given is None:
            return Ground(_random_samples(specs), True, None, Outputs({}))
        return Ground(load_samples(given, specs, allow_nan), False, None, Outputs({}))
    reference = read_reference(place)
    source = given or reference.samples.source
    if is_missing(source):
        raise EdgetfError(f"the reference was made on {source}, which is not here", "give the samples with --samples")
    samples = load_same(source, reference.source.inputs, reference.samples)
    if samples is None:
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
    labels_are = labels_are or reference.labels_are
    read = interpret(outputs.values, samples.labels, samples.output_labels, labels_are)
    ground = Ground(samples, False, reference, outputs, read, sequential, labels_are=labels_are)
    return ground if sequential is None else _shuffled(ground)


def with_metrics(ground: Ground, metrics: Sequence[GivenMetric], less_is_better: bool) -> Ground:
    """The same, judged by these functions.

    Raises EdgetfError, before anything runs, for a metric that cannot be loaded, has the name of another, or prefers
    outputs of other samples to the reference's. A metric that fails is not rejected, but reported with the results.
    """
    labels = ground.samples.labels
    if ground.reference is None or labels is None:
        lacks = "a reference: give --reference" if ground.reference is None else "labels in the samples"
        message = f"the metric {metric_name(metrics[0])} needs {lacks}"
        raise EdgetfError(message, "a metric compares both sides with the labels")
    asked = [load_metric(one, less_is_better) for one in metrics]
    names = [one.name for one in asked]
    if twice := [name for k, name in enumerate(names) if name in names[:k]]:
        message = f"two metrics have the name {twice[0]}: one would hide the other"
        raise EdgetfError(message, "name each metric once, and give functions with different names")
    return replace(ground, metrics=tuple(with_chance(one, ground.outputs.values, labels) for one in asked))


def input_specs(target: Target) -> tuple[TensorSpec, ...]:
    """The specifications of the variant's inputs; a quantized input counts as float32."""
    contents = read_contents(target.path, target.signature)
    return tuple(TensorSpec(t.name, t.shape, "float32" if t.quantization else t.dtype) for t in contents.inputs)


def _random_samples(specs: Sequence[TensorSpec]) -> Samples:
    """Seeded random samples, for latency only: normal for floats, zeros for integers, which may be indices.

    Each sample is a complete input, so that no axis is mistaken for a batch axis.
    """
    random = np.random.default_rng(0)
    inputs: dict[str, Array] = {}
    for spec in specs:
        if spec.dtype == "string":
            hint = "samples cannot hold strings: convert them to numbers before the model"
            raise EdgetfError(f"input {spec.name!r} takes strings", hint)
        if None in spec.shape[1:]:
            raise EdgetfError(f"input {spec.name!r} takes {spec.describe()}", "give samples of the shape to measure")
        shape = [_RANDOM_ROWS, *(axis or 1 for axis in spec.shape)]
        floats = np.issubdtype(np.dtype(spec.dtype), np.floating)
        inputs[spec.name] = random.standard_normal(shape).astype(spec.dtype) if floats else np.zeros(shape, spec.dtype)
    return replace(make_samples("random numbers", inputs, None), unbatched=frozenset(inputs))


def _shuffled(ground: Ground) -> Ground:
    """The same in random order: the first samples must be representative."""
    n = len(ground.samples)
    batch = ground.reference.batch_alone if ground.reference else 1
    if any(len(values) != n for values in ground.outputs.values.values()) or n % batch:
        raise EdgetfError("an output has no batch axis: it cannot be judged sequentially", "leave out --sequential")
    order, labels = random_order(n), ground.samples.labels
    of_outputs = {name: known[order] for name, known in ground.samples.output_labels.items()}
    labels = None if labels is None else labels[order]
    samples = replace(ground.samples, labels=labels, output_labels=of_outputs)
    read = {name: one.shuffled(order) for name, one in ground.read.items()}
    return replace(ground, samples=samples, outputs=ground.outputs.take(order), read=read, order=order)


def with_distinct(ground: Ground, inputs: Mapping[str, Array]) -> Ground:
    """The same, with the groups of identical samples; `inputs` are those of the run, in its order.

    Without a reference nothing is judged, and they are not needed.
    """
    if ground.reference is None:
        return ground
    distinct, unlike = find_copies(inputs)
    return replace(ground, distinct=distinct, unlike=unlike)


def refuse_changed(ground: Ground, place: Path | None) -> None:
    """Raise EdgetfError if the samples, or the reference at `place`, have changed since the run began."""
    samples = ground.samples
    if not ground.random and has_changed(samples):  # or at least it may have
        labels, of_outputs = samples.labels, dict(samples.output_labels)
        if ground.order is not None:
            back = np.argsort(ground.order)
            labels = None if labels is None else labels[back]
            of_outputs = {name: known[back] for name, known in of_outputs.items()}
        try:
            now = make_samples(samples.source, samples.inputs, labels, of_outputs, samples.allow_nan).digest
        except EdgetfError:  # for example new NaN values
            now = ""
        if now != samples.digest:
            raise changed_during_run(str(samples.source))
    if ground.reference is not None and place is not None:
        try:
            read_reference(place)
            load_outputs(ground.reference, place)
        except EdgetfError as error:
            raise changed_during_run(str(place)) from error


def random_order(n: int) -> NDArray[np.int64]:
    """The rows of `n` samples in the order of a sequential run."""
    return np.random.default_rng(_ORDER_SEED).permutation(n)


# the comparison ---------------------------------------------------------------------------------------------------


def judge_course(course: Course, place: Path, ground: Ground) -> Parity:
    """Compare a variant's outputs with the Reference's. Raises EdgetfError if they cannot be compared."""
    theirs, ours = _sides(course, place, ground)
    counted, n = count_rows(ours, ground)
    figures, scores = list(figures_of(theirs, ours, ground)), metrics_of(theirs, ours, ground)
    found = verdict.judge_parity(course.target.scheme, counted, figures, ground.budgets or Budgets(), scores)
    if counted < n:
        found = replace(found, n=n, distinct=counted, reason=f"{found.reason}; {describe_distinct(n, counted)}")
    return found if ground.budgets is None else replace(found, of=len(ground.samples))


def is_decided(course: Course, place: Path, ground: Ground) -> bool:
    """Whether the evidence so far decides on every output. Never for float32, which is judged by its largest error."""
    if ground.budgets is None or ground.metrics or verdict.is_exact(course.target.scheme):
        return False
    theirs, ours = _sides(course, place, ground)
    read = reread(ground.read, ground.outputs.values, theirs)
    for name, values in ours.items():
        costs = parity.costs(theirs[name], values, read[name], _distinct(ground, len(values)))
        if costs is None or _decide(costs, ground.budgets) is Verdict.INCONCLUSIVE:
            return False
    return True


def count_rows(ours: Mapping[str, Array], ground: Ground) -> tuple[int, int]:
    """How many rows of the outputs `ours` are distinct, and how many there are, where the former are the fewest."""
    lengths = {len(values) for values in ours.values()}
    distinct = {n: _distinct(ground, n) for n in lengths}
    return min((n if (found := distinct[n]) is None else found.count, n) for n in lengths)


def _distinct(ground: Ground, n: int) -> Distinct | None:
    """The groups of identical samples among the first `n`, if any.

    If all samples were run and there are fewer rows, these are inferences on several samples each.
    """
    if ground.distinct is None:
        return None
    found = ground.distinct.of_rows(n) if ground.budgets is None else ground.distinct.upto(n)
    return None if found.count == n else found


def _decide(costs: parity.Costs, budgets: Budgets) -> Verdict:
    budget = budgets.max_drop / 100 if costs.labelled else 1 - budgets.min_agreement
    return sequential.decide(costs.values, costs.bounds, budget)


def figures_of(theirs: dict[str, Array], ours: dict[str, Array], ground: Ground) -> Iterator[OutputFigures]:
    """The figures of each output of `ours` against the Reference's, both in the form of `rows.together`."""
    assert ground.reference is not None
    rows = [values.shape[1:] for values in ground.samples.inputs.values()]
    meanings = reread(ground.read, ground.outputs.values, theirs)
    for name in sorted(
        ours, key=lambda name: (not name.endswith(COUNTS), name)
    ):  # a different number of rows explains the rest
        every, values, read = theirs[name], ours[name], meanings[name]
        part = every[: len(values)] if ground.budgets else every
        if read.truth is not None:
            read = replace(read, truth=read.truth[: len(values)])
        distinct, one_quantity = _distinct(ground, len(values)), is_image(values.shape[1:], rows)
        found = parity.compare(name, part, values, read, one_quantity, distinct)
        found = parity.with_floor(found, ground.reference)
        yield _at_any_time(found, parity.costs(every, values, read, distinct)) if ground.budgets else found


def _at_any_time(figures: OutputFigures, costs: parity.Costs | None) -> OutputFigures:
    """The figures with intervals that hold at any time, instead of those for a fixed number of samples."""
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


def metrics_of(theirs: dict[str, Array], ours: dict[str, Array], ground: Ground) -> list[MetricFigures]:
    """The figures of the user's metrics, or of the built-in ones that suit the labels."""
    labels, n = ground.samples.labels, len(ground.samples)
    if ground.budgets is not None:
        n = len(next(iter(ours.values())))  # a sequential run may use fewer samples
        labels = None if labels is None else labels[:n]
    distinct = _distinct(ground, n)
    theirs = {name: theirs[name][: len(values)] for name, values in ours.items()}
    if ground.metrics and labels is not None:
        return [own_metric(asked, theirs, ours, labels, distinct) for asked in ground.metrics]
    return label_metrics.built_in_metrics(theirs, ours, reread(ground.read, ground.outputs.values, theirs), distinct)


def _sides(course: Course, place: Path, ground: Ground) -> tuple[dict[str, Array], dict[str, Array]]:
    """The Reference's outputs and those of all passes of a variant, in one form."""
    passes = [(turn.measurement.samples, place / turn.folder) for turn in course.passes if turn.measurement.samples]
    ours = load_passes(passes)
    if set(ours.values) != set(ground.outputs.values):
        raise EdgetfError(
            f"{course.target.path} has outputs {sorted(ours.values)}, the reference {sorted(ground.outputs.values)}",
            "convert and reference the same signature",
        )
    return together(ground.outputs, ours)
