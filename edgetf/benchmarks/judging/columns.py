"""Groups of columns of an output that may be different quantities, and the SQNR of each group.

If a detector has boxes (0 to 640) and scores (0 to 1) in one output, the SQNR of the whole output ignores the scores.
Up to 16 columns along the last axis are separate groups. More are sorted by their spread: a new group begins if the
next spread is more than ten times smaller, or 30 times smaller than the first of the group. Channels-first detectors
have their quantities along axis 1, which is grouped in the same way if it is the shorter axis.
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
_LEAST_ULPS = 16 * 2.0**-23  # of the largest value: smaller variation is only rounding


@dataclass(frozen=True)
class Moments:
    """The mean over the samples, spread (RMS) and largest value of each position of an output, shape (positions,)."""

    mean: Floats
    spread: Floats
    largest: Floats


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
    """Whether a row of an output is an image, like one of the `inputs`: one quantity at every position.

    A row of 3 axes with 1, 3 or 4 channels, or of 2 axes of about one size, of the shape of an input. A row of one axis
    that has an input's length may hold anything.
    """
    sizes = tuple(row)
    if all(tuple(other) != sizes for other in inputs):
        return False
    if len(sizes) == 3:
        return sizes[2] in (1, 3, 4)
    return len(sizes) == 2 and min(sizes) > _ALIKE * max(sizes)


def find_groups(row: tuple[int, ...], moments: Moments) -> list[Groups]:
    """The Groups of an output whose samples have the shape `row`; none for an axis whose columns all belong together.

    Columns on which the Reference is constant are in no group.
    """
    found = []
    axes = [k for k in range(len(row)) if row[k] > 1]
    last = axes[-1] if axes else -1
    for axis in dict.fromkeys([last, *axes[:1]]):
        if axis < 0 or (axis != last and row[axis] >= row[last]):
            continue
        spread, largest = _per_column(row, axis, moments)
        alive = np.flatnonzero(spread > _LEAST_ULPS * largest)
        alone = axis == last and row[axis] <= _ALONE
        members = [np.array([k]) for k in alive] if alone else _by_gaps(alive, spread)
        if len(members) > 1:
            found.append(Groups(row, axis + 1, tuple(members)))
    return found


def _per_column(row: tuple[int, ...], axis: int, moments: Moments) -> tuple[Floats, Floats]:
    others = tuple(k for k in range(len(row)) if k != axis)
    spread = np.sqrt(np.square(moments.spread.reshape(row)).mean(axis=others))
    return spread, moments.largest.reshape(row).max(axis=others)


def _by_gaps(alive: NDArray[np.int64], spread: Floats) -> list[NDArray[np.int64]]:
    if not len(alive):
        return []
    order = alive[np.argsort(-spread[alive], kind="stable")]
    groups, most = [[order[0]]], spread[order[0]]
    for column in order[1:]:
        if spread[column] * _GAP < spread[groups[-1][-1]] or spread[column] * _MOST < most:
            groups.append([])
            most = spread[column]
        groups[-1].append(column)
    return [np.sort(one) for one in groups]


def _spans(columns: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    return tuple((int(run[0]), int(run[-1])) for run in runs)


def join_names(figures: Sequence[ColumnFigures]) -> str:
    """A name for the columns of several groups along one axis, such as "columns 4 to 6"."""
    columns = sorted(k for one in figures for first, last in one.spans for k in range(first, last + 1))
    spans = _spans(np.array(columns))
    parts = [f"{first} to {last}" if last > first else str(first) for first, last in spans]
    shown = parts if len(parts) <= 4 else [*parts[:3], f"{len(parts) - 3} more"]
    noun = "column" if len(columns) == 1 else "columns"
    return f"{noun} {', '.join(shown)}"
