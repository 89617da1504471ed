"""Groups of columns of an output that may be different quantities, and the SQNR of each group.

If a detector has boxes (0 to 640) and scores (0 to 1) in one output, the SQNR of the whole output ignores the scores.
Up to 16 columns along the last axis are separate groups. More are sorted by their spread: a new group begins if the
next spread is more than ten times smaller, or 30 times smaller than the first of the group. The first axis is grouped
in the same way if it is shorter, as in channels-first detectors. The columns of any other axis may be places or times,
along which the spread changes smoothly and may fade towards both edges. They are grouped only if it leaps, which also
shows that an output of the shape of an image is a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import statistics
from edgetf.results import ColumnFigures

Floats = NDArray[np.float64]
_ALONE = 16  # maximum number of columns that are not grouped
_GAP, _MOST = 10.0, 30.0  # between neighbours, and within a group
_ALIKE = 0.5  # the sides of an image
_EDGE, _EDGE_OF_IMAGE = 16, 8  # the edge of an axis is this part of its columns at either end
_LEAST_VALUES = 10.0  # that make up the spread of a place: fewer are events that happen to be elsewhere
_ROUNDING = 1e-6  # of probabilities
_LEAST_ULPS = 16 * 2.0**-23  # of the largest value: smaller variation is only rounding


@dataclass(frozen=True)
class Moments:
    """The mean over `n` samples, spread (RMS), lowest and highest value of each position, shape (positions,)."""

    n: int
    mean: Floats
    spread: Floats
    low: Floats
    high: Floats

    @property
    def largest(self) -> Floats:
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def deviation(self) -> Floats:
        """The largest deviation from the mean."""
        return np.maximum(self.high - self.mean, self.mean - self.low)


@dataclass(frozen=True)
class Groups:
    """Groups along one axis: `members` are their columns; `row` is the shape of a sample."""

    row: tuple[int, ...]
    axis: int
    members: tuple[NDArray[np.int64], ...]

    def sums(self, values: NDArray[Any]) -> Floats:
        """Sums over each group, shape (rows, groups), of values of shape (rows, positions)."""
        by_column = self._by_column(values).sum(axis=(1, 3))
        return np.stack([by_column[:, one].sum(axis=1) for one in self.members], axis=1)

    def largest(self, values: NDArray[Any]) -> Floats:
        """The largest of each group, shape (groups,), of values of shape (rows, positions)."""
        by_column = self._by_column(values).max(axis=(0, 1, 3))
        return np.array([by_column[one].max() for one in self.members])

    def varying(self, varies: NDArray[np.bool_]) -> list[bool]:
        """Whether any position of each group varies; `varies` has the shape (positions,)."""
        by_column = self._by_column(varies[np.newaxis]).any(axis=(0, 1, 3))
        return [bool(by_column[one].any()) for one in self.members]

    def _by_column(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of shape (rows, before, columns, after)."""
        before = int(np.prod(self.row[: self.axis - 1], dtype=np.int64))
        return values.reshape(len(values), before, self.row[self.axis - 1], -1)

    def figures(
        self, powers: tuple[Floats, Floats], largest: tuple[Floats, Floats], constant: Sequence[bool]
    ) -> tuple[ColumnFigures, ...]:
        """The SQNR about the mean of each group.

        `powers` are those of signal and noise in each sample and group, shape (n, groups); `largest` the error and the
        value of each group.
        """
        signal, noise = powers
        noisy = [k for k in range(len(self.members)) if noise[:, k].any()]
        bounds = {}
        if noisy and len(signal) > 1:
            found = statistics.sqnr_intervals(signal[:, noisy], noise[:, noisy])
            bounds = dict(zip(noisy, found, strict=True))
        figures = []
        for k, columns in enumerate(self.members):
            low, high = bounds.get(k, (np.nan, np.nan))
            figures.append(
                ColumnFigures(
                    axis=self.axis,
                    spans=_spans(columns),
                    centred_db=float(10 * np.log10(signal[:, k].sum() / noise[:, k].sum())) if k in noisy else None,
                    centred_low_db=low if np.isfinite(low) else None,
                    centred_high_db=high if np.isfinite(high) else None,
                    constant=constant[k],
                    max_abs=float(largest[0][k]),
                    max_abs_reference=float(largest[1][k]),
                )
            )
        return tuple(figures)


def is_image(row: Sequence[int], inputs: Iterable[Sequence[int]]) -> bool:
    """Whether a row of an output may be an image, like one of the `inputs`: one quantity at every position.

    A row of 3 axes with 1, 3 or 4 channels, or of 2 axes of about one size, of the shape of an input. A row of one axis
    that has an input's length may hold anything. A table of sensors may have such a shape too: see `find_groups`.
    """
    sizes = tuple(row)
    if all(tuple(other) != sizes for other in inputs):
        return False
    if len(sizes) == 3:
        return sizes[2] in (1, 3, 4) or sizes[0] in (1, 3, 4)
    return len(sizes) == 2 and min(sizes) > _ALIKE * max(sizes)


