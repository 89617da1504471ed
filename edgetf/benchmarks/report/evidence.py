"""The raw data of a benchmark for the report: outputs of both sides and the samples, joined row by row.

If some of it is missing when a report is made, the report says so; that is not an error. The join of rows is verified:
the largest error of an output must be the one in `benchmark.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging.ground import random_order
from edgetf.benchmarks.judging.labels import Interpretation, decisions, interpret, reread, settle
from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.rows import Outputs, load_passes, together
from edgetf.device.measurements import read_measurement
from edgetf.device.runner.job import Pass
from edgetf.errors import EdgetfError
from edgetf.results import Benchmark, LabelUse, OutputParity, Reference, Result, read_reference
from edgetf.samples import Array, Samples, load_samples
from edgetf.samples.source import is_missing, parse_source

_BLOCK = 1 << 20  # numbers that are compared at once


@dataclass(frozen=True)
class Evidence:
    """The Reference's outputs by name and the samples; each is None if not available.

    `read` are the interpretations of the outputs; `missing` are sentences on missing data.
    """

    outputs: Outputs | None
    samples: Samples | None
    read: dict[str, Interpretation]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One output of one variant and of the Reference, in the order of the run; `rows` are the rows of the samples.

    `reference` may be longer than `variant` after a sequential run. `error` (n,) is the root of the sum of squares over
    each sample, infinite for NaN.
    """

    result: Result
    figures: OutputParity
    reference: Array
    variant: Array
    read: Interpretation
    rows: NDArray[np.int64]
    error: NDArray[np.float64]

    @property
    def truth(self) -> NDArray[np.int64] | None:
        """The classes of the samples that were run, shape (n,), if each has one."""
        if self.read.use is not LabelUse.CLASS or self.read.truth is None:
            return None
        return self.read.truth[: len(self.variant)]

    def decisions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """The decisions of the Reference and the variant, shape (n,); None unless there is one per sample."""
        if self.read.decide is None:
            return None
        ours = decisions(self.read.decide, self.variant)
        return None if ours.ndim > 1 else (decisions(self.read.decide, self.reference[: len(ours)]), ours)


def gather(document: Benchmark, folder: Path, given: Path | None) -> Evidence:
    """The available data. `given` is the folder of the Reference; by default it is searched in and beside `folder`.

    Raises EdgetfError if `given` is not the Reference of this benchmark.
    """
    if document.reference is None:
        return Evidence(None, None, {}, ())
    missing = []
    outputs, samples = None, None
    place = given or _find_reference(document.reference, folder)
    if given is not None and read_reference(given) != document.reference:
        raise EdgetfError(f"{folder} was not compared with {given}", "give its own reference with --reference")
    try:
        outputs = load_outputs(document.reference, place) if place else None
    except EdgetfError as error:
        missing.append(f"The reference's outputs cannot be read: {error.message}.")
    if place is None:
        missing.append("The reference's outputs are neither in the benchmark's folder nor beside it; give --reference.")
    try:
        samples = _find_samples(document)
    except EdgetfError as error:
        missing.append(f"The samples are not shown: {error.message}.")
    labels, own = (samples.labels, samples.output_labels) if samples is not None else (None, None)
    read = interpret(outputs.values, labels, own, document.labels_are) if outputs else {}
    return Evidence(outputs, samples, read, tuple(missing))


def pair_outputs(document: Benchmark, folder: Path, evidence: Evidence) -> tuple[list[Pair], list[str]]:
    """All outputs that can be joined with the Reference's, and sentences about those that cannot."""
    pairs: list[Pair] = []
    missing: list[str] = []
    if evidence.outputs is None or document.samples is None:
        return [], []
    for result in document.results:
        if result.parity is None or result.measurement is None:
            continue
        try:
            pairs += _pair(result, folder, evidence, document.samples.n)
        except EdgetfError as error:
            missing.append(f"The outputs of {result.variant} are not shown by sample: {error.message}.")
    return pairs, missing


def _find_reference(reference: Reference, folder: Path) -> Path | None:
    """The folder with exactly this reference: `folder` itself, or one beside it."""
    siblings = sorted(folder.resolve().parent.glob("*/reference.json"))
    for path in (folder / "reference.json", folder.resolve().parent / "reference.json", *siblings):
        try:
            if path.is_file() and read_reference(path) == reference:
                return path.parent
        except EdgetfError:  # of another schema, or damaged: not this one
            continue
    return None


