"""Samples: named input arrays in a fixed order, with or without labels, checked against a model's signature.

Comes in: an `.npz` file keyed by the input names of the signature (a model with one input also takes `x`), labels
under `labels`. Goes out: `Samples`, whose arrays have the sample along axis 0 and whose digest names the content.
Everything that would let a comparison pass by being empty (no rows, NaN, other lengths) is refused here.
"""

from __future__ import annotations

import difflib
import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import EdgetfError
from edgetf.results import SamplesUsed, TensorSpec

LABELS = "labels"
ALIAS = "x"
CALIBRATION_SEED = 0

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Samples:
    """Input arrays by name, each of shape (n, *row shape), and labels of shape (n, ...) or None."""

    source: str
    inputs: dict[str, Array]
    labels: Array | None
    digest: str
    rows: NDArray[np.int64] | None = None  # where these were taken from others, their rows there

    def row(self, k: int) -> int:
        """The row in the source of the k-th of these samples."""
        return k if self.rows is None else int(self.rows[k])

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, count: int, batch: int = 1) -> Samples:
        """`count` rows, drawn without replacement with the fixed seed CALIBRATION_SEED, in their own order.

        All rows when there are no more than `count`; a multiple of `batch`, at least one. Raises EdgetfError for a
        count below 1.
        """
        if count < 1:
            raise EdgetfError(f"cannot take {count} samples", "ask for at least 1")
        count = max(count // batch, 1) * batch
        if count >= len(self):
            return self
        rows = np.sort(np.random.default_rng(CALIBRATION_SEED).choice(len(self), count, replace=False))
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        taken = make_samples(self.source, inputs, None if self.labels is None else self.labels[rows])
        return replace(taken, rows=rows)

    def used(self) -> SamplesUsed:
        """What documents write down about these samples."""
        return SamplesUsed(self.source, self.digest, len(self))


def make_samples(source: str, inputs: dict[str, Array], labels: Array | None) -> Samples:
    """Samples from arrays. Raises EdgetfError when there are no rows, lengths differ, or a value is not finite."""
    arrays = dict(inputs) if labels is None else {**inputs, LABELS: labels}
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if not inputs or min(lengths.values()) == 0:
        raise EdgetfError(f"{source} has no samples", "every array needs its samples along axis 0")
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise EdgetfError(f"{source} has arrays of different lengths ({told})", "one row per sample in every array")
    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise EdgetfError(f"{source}: {name!r} holds NaN or infinity, first in sample {row}", "remove or mend it")
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.data)
    return Samples(source, dict(inputs), labels, digest.hexdigest())


def load_samples(source: Path, inputs: Sequence[TensorSpec]) -> Samples:
    """Read an `.npz` file and check it against the signature's `inputs`.

    Raises EdgetfError that names what was expected and what came: missing or extra names, shapes, dtypes.
    """
    arrays = _read_npz(source)
    labels = arrays.pop(LABELS, None)
    if len(inputs) == 1 and list(arrays) == [ALIAS]:
        arrays = {inputs[0].name: arrays[ALIAS]}
    if LABELS in [spec.name for spec in inputs]:
        raise EdgetfError(f"an input of the model is called {LABELS!r}, which samples keep for labels", "rename it")
    expected, found = [spec.name for spec in inputs], list(arrays)
    if set(expected) != set(found):
        alias = f" (or {ALIAS!r})" if len(inputs) == 1 else ""
        raise EdgetfError(
            f"{source} holds {_names(found)}, the model's inputs are {_names(expected)}{alias}",
            _naming_hint(source, expected, found),
        )
    for spec in inputs:
        _check(source, spec, arrays[spec.name])
    return make_samples(str(source), {name: arrays[name] for name in expected}, labels)


def save_samples(path: Path, samples: Samples) -> None:
    """Write Samples as the `.npz` that `load_samples` reads."""
    labels = {} if samples.labels is None else {LABELS: samples.labels}
    with path.open("wb") as file:
        np.savez(file, **samples.inputs, **labels)


def _read_npz(source: Path) -> dict[str, Array]:
    hint = "make one with: np.savez('samples.npz', INPUT=array, labels=array)"
    if not source.is_file():
        raise EdgetfError(f"there are no samples at {source}", hint)
    try:
        with np.load(source, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise EdgetfError(f"{source} is not an .npz file of plain arrays", hint) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # another kind of zip file
        raise EdgetfError(f"{source} is not an .npz file of plain arrays", hint)
    return arrays


def _naming_hint(source: Path, expected: Sequence[str], found: Sequence[str]) -> str:
    missing, extra = [n for n in expected if n not in found], [n for n in found if n not in expected]
    if extra and not missing:
        return f"leave out {_names(extra)}: only inputs and {LABELS!r} belong there"
    for name in extra:
        if close := difflib.get_close_matches(name, [*missing, LABELS], n=1, cutoff=0.6):
            return f"rename {name!r} to {close[0]!r}"
    return f"save it with: np.savez({source.name!r}, {', '.join(f'{n}=...' for n in expected)}, labels=...)"


def _check(source: Path, spec: TensorSpec, array: Array) -> None:
    want, have = spec.describe(), f"{array.dtype.name} {list(array.shape)}"
    if array.dtype.name != spec.dtype:
        hint = f"convert it with: array.astype({spec.dtype!r})"
        raise EdgetfError(f"{source}: {spec.name!r} is {have}, the model takes {want}", hint)
    row = spec.shape[1:]
    fits = array.ndim == len(spec.shape) and all(w in (None, h) for w, h in zip(row, array.shape[1:], strict=True))
    batch = spec.shape[0] if spec.shape else None
    if not fits or (batch is not None and len(array) % batch):
        hint = "samples lie along axis 0; the other axes must be the model's"
        raise EdgetfError(f"{source}: {spec.name!r} is {have}, the model takes {want}", hint)


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"
