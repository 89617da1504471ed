"""Samples: named input arrays in a fixed order, with or without labels, and the digest of their content.

Input that would make a comparison meaningless (no rows, NaN, different lengths) is rejected here. Mapped arrays are
processed in blocks, so that only one block at a time is in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.arrays import foreign_kind
from edgetf.digests import State
from edgetf.errors import EdgetfError, nearest
from edgetf.results import SamplesUsed, TensorSpec
from edgetf.samples.mapped import Array, blocks, release

LABELS = "labels"
CALIBRATION_SEED = 0

SampleSource = str | Path  # a value of `--samples`: a path, or tfds:..., folder:..., module:function


@dataclass(frozen=True)
class Samples:
    """Input arrays by name, each of shape (n, *row shape), and labels of shape (n, ...) or None.

    `labels` are for any output that they fit, `output_labels` for the output of that name. One inference takes `batch`
    samples. The inputs in `unbatched` have no batch axis: one inference takes one sample. `inputs_digest` is `digest`
    without the labels. `state` is that of the `.npz` file that the arrays are mapped from, if it is settled.
    """

    source: str
    inputs: dict[str, Array]
    labels: Array | None
    digest: str
    rows: NDArray[np.int64] | None = None  # for a selection of samples, their rows in the source
    output_labels: dict[str, Array] = field(default_factory=dict)
    batch: int = 1
    unbatched: frozenset[str] = frozenset()
    allow_nan: bool = False
    inputs_digest: str = ""
    state: State | None = None

    def feed(self, begin: int, end: int) -> dict[str, Array]:
        """The arrays for one inference on the samples from `begin` to before `end`, by input name."""
        return {
            name: np.asarray(array[begin] if name in self.unbatched else array[begin:end])
            for name, array in self.inputs.items()
        }

    def mark(self, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """These inputs with `batched` set."""
        return tuple(replace(spec, batched=spec.name not in self.unbatched) for spec in inputs)

    def arrays(self) -> dict[str, Array]:
        """All arrays by their names in a file."""
        return _named(self.inputs, self.labels, self.output_labels)

    def check_outputs(self, outputs: Iterable[str]) -> None:
        """Raise EdgetfError for labels of an output that the model does not have."""
        known = sorted(outputs)
        for name in self.output_labels:
            if name not in known:
                message = f"{self.source} holds labels for an output {name!r}, which the model does not have"
                raise EdgetfError(message, nearest(name, known))

    def row(self, k: int) -> int:
        """The row in the source of the k-th of these samples."""
        return k if self.rows is None else int(self.rows[k])

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, count: int) -> Samples:
        """`count` rows, drawn without replacement with the fixed seed CALIBRATION_SEED, in their own order.

        All rows when there are no more than `count`; a multiple of `batch`, at least one. Raises EdgetfError for a
        count below 1.
        """
        if count < 1:
            raise EdgetfError(f"cannot take {count} samples", "give at least 1")
        count = max(count // self.batch, 1) * self.batch
        if count >= len(self):
            return self
        rows = np.sort(np.random.default_rng(CALIBRATION_SEED).choice(len(self), count, replace=False))
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        for array in self.inputs.values():
            release(array)
        labels = None if self.labels is None else self.labels[rows]
        of_outputs = {name: array[rows] for name, array in self.output_labels.items()}
        taken = make_samples(self.source, inputs, labels, of_outputs, self.allow_nan)
        return replace(taken, rows=rows, batch=self.batch, unbatched=self.unbatched)

    def used(self) -> SamplesUsed:
        """The record of these samples for documents."""
        return SamplesUsed(self.source, self.digest, len(self), self.allow_nan, self.inputs_digest)


def label_name(inputs: Iterable[str]) -> str:
    """The name of the labels in a file: `labels`, or `labels_` if the model has an input called `labels`."""
    name, taken = LABELS, set(inputs)
    while name in taken:
        name += "_"
    return name


def split_arrays(
    arrays: Mapping[str, Array], inputs: Iterable[str] = ()
) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
    """The arrays of a file as inputs, labels and the labels of single outputs (`labels_OUTPUT`).

    An array whose name is in `inputs` is an input, even if its name is that of labels.
    """
    names = set(inputs)
    rest, labels, of_outputs = {}, None, {}
    for name, array in arrays.items():
        if name not in names and name == label_name(names):
            labels = array
        elif name not in names and name.startswith(f"{LABELS}_") and name != f"{LABELS}_":
            of_outputs[name.removeprefix(f"{LABELS}_")] = array
        else:
            rest[name] = array
    return rest, labels, of_outputs


def make_samples(
    source: str,
    inputs: dict[str, Array],
    labels: Array | None,
    output_labels: Mapping[str, Array] | None = None,
    allow_nan: bool = False,
) -> Samples:
    """Samples from arrays. With `allow_nan`, inputs may contain NaN (the model imputes them), but not infinity.

    Raises EdgetfError when there are no rows, lengths differ, a value is not finite, or an array holds objects.
    """
    of_outputs = dict(output_labels or {})
    arrays = _named(inputs, labels, of_outputs)
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if not inputs or min(lengths.values()) == 0:
        raise EdgetfError(f"{source} has no samples", "every array needs its samples along axis 0")
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise EdgetfError(
            f"{source} has arrays of different lengths ({listed})", "give one row per sample in each array"
        )
    digest, of_inputs = hashlib.sha256(), None
    for name in sorted(arrays):
        array = arrays[name]
        if name not in inputs and of_inputs is None:  # until here both are the same: inputs are hashed once
            of_inputs = digest.copy()
        digests = [digest] if of_inputs is None or name not in inputs else [digest, of_inputs]
        if held := foreign_kind(array.dtype):  # the bytes of objects are addresses, which change
            raise EdgetfError(f"{source}: {name!r} holds {held}", "pad all samples to one shape, of numbers")
        for one in digests:
            one.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        for begin, block in blocks(array):
            if np.issubdtype(array.dtype, np.floating):
                _refuse_not_finite(f"{source}: {name!r}", block, begin, allow_nan if name in inputs else None)
            for one in digests:
                one.update(block.data)
    found = Samples(source, dict(inputs), labels, digest.hexdigest())
    inputs_digest = (of_inputs or digest).hexdigest()
    return replace(found, output_labels=of_outputs, allow_nan=allow_nan, inputs_digest=inputs_digest)


def _refuse_not_finite(what: str, block: Array, begin: int, allow_nan: bool | None) -> None:
    """Raise EdgetfError for NaN or infinity; `allow_nan` is None for labels, which may never contain them."""
    broken = np.isinf(block) if allow_nan else ~np.isfinite(block)
    if broken.any():
        at = np.argwhere(broken)[0]
        held = "infinity" if allow_nan else "NaN or infinity"
        may = allow_nan is False and bool(np.isnan(block[tuple(at)]))
        hint = "remove or correct it" + ("; or give --allow-nan if the model imputes NaN" if may else "")
        raise EdgetfError(f"{what} holds {held}, first in sample {begin + int(at[0])}", hint)


def has_nan(arrays: Mapping[str, Array]) -> bool:
    """Whether NaN is among the values."""
    floats = (array for array in arrays.values() if np.issubdtype(array.dtype, np.inexact))
    return any(bool(np.isnan(block).any()) for array in floats for _, block in blocks(array))


def _named(inputs: Mapping[str, Array], labels: Array | None, output_labels: Mapping[str, Array]) -> dict[str, Array]:
    found = dict(inputs)
    if labels is not None:
        found[label_name(inputs)] = labels
    return {**found, **{f"{LABELS}_{name}": array for name, array in output_labels.items()}}


def count_classes(samples: Samples) -> dict[int, int]:
    """The number of samples of each class; empty if labels are not class numbers."""
    if samples.labels is None or not np.issubdtype(samples.labels.dtype, np.integer):
        return {}
    if samples.labels.size != len(samples):
        return {}
    values, counts = np.unique(samples.labels, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}