def _find_samples(document: Benchmark) -> Samples:
    assert document.samples is not None
    assert document.reference is not None
    source = document.samples.source
    if not parse_source(source).kind.is_rereadable:  # a report neither runs code nor downloads
        raise EdgetfError(f"{source} is not a file", "benchmark on samples in a file")
    if is_missing(source):
        raise EdgetfError(f"{source} no longer exists", "restore it")
    samples = load_samples(source, document.reference.source.inputs, document.samples.allow_nan)
    if samples.digest != document.samples.digest:
        raise EdgetfError(f"{source} has changed since the run", "restore it")
    return samples


def _pair(result: Result, folder: Path, evidence: Evidence, total: int) -> Iterator[Pair]:
    assert result.parity is not None
    assert evidence.outputs is not None
    theirs, ours = together(evidence.outputs, _load(result, folder / str(result.measurement)))
    meanings = reread(evidence.read, evidence.outputs.values, theirs)
    shuffled = result.parity.of is not None
    order = random_order(total) if shuffled else np.arange(total)
    for figures in result.parity.outputs:
        if figures.name not in ours or figures.name not in theirs:
            raise EdgetfError(f"there is no output {figures.name!r}", "benchmark again")
        reference, read = theirs[figures.name], meanings[figures.name]
        variant = ours[figures.name]
        if len(reference) != total or len(variant) > total:
            raise EdgetfError(f"the output {figures.name!r} has no batch axis", "this is a property of the model")
        if shuffled:
            reference, read = np.asarray(reference)[order], read.shuffled(order)
        read = settle(figures.name, read, reference, variant)
        error, largest = _errors(reference, variant)
        if not np.isclose(largest, figures.max_abs, rtol=1e-6, atol=0):
            raise EdgetfError("its files are not those that were compared", "benchmark again")
        yield Pair(result, figures, reference, variant, read, order[: len(variant)], error)


def _load(result: Result, place: Path) -> Outputs:
    """The outputs of all passes, one after another: `samples`, `samples-2`, and so on."""
    passes: list[tuple[Pass, Path]] = []
    k = 1
    while (folder := place / ("samples" if k == 1 else f"samples-{k}")).is_dir():
        done = read_measurement(result.device, folder).samples
        passes += [(done, folder)] if done else []
        k += 1
    if not passes:
        raise EdgetfError("its outputs no longer exist", "benchmark again")
    return load_passes(passes)


def _errors(reference: Array, variant: Array) -> tuple[NDArray[np.float64], float]:
    """The error of each sample, and the largest of a single value as `parity` counts it."""
    if reference.shape[1:] != variant.shape[1:]:
        raise EdgetfError("its outputs have another shape", "benchmark again")
    n, largest = len(variant), 0.0
    error = np.zeros(n)
    rows = max(1, _BLOCK // max(1, variant[0].size))
    for begin in range(0, n, rows):
        part = slice(begin, min(begin + rows, n))
        one, other = (
            np.asarray(values[part], np.float64).reshape(-1, variant[0].size) for values in (reference, variant)
        )
        broken = ~(np.isfinite(one) & np.isfinite(other))
        one, other = (np.where(np.isfinite(values), values, 0.0) for values in (one, other))
        difference = np.abs(other - one)
        largest = max(largest, float(difference.max()))
        error[part] = np.where(broken.any(axis=1), np.inf, np.sqrt((difference**2).sum(axis=1)))
    return error, largest


def worst_first(pairs: Sequence[Pair]) -> list[Pair]:
    """The worst output of each variant; failing variants first, then by SQNR.

    Variants without any error are left out, and so are those with the same results as one before.
    """

    def key(pair: Pair) -> tuple[int, float]:
        db = pair.figures.lowest().centred_db
        return pair.figures.verdict.look.severity, np.inf if db is None else db

    found: dict[str, Pair] = {}
    seen: set[tuple[str, float, float]] = set()
    for pair in sorted(pairs, key=key):
        same = (pair.figures.name, pair.figures.max_abs, pair.figures.mean_abs)
        if pair.result.variant not in found and same not in seen and pair.error.max() > 0:
            found[pair.result.variant] = pair
            seen.add(same)
    return list(found.values())
