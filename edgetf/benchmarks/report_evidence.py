"""What lies raw behind a benchmark: outputs of both sides and the samples, joined row by row for the report.

Any of it may be gone by the time that a report is made, which is told and no error. Rows are proven to be joined
rightly: the largest error of an output must come out as `benchmark.json` has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks import parity
from edgetf.benchmarks.ground import random_order
from edgetf.benchmarks.reference import load_outputs
from edgetf.device.measurements import read_measurement
from edgetf.errors import EdgetfError
from edgetf.results import Benchmark, OutputParity, Reference, Result, read_reference
from edgetf.samples import Array, Samples, load_samples
from edgetf.samples.source import is_missing, take_apart

_BLOCK = 1 << 20  # numbers that are compared at once


@dataclass(frozen=True)
class Evidence:
    """The Reference's outputs by name and the samples, either of them None where they are not to be had.

    `truth` are the classes for the outputs that they fit; `missing` says in words what is not there.
    """

    outputs: dict[str, Array] | None
    samples: Samples | None
    truth: dict[str, NDArray[np.int64]]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One output of one variant beside the Reference's, in the order in which it ran: k-th of `rows` is its sample.

    `reference` may be longer than `variant`, which stopped when it was decided. `error` (n,) is the root of the sum of
    squares over each sample, infinite for NaN.
    """

    result: Result
    figures: OutputParity
    reference: Array
    variant: Array
    truth: NDArray[np.int64] | None
    rows: NDArray[np.int64]
    error: NDArray[np.float64]


def gather(document: Benchmark, folder: Path, given: Path | None) -> Evidence:
    """What is still there. `given` is the folder of the Reference, else it is looked for in `folder` and beside it.

    Raises EdgetfError when `given` is not the Reference of this benchmark.
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
        missing.append("The reference's outputs lie neither in the benchmark's folder nor beside it; give --reference.")
    try:
        samples = _find_samples(document)
    except EdgetfError as error:
        missing.append(f"The samples are not shown: {error.message}.")
    labels = samples.labels if samples is not None else None
    truth = parity.fit_labels(outputs, labels)[0] if outputs else {}
    return Evidence(outputs, samples, truth, tuple(missing))


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
            missing.append(f"What {result.variant} said is not shown sample by sample: {error.message}.")
    return pairs, missing


def _find_reference(reference: Reference, folder: Path) -> Path | None:
    """The folder with exactly this reference: `folder` itself, or one beside it."""
    beside = sorted(folder.resolve().parent.glob("*/reference.json"))
    for path in (folder / "reference.json", folder.resolve().parent / "reference.json", *beside):
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
    if take_apart(source).kind in ("function", "tfds"):  # a report neither runs code nor downloads
        raise EdgetfError(f"{source} is no file", "benchmark on samples in a file")
    if is_missing(source):
        raise EdgetfError(f"{source} is no longer there", "put them back")
    samples = load_samples(source, document.reference.source.inputs)
    if samples.digest != document.samples.digest:
        raise EdgetfError(f"{source} holds others than those that were run", "put the right ones back")
    return samples


def _pair(result: Result, folder: Path, evidence: Evidence, total: int) -> Iterator[Pair]:
    assert result.parity is not None
    assert evidence.outputs is not None
    ours = _load(result, folder / str(result.measurement))
    shuffled = result.parity.of is not None
    order = random_order(total) if shuffled else np.arange(total)
    for figures in result.parity.outputs:
        if figures.name not in ours or figures.name not in evidence.outputs:
            raise EdgetfError(f"there is no output {figures.name!r}", "benchmark again")
        reference, truth = evidence.outputs[figures.name], evidence.truth.get(figures.name)
        variant = ours[figures.name]
        if len(reference) != total or len(variant) > total:
            raise EdgetfError(f"the output {figures.name!r} has no axis for samples", "that is how the model is")
        if shuffled:
            reference, truth = np.asarray(reference)[order], truth[order] if truth is not None else None
        error, largest = _errors(reference, variant)
        if not np.isclose(largest, figures.max_abs, rtol=1e-6, atol=0):
            raise EdgetfError("its files are not those that were compared", "benchmark again")
        yield Pair(result, figures, reference, variant, truth, order[: len(variant)], error)


def _load(result: Result, place: Path) -> dict[str, Array]:
    """The outputs of all passes, one after another: `samples`, `samples-2`, and so on."""
    pieces: dict[str, list[Array]] = {}
    k = 1
    while (folder := place / ("samples" if k == 1 else f"samples-{k}")).is_dir():
        said = read_measurement(result.device, folder).samples
        for output in said.outputs if said else ():
            try:
                pieces.setdefault(output.name, []).append(np.load(folder / output.file, mmap_mode="r"))
            except (OSError, ValueError) as error:
                raise EdgetfError(f"{folder / output.file} is missing or damaged", "benchmark again") from error
        k += 1
    if not pieces:
        raise EdgetfError("its outputs are no longer there", "benchmark again")
    return {name: arrays[0] if len(arrays) == 1 else np.concatenate(arrays) for name, arrays in pieces.items()}


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
        apart = np.abs(other - one)
        largest = max(largest, float(apart.max()))
        error[part] = np.where(broken.any(axis=1), np.inf, np.sqrt((apart**2).sum(axis=1)))
    return error, largest


def worst_first(pairs: Sequence[Pair]) -> list[Pair]:
    """One output for each variant, the one that it does worst at; failing variants first, then by SQNR.

    Variants without any error are left out, and so are those that say the same as one before.
    """
    severity = {"fail": 0, "inconclusive": 1, "pass": 2}

    def key(pair: Pair) -> tuple[int, float]:
        db = pair.figures.centred_db
        return severity[pair.figures.verdict.value], np.inf if db is None else db

    found: dict[str, Pair] = {}
    told: set[tuple[str, float, float]] = set()
    for pair in sorted(pairs, key=key):
        same = (pair.figures.name, pair.figures.max_abs, pair.figures.mean_abs)
        if pair.result.variant not in found and same not in told and pair.error.max() > 0:
            found[pair.result.variant] = pair
            told.add(same)
    return list(found.values())