def find_groups(row: tuple[int, ...], moments: Moments, image: bool = False) -> list[Groups]:
    """The Groups of an output whose samples have the shape `row`; none for an axis whose columns all belong together.

    Columns on which the Reference is constant are in no group. `image` as in `find_quantities`.
    """
    along = find_quantities(row, moments, image)
    table = not image or any(len(members) > 1 for members in along.values())
    last = max(along, default=-1)
    found = []
    for axis, members in along.items():
        if axis == last and table and row[axis] <= _ALONE:
            members = [np.array([k]) for k in np.sort(np.concatenate(members))] if members else []
        if len(members) > 1:
            found.append(Groups(row, axis + 1, tuple(members)))
    return found


def find_quantities(row: tuple[int, ...], moments: Moments, image: bool = False) -> dict[int, list[NDArray[np.int64]]]:
    """The columns that may be of one quantity, for each axis of `row` with several columns, the last axis first.

    Columns on which the Reference is constant are left out. An output that may be an `image` is one quantity unless the
    spread leaps along an axis: then it is a table.
    """
    found = {}
    axes = [k for k in range(len(row)) if row[k] > 1]
    for axis in [*axes[-1:], *axes[:-1]]:
        spread, largest = per_column(row, axis, moments)
        alive = np.flatnonzero(spread > _LEAST_ULPS * largest)
        if not image and (axis == axes[-1] or (axis == axes[0] and row[axis] < row[axes[-1]])):
            found[axis] = _by_gaps(alive, spread, _MOST)
        else:
            found[axis] = _of_places(row, axis, moments, alive, image)
    if image and any(len(members) > 1 for members in found.values()):
        plain = find_quantities(row, moments)
        return {axis: members if len(members) > 1 else plain[axis] for axis, members in found.items()}
    return found


def per_column(row: tuple[int, ...], axis: int, moments: Moments) -> tuple[Floats, Floats]:
    """The spread (RMS) and the largest value of each column along an axis of `row`, shape (columns,)."""
    others = tuple(k for k in range(len(row)) if k != axis)
    spread = np.sqrt(np.square(moments.spread.reshape(row)).mean(axis=others))
    return spread, moments.largest.reshape(row).max(axis=others)


def _of_places(
    row: tuple[int, ...], axis: int, moments: Moments, alive: NDArray[np.int64], image: bool
) -> list[NDArray[np.int64]]:
    """The columns of an axis that may be places, in several groups if the spread leaps from one to the next.

    Its logarithm then bends by that of `_GAP`. Faint columns (not in the first group) do not count on the edge of the
    axis, such as nearly black borders. Probabilities, of which hardly any may occur at some places, are one quantity.
    """
    if not image and moments.low.min() >= -_ROUNDING and moments.high.max() <= 1 + _ROUNDING:
        return [alive]
    spread, _ = per_column(row, axis, moments)
    deviation = np.moveaxis(moments.deviation.reshape(row), axis, -1).reshape(-1, row[axis])
    values = moments.n * len(deviation) * np.square(spread[alive] / deviation.max(axis=0)[alive])
    known, rare = alive[values >= _LEAST_VALUES], alive[values < _LEAST_VALUES]
    members = _by_gaps(known, spread, _MOST if image else np.inf)
    if len(members) < 2:
        return [alive]
    edge = row[axis] // (_EDGE_OF_IMAGE if image else _EDGE)
    inner = known[edge : len(known) - edge]
    kept = np.union1d(members[0], inner)
    bends = np.diff(np.log(spread[kept]), 2 if len(kept) > 2 else 1)
    if len(kept) == len(members[0]) or np.abs(bends).max() < np.log(_GAP):
        return [alive]
    return [np.union1d(members[0], rare), *members[1:]]


def _by_gaps(alive: NDArray[np.int64], spread: Floats, within: float) -> list[NDArray[np.int64]]:
    if not len(alive):
        return []
    order = alive[np.argsort(-spread[alive], kind="stable")]
    groups, most = [[order[0]]], spread[order[0]]
    for column in order[1:]:
        if spread[column] * _GAP < spread[groups[-1][-1]] or spread[column] * within < most:
            groups.append([])
            most = spread[column]
        groups[-1].append(column)
    return [np.sort(one) for one in groups]


def _spans(columns: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    return tuple((int(run[0]), int(run[-1])) for run in runs)


def join_names(figures: Sequence[ColumnFigures]) -> str:
    """A name for the columns of several groups along one axis, such as "columns 4 to 6"."""
    return name_columns(sorted(k for one in figures for first, last in one.spans for k in range(first, last + 1)))


def name_columns(columns: Sequence[int]) -> str:
    """A name for columns in order, such as "columns 4 to 6"."""
    spans = _spans(np.array(columns))
    parts = [f"{first} to {last}" if last > first else str(first) for first, last in spans]
    shown = parts if len(parts) <= 4 else [*parts[:3], f"{len(parts) - 3} more"]
    noun = "column" if len(columns) == 1 else "columns"
    return f"{noun} {', '.join(shown)}"
