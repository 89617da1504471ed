"""A variant and its twins: the result, its file, the float32 file of the same conversion, the Reference, the Samples.

In: a benchmark and where its files are. Out: the Twins, which belong together, and what they compute here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgetf.benchmarks.judging import verdict
from edgetf.benchmarks.rows import Outputs, load_passes
from edgetf.benchmarks.timing.fixed import copy_private
from edgetf.benchmarks.timing.targets import Target, find_targets
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job
from edgetf.errors import EdgetfError, nearest
from edgetf.events import OnEvent, Step
from edgetf.results import Benchmark, LabelsAre, Reference, Result, read_benchmark, read_reference
from edgetf.samples import Samples, SampleSource, load_same

EXACT = "float32"  # the scheme that changes no weight


@dataclass(frozen=True)
class LadderOptions:
    """`variants` are files or folders with the variants of the benchmark, `reference` is what it was compared with;
    `keras` is the Keras file that the SavedModel was exported from, if that rung is wanted. Without `wait`, it is an
    error if another run has reserved this machine; `trust` lets the Keras file contain code."""

    variant: str
    variants: Sequence[Path]
    reference: Path
    samples: SampleSource | None = None
    keras: Path | None = None
    budgets: verdict.Budgets = verdict.Budgets()
    wait: bool = True
    trust: bool = False


@dataclass(frozen=True)
class Twins:
    """A result, its file, that of float32 if there is one, and what both were compared with."""

    result: Result
    target: Target
    float32: Target | None
    reference: Reference
    samples: Samples
    labels_are: LabelsAre | None

    @property
    def batch(self) -> int:
        return self.reference.batch_alone

    def copied(self, folder: Path) -> Twins:
        """The same with private copies of both files in `folder`. Raises EdgetfError if one has changed."""
        target, *float32 = copy_private([one for one in (self.target, self.float32) if one is not None], folder)
        return replace(self, target=target, float32=float32[0] if float32 else None)


def find_twins(place: Path, options: LadderOptions) -> Twins:
    """The twins that `options` name. Raises EdgetfError for files that are missing or do not belong together."""
    document = read_benchmark(place)
    result = _result(document, options.variant)
    reference = read_reference(options.reference)
    if document.reference is None or document.reference.source.digest != reference.source.digest:
        raise EdgetfError(f"{place} was not compared with {options.reference}", "give its reference with --reference")
    source = options.samples or reference.samples.source
    samples = load_same(source, reference.source.inputs, reference.samples)
    if samples is None:
        raise EdgetfError("the samples are not those of the reference", "give them with --samples")
    targets = find_targets(options.variants)
    same = [target for target in targets if target.sha256 == result.sha256]
    target = next((one for one in same if one.name == result.variant), same[0] if same else None)
    known = (None, reference.source.digest)  # a float32 of another model is not a twin
    if target is None:
        raise EdgetfError(f"the file of {result.variant} is missing", "give its folder with --variants")
    float32 = next((t for t in targets if EXACT in (t.scheme, t.name) and t.source_digest in known), None)
    return Twins(result, target, float32, reference, samples, document.labels_are)


def run_here(
    target: Target,
    inputs: dict[str, str],
    axes: tuple[frozenset[str], frozenset[str]],
    out: Path,
    on_event: OnEvent,
    wait: bool,
) -> Outputs:
    """The outputs of a variant on this machine, by output name. Raises EdgetfError if it does not run.

    `axes` are the inputs and outputs that have no axis for samples.
    """
    on_event(Step(f"{target.name}, here", of=3))
    unbatched_inputs, unbatched_outputs = map(sorted, axes)
    model = str((target.private or target.path).resolve())
    job = Job(model, inputs, target.signature, unbatched_inputs, unbatched_outputs, timing=None)
    device = LocalDevice()
    with device.reserve(on_event if wait else None):
        measurement = device.run(job, out, on_event)
    if measurement.error is not None:
        raise EdgetfError(f"{target.name} does not run here: {measurement.error}", "is it made for another runtime?")
    assert measurement.samples is not None
    return load_passes([(measurement.samples, out)])


def _result(document: Benchmark, variant: str) -> Result:
    known = {result.variant: result for result in document.results}
    if variant not in known:
        raise EdgetfError(f"there is no result of a variant {variant!r}", nearest(variant, known))
    if (error := known[variant].error) is not None:
        there = ", ".join(name for name, result in known.items() if result.error is None)
        verb = "was not converted" if error.code == "conversion" else "has no result"
        raise EdgetfError(f"{variant} {verb}: {error.message}", f"there are: {there}" if there else error.hint)
    found = known[variant].parity
    if found is not None and found.of is not None:  # in another order, and perhaps not all
        raise EdgetfError(f"{variant} ran on {found.n} of {found.of} samples", "benchmark it without --sequential")
    if found is None:
        raise EdgetfError(f"{variant} was not compared with a reference", "benchmark it with --reference")
    return known[variant]
