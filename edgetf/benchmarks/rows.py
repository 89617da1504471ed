"""Outputs whose shape differs from sample to sample, such as the boxes of a detector: both sides in one form.

In files they are padded with zeros, and the shape of each sample's output is stored beside them. Two sides are compared
row by row: a missing row counts as zeros. The number of rows is a separate output, `NAME:rows`, so that different
counts are judged separately.

A detector sorts its rows by a score, where a difference in the last digit swaps two rows. If the number of rows is free
in the model, and both sides sort them by the same column, each row is therefore compared with the nearest row of the
other side, for all such outputs together (a box and its score). All other rows are a series, such as the frames of a
recording: they are compared in their order, so that a shift in time is visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.arrays import read_npy
from edgetf.device.runner.job import Pass
from edgetf.reading import parsing
from edgetf.samples import Array

COUNTS = ":rows"  # appended to the name of an output: its number of rows for each sample
Shapes = NDArray[np.int64]  # (samples, axes)


@dataclass(frozen=True)
class Outputs:
    """Arrays by output name, samples along axis 0; `shapes`, by name, for outputs whose shape varies.

    Outputs in `unbatched` have no batch axis in the model: they have a row for each inference. Those in `loose` also
    have a free number of rows.
    """

    values: Mapping[str, Array]
    shapes: Mapping[str, Shapes] = field(default_factory=dict)
    unbatched: frozenset[str] = frozenset()
    loose: frozenset[str] = frozenset()

    def shapes_of(self, name: str) -> Shapes:
        """The shape of each sample's output."""
        values = self.values[name]
        known = self.shapes.get(name)
        return np.tile(np.array(values.shape[1:], np.int64), (len(values), 1)) if known is None else known

    def take(self, rows: Any) -> Outputs:
        """Those rows of all outputs: a slice, or numbers."""
        values = {name: np.asarray(array[rows]) for name, array in self.values.items()}
        return replace(self, values=values, shapes={name: shapes[rows] for name, shapes in self.shapes.items()})


def load_passes(passes: Sequence[tuple[Pass, Path]]) -> Outputs:
    """The outputs of a variant in all passes, each with its folder. Raises EdgetfError for missing files."""
    found = []
    again = "benchmark again"
    for done, folder in passes:
        with parsing(folder, "a measurement with its outputs", again):
            arrays = {o.name: read_npy(folder / o.file, again) for o in done.outputs}
            shapes: dict[str, Any] = {o.name: read_npy(folder / o.shapes, again) for o in done.outputs if o.shapes}
            found.append(refuse_torn(Outputs(arrays, shapes)))
    if len(found) == 1:
        return found[0]
    names = list(found[0].values) if found else []
    values = {name: stack([one.values[name] for one in found]) for name in names}
    ragged = [name for name in names if values[name][1] is not None or any(name in one.shapes for one in found)]
    joined = {name: np.concatenate([one.shapes_of(name) for one in found]) for name in ragged}
    return Outputs({name: array for name, (array, _) in values.items()}, joined)


def refuse_torn(outputs: Outputs) -> Outputs:
    """Return the outputs. Raises ValueError for inconsistent arrays and shapes."""
    for name, values in outputs.values.items():
        if values.ndim == 0:
            raise ValueError(f"the output {name!r} has no rows")
        known = outputs.shapes.get(name)
        if known is None:
            continue
        if known.dtype.kind not in "iu" or known.shape != (len(values), values.ndim - 1):
            raise ValueError(f"the shapes of the output {name!r} are not those of its rows")
        if known.size and ((known < 0) | (known > values.shape[1:])).any():
            raise ValueError(f"the output {name!r} has rows that are larger than its array")
    return outputs


def stack(pieces: Sequence[Array]) -> tuple[Array, Shapes | None]:
    """Concatenate arrays along axis 0, padded if their shapes differ; then also the shapes of the rows."""
    if len({piece.shape[1:] for piece in pieces}) == 1:
        return np.concatenate(list(pieces)), None
    shapes = np.array([piece.shape[1:] for piece in pieces for _ in range(len(piece))], np.int64)
    return np.concatenate([widen(piece, shapes.max(axis=0)) for piece in pieces]), shapes


def widen(values: Array, row: Sequence[int] | Shapes) -> Array:
    """The array padded with zeros at the end of each axis but the first, to the shape `row`."""
    missing = [(0, 0), *((0, int(want) - have) for want, have in zip(row, values.shape[1:], strict=True))]
    return np.pad(values, missing) if any(after for _, after in missing) else values


