"""Samples: named input arrays in a fixed order, with or without labels, and the digest that names their content.

Everything that would let a comparison pass by being empty (no rows, NaN, other lengths) is refused here. Arrays that
lie in a file are gone through in blocks, so that no more than a block of them is in memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import EdgetfError
from edgetf.results import SamplesUsed
from edgetf.samples.mapped import Array, blocks, release

LABELS = "labels"
CALIBRATION_SEED = 0

SampleSource = str | Path  # what `--samples` takes: a path, or tfds:..., folder:..., module:function


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
        for array in self.inputs.values():
            release(array)
        taken = make_samples(self.source, inputs, None if self.labels is None else self.labels[rows])
        return replace(taken, rows=rows)

    def used(self) -> SamplesUsed:
        """What documents write down about these samples."""
        return SamplesUsed(self.source, self.digest, len(self))


def make_samples(source: str, inputs: dict[str, Array], labels: Array | None) -> Samples:
    """Samples from arrays.

    Raises EdgetfError when there are no rows, lengths differ, a value is not finite, or an array holds objects.
    """
    arrays = dict(inputs) if labels is None else {**inputs, LABELS: labels}
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if not inputs or min(lengths.values()) == 0:
        raise EdgetfError(f"{source} has no samples", "every array needs its samples along axis 0")
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise EdgetfError(f"{source} has arrays of different lengths ({told})", "one row per sample in every array")
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        if array.dtype.hasobject:  # whose bytes are addresses: other ones each time
            raise EdgetfError(f"{source}: {name!r} holds objects", "pad all samples to one shape, of numbers")
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        for begin, block in blocks(array):
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(block).all():
                row = begin + int(np.argwhere(~np.isfinite(block))[0][0])
                raise EdgetfError(
                    f"{source}: {name!r} holds NaN or infinity, first in sample {row}", "remove or mend it"
                )
            digest.update(block.data)
    return Samples(source, dict(inputs), labels, digest.hexdigest())


def count_classes(samples: Samples) -> dict[int, int]:
    """How many samples each class has, where labels are class numbers; else nothing."""
    if samples.labels is None or not np.issubdtype(samples.labels.dtype, np.integer):
        return {}
    if samples.labels.size != len(samples):
        return {}
    values, counts = np.unique(samples.labels, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}
