"""In: a Reference. Out: two with no samples in common, one for the search, and one that the search never sees.

A choice among many variants on some samples is partly luck, and must be proven on others. Equal samples are all on one
side. Samples for calibration or ranking are on the search's side. The side of each sample is fixed, so that the same
command has the same halves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf import files
from edgetf.benchmarks.judging.distinct import find_distinct, find_shared
from edgetf.benchmarks.judging.seen import calibrations_of, has_same_inputs, load_calibration
from edgetf.benchmarks.judging.seen import inputs_of as inputs_of
from edgetf.benchmarks.pinned import load_outputs
from edgetf.errors import EdgetfError
from edgetf.results import Conversion, Reference, read_reference
from edgetf.samples import Samples, is_missing, load_same, make_samples, save_samples

_SEED = 20  # arbitrary, but not that of calibration or of sequential runs
_LEAST = 20  # samples on either side, below which no verdict is possible
_HINT = "give samples to prove it on with --verdict"


def read_calibrations(
    conversion: Conversion, place: Path, references: Sequence[Path]
) -> tuple[list[Samples], list[str]]:
    """The samples that the variants in the folder `place` were calibrated on, and warnings on those that are unknown.

    Raises EdgetfError where they cannot be read, and are those of one of the `references`.
    """
    found, warnings = [], list[str]()
    proving = [read_reference(reference).samples for reference in references]
    for calibration in calibrations_of(conversion, place):
        samples = load_calibration(conversion, calibration)
        if samples is not None:
            found.append(samples)
            continue
        source = calibration.samples.source
        fact = f"the samples that the variants were calibrated on ({source}) can no longer be read"
        if any(has_same_inputs(calibration.samples, one) for one in proving):
            raise EdgetfError(f"{fact}, and are those of the reference: they cannot prove", _HINT)
        warnings.append(f"{fact}: whether some of them are among those of the proof is not checked")
    return found, warnings


def split(place: Path, out: Path, seen: Sequence[Samples] = (), taken: int = 1) -> tuple[Path, Path]:
    """Write the halves of the Reference at `place` into folders in `out`, for the search and for the proof.

    The variants take `taken` samples at once: each half has a multiple of them. The proof has none of the samples in
    `seen`. Raises EdgetfError for a Reference that cannot be halved.
    """
    reference = read_reference(place)
    samples = _samples_of(reference)
    n, batch = len(samples), math.lcm(reference.batch_alone, taken)
    outputs = load_outputs(reference, place)
    if any(len(values) != n for values in outputs.values.values()):
        raise EdgetfError("an output of the model has no axis for samples: the reference cannot be halved", _HINT)
    if n < 2 * _LEAST:
        raise EdgetfError(f"the reference has {n} samples, too few for a search and a proof", _HINT)
    search, proof = halves(samples, batch, seen)
    if len(proof) < _LEAST:
        fact = f"all but {len(proof)} of the reference's {n} samples" if len(proof) else "all samples of the reference"
        message = f"{fact} served to calibrate, rank or search: too few are left for the proof"
        raise EdgetfError(message, _HINT)
    return (
        write_part(reference, place, samples, search, out / "search"),
        write_part(reference, place, samples, proof, out / "proof"),
    )


def refuse_shared(search: Path, proof: Path, seen: Sequence[Samples] = ()) -> None:
    """Raise EdgetfError if the Reference of the proof has samples in common with that of the search, or with `seen`, or
    if they are of two models."""
    known, other = read_reference(search), read_reference(proof)
    if known.source.digest != other.source.digest:
        raise EdgetfError("the samples to prove it on are of a reference of another model", "make one of this model")
    proving = _samples_of(other)
    places = [("with the reference", [_samples_of(known)]), ("with those to calibrate or rank on", seen)]
    for where, samples in places:
        shared = int(_is_among(proving, samples).sum())
        if shared:
            message = f"the winner cannot be proven on samples that it shares {where}: {shared} are the same"
            raise EdgetfError(message, "give others with --verdict, or leave it out")


def _is_among(samples: Samples, others: Sequence[Samples]) -> NDArray[np.bool_]:
    """Whether each of `samples` is among any of the others."""
    found = np.zeros(len(samples), bool)
    for other in others:
        found |= find_shared(samples.inputs, other.inputs)
    return found


def halves(
    samples: Samples, batch: int = 1, seen: Sequence[Samples] = ()
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the search and of the proof, each in their own order, each a multiple of `batch`. Those in `seen` are
    the search's, and count as a part of its half."""
    distinct = find_distinct(samples.inputs)
    group = np.arange(len(samples)) if distinct is None else distinct.group
    count = int(group.max()) + 1
    known = np.zeros(count, bool)
    known[group[_is_among(samples, seen)]] = True
    order = np.random.default_rng(_SEED).permutation(count)
    order = np.concatenate([order[known[order]], order[~known[order]]])
    drawn = np.zeros(count, bool)
    drawn[order[: max(count // 2, int(known.sum()))]] = True
    one, other = np.flatnonzero(drawn[group]), np.flatnonzero(~drawn[group])
    return one[: len(one) // batch * batch], other[: len(other) // batch * batch]


def write_part(reference: Reference, place: Path, samples: Samples, rows: NDArray[np.int64], out: Path) -> Path:
    """Write the Reference of those rows, with their samples beside it, into `out`."""
    (out / "reference").mkdir(parents=True, exist_ok=True)
    taken = make_samples(
        str((out / "samples.npz").absolute()),
        {name: np.asarray(values[rows]) for name, values in samples.inputs.items()},
        None if samples.labels is None else samples.labels[rows],
        {name: values[rows] for name, values in samples.output_labels.items()},
        samples.allow_nan,
    )
    save_samples(out / "samples.npz", taken)
    known, written = load_outputs(reference, place), []
    for k, one in enumerate(reference.outputs):
        file, shapes = f"reference/output-{k}.npy", None
        np.save(out / file, np.asarray(known.values[one.name][rows]))
        if one.shapes is not None:
            shapes = f"reference/output-{k}-shapes.npy"
            np.save(out / shapes, known.shapes[one.name][rows])
        written.append(
            replace(
                one,
                file=file,
                sha256=files.sha256_file(out / file),
                shapes=shapes,
                shapes_sha256=None if shapes is None else files.sha256_file(out / shapes),
            )
        )
    part = replace(reference, samples=taken.used(), outputs=tuple(written))
    files.write_document(out / "reference.json", part)
    return out


def _samples_of(reference: Reference) -> Samples:
    source = reference.samples.source
    if is_missing(source):
        raise EdgetfError(f"the reference was made on {source}, which is not here", "make the reference again")
    samples = load_same(source, reference.source.inputs, reference.samples)
    if samples is None:
        raise EdgetfError(f"the reference was made on other samples than {source}", "make the reference again")
    return samples