def together(theirs: Outputs, ours: Outputs) -> tuple[dict[str, Array], dict[str, Array]]:
    """The values of both sides by name, padded to one shape if lengths vary, with row counts.

    Outputs of a constant shape are unchanged, even if it differs between the sides.
    """
    one, other = dict(theirs.values), dict(ours.values)
    unlike = {name for name in theirs.loose & other.keys() if one[name].shape[1:] != other[name].shape[1:]}
    empty = {name for side in (theirs, ours) for name, values in side.values.items() if 0 in values.shape[1:]}
    for name in sorted({*theirs.shapes, *ours.shapes, *unlike, *empty} & one.keys() & other.keys()):
        known, found = theirs.shapes_of(name), ours.shapes_of(name)
        if known.shape[1] != found.shape[1]:
            continue
        both = np.concatenate([known, found])
        axes = np.flatnonzero((both != both[:1]).any(axis=0) | (both == 0).any(axis=0))
        row = np.max([one[name].shape[1:], other[name].shape[1:]], axis=0)
        row = np.maximum(row, 1)  # an output that is always empty is one row of zeros
        one[name], other[name] = widen(one[name], row), widen(other[name], row)
        one[name + COUNTS] = known[:, axes].prod(axis=1)
        other[name + COUNTS] = found[:, axes].prod(axis=1)
    n = len(next(iter(ours.values.values()), ()))
    loose = [name for name in sorted(theirs.loose) if name in other and one[name].shape[1:] == other[name].shape[1:]]
    lengths = {name: (theirs.shapes_of(name)[:n, 0], ours.shapes_of(name)[:, 0]) for name in loose}
    while loose:  # outputs that always have the same number of rows belong together
        first = loose[0]
        group = [k for k in loose if all(map(np.array_equal, lengths[k], lengths[first]))]
        loose = [name for name in loose if name not in group]
        known = theirs.shapes_of(first)[:, 0]  # for all samples, also those that the variant did not run
        if _sorted_columns(one, group, known) & _sorted_columns(other, group, lengths[first][1]):
            _match(one, other, group, lengths[first])
    return one, other


# rows that are swapped --------------------------------------------------------------------------------------------


def _sorted_columns(side: Mapping[str, Array], names: Sequence[str], lengths: Shapes) -> set[int]:
    """The columns of all `names` together that do not increase from row to row in any sample, such as a score.

    In half of the samples with several rows they must decrease: a column that is nearly always 0 is not a sort key.
    """
    scales = dict.fromkeys(names, 1.0)
    several = np.flatnonzero(lengths > 1)
    width = sum(prod(side[name].shape[2:]) for name in names)
    never_rises, falls = np.ones(width, bool), np.zeros(width, np.int64)
    for k in several:
        rows = _features(side, int(k), int(lengths[k]), scales)
        never_rises &= ~(np.diff(rows, axis=0) > 0).any(axis=0)
        falls += rows[-1] < rows[0]
    return {int(column) for column in np.flatnonzero(never_rises & (2 * falls >= len(several)))}


def _match(
    theirs: Mapping[str, Array], ours: dict[str, Array], names: Sequence[str], lengths: tuple[Shapes, Shapes]
) -> None:
    """Reorder the rows of `ours` to the nearest rows of `theirs`, sample by sample, in the same way for all `names`."""
    scales = {name: float(np.std(np.asarray(theirs[name], np.float64))) or 1.0 for name in names}
    placed = {name: np.array(ours[name]) for name in names}
    for k, (known, found) in enumerate(zip(*lengths, strict=True)):
        if not min(known, found):
            continue
        known_rows, rows = (_features(side, k, int(n), scales) for side, n in ((theirs, known), (ours, found)))
        if not (np.isfinite(known_rows).all() and np.isfinite(rows).all()):
            continue
        places = _places(known_rows, rows)
        if _apart(known_rows, rows, places) >= _apart(known_rows, rows, np.arange(found)):
            continue
        for name in names:
            placed[name][k] = 0
            placed[name][k, places] = ours[name][k, :found]
    ours.update(placed)


def _features(side: Mapping[str, Array], k: int, size: int, scales: Mapping[str, float]) -> NDArray[np.float64]:
    """The rows of the k-th sample as vectors, shape (size, numbers), with equal weights for all outputs."""
    parts = [np.asarray(side[name][k, :size], np.float64).reshape(size, -1) for name in scales]
    return np.concatenate([part / scale for part, scale in zip(parts, scales.values(), strict=True)], axis=1)


def _places(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> NDArray[np.int64]:
    """The new position of each of our rows: that of its nearest row of theirs, nearest pairs first; the rest last."""
    apart = (ours**2).sum(axis=1)[:, np.newaxis] + (theirs**2).sum(axis=1) - 2 * ours @ theirs.T
    nearest = apart.argmin(axis=1)
    if len(set(nearest)) == len(ours):
        return np.asarray(nearest, np.int64)
    places = np.full(len(ours), -1, np.int64)
    for _ in range(min(len(theirs), len(ours))):
        row, place = divmod(int(apart.argmin()), len(theirs))
        places[row] = place
        apart[row], apart[:, place] = np.inf, np.inf
    left = places < 0
    places[left] = len(theirs) + np.arange(int(left.sum()))
    return places


def _apart(theirs: NDArray[np.float64], ours: NDArray[np.float64], places: NDArray[np.int64]) -> float:
    """The sum of squared differences between our rows at `places` and theirs; unmatched rows do not count."""
    paired = places < len(theirs)
    return float(((ours[paired] - theirs[places[paired]]) ** 2).sum())
