"""Identical samples. In: the inputs of all samples, in the order of the run. Out: the group of each sample.

A repeated sample adds no evidence: intervals are computed from distinct samples. Two samples are the same if the
digests of all their inputs are, and two inferences on several samples each if all their samples are. Copies with a
trace of noise are also counted, but only for a warning: figures must not depend on similarity, because a whole class of
quiet samples could become one. Only a few numbers are kept per sample: a million samples take about 100 MB. Of large
samples only a part is read: those that differ there differ, and only the others are read whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.samples import Array
from edgetf.samples.mapped import BLOCK_BYTES, map_blocks, release

Floats = NDArray[np.float64]
Sketch = NDArray[np.float32]
Integers = NDArray[np.int64]
# numbers of a larger sample that are read first: this many at a time, which is what a processor reads from memory at
# once, at random places that are the same for all samples
_PART, _RUN = 1024, 16
_LEAST_NUMBERS = 8  # minimum size of a sample: smaller ones may be similar by chance
_SKETCH = 8  # numbers in the sketch of a sample: sums of its numbers with random signs
# shares of a sample's own deviation: a smaller difference may be noise on a copy. Starting with the largest, the first
# is used that leaves as many groups as the one before. If samples are similar without being copies (as with only one
# varying property), each leaves a different number of groups
_TRACES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_STABLE = 0.9
_ROWS = 2000  # about as many give the mean and the deviation of each column
_GRIDS = 12  # of cells of that size, each moved: two copies at a border lie in one cell of another grid


@dataclass(frozen=True)
class Distinct:
    """The `group` of each sample, shape (n,): numbers from 0, in the order of their first occurrence."""

    group: Integers

    @property
    def first(self) -> NDArray[np.bool_]:
        """Whether each sample is the first of its group."""
        found = np.zeros(len(self.group), bool)
        found[np.unique(self.group, return_index=True)[1]] = True
        return found

    @property
    def count(self) -> int:
        return int(self.group.max()) + 1

    def upto(self, n: int) -> Distinct:
        """The groups of the first `n` samples."""
        return Distinct(self.group[:n])

    def of_rows(self, rows: int) -> Distinct:
        """The groups of `rows` inferences on as many samples each: the same if all their samples are, in their order.

        An output without an axis for samples has such rows. If the samples are not a multiple, the last row has fewer.
        """
        each = -(-len(self.group) // rows)
        if each == 1:
            return self
        filled = np.full(rows * each, -1, np.int64)
        filled[: len(self.group)] = self.group
        return Distinct(_in_order(_numbered(filled.reshape(rows, each))))

    def sums(self, values: Floats) -> Floats:
        """The sum of each group's values, shape (groups, ...), of those of shape (n, ...)."""
        found = np.zeros((self.count, *values.shape[1:]))
        np.add.at(found, self.group, values)
        return found

    def means(self, values: Floats) -> Floats:
        """The mean of each group's values, shape (groups,), of those of shape (n,)."""
        return np.asarray(np.bincount(self.group, values) / np.bincount(self.group))


def find_distinct(inputs: Mapping[str, Array]) -> Distinct | None:
    """The groups of the samples with these inputs (by name); None if no two are the same."""
    return _grouped([_exactly(values) for values in inputs.values()])


def find_copies(inputs: Mapping[str, Array]) -> tuple[Distinct | None, int]:
    """Those groups, and the number of samples if those that differ only by a trace of noise count once.

    The latter is only for a warning.
    """
    exact = [_exactly(values) for values in inputs.values()]
    alike = [_alike(values, known) for values, known in zip(inputs.values(), exact, strict=True)]
    return _grouped(exact), int(_together(alike).max()) + 1


def find_shared(inputs: Mapping[str, Array], others: Mapping[str, Array]) -> NDArray[np.bool_]:
    """Whether each sample with these inputs (by name) is also among `others`; those of other shapes are others."""
    n = len(next(iter(inputs.values())))
    if any(name not in others or others[name].shape[1:] != values.shape[1:] for name, values in inputs.items()):
        return np.zeros(n, bool)
    ours, theirs = list(inputs.values()), [np.asarray(others[name], values.dtype) for name, values in inputs.items()]
    parts = [_part_of(values) for values in ours]
    mine, known = _keys(ours, parts), _keys(theirs, parts)
    shared = _among(mine, known)
    if shared.any() and any(len(part) < values[0].size for part, values in zip(parts, ours, strict=True)):
        alike = np.flatnonzero(shared), np.flatnonzero(_among(known, mine))
        whole: list[Integers | None] = [None] * len(ours)
        shared[alike[0]] = _among(_keys(ours, whole, alike[0]), _keys(theirs, whole, alike[1]))
    return shared


def describe_distinct(n: int, distinct: int | None) -> str:
    """A phrase on the number of distinct samples among `n`; empty if all are."""
    samples = "sample" if distinct == 1 else "samples"
    return "" if distinct is None or distinct == n else f"{distinct:,} distinct {samples} of {n:,}"


def _keys(
    inputs: Sequence[Array], parts: Sequence[Integers | None], rows: Integers | None = None
) -> list[tuple[int, ...]]:
    """What tells samples apart, by the numbers at the places `parts` of each input: all samples, or those `rows`."""
    digests = [_digests(values, part, rows).tolist() for values, part in zip(inputs, parts, strict=True)]
    return list(zip(*digests, strict=True))


def _among(keys: Sequence[tuple[int, ...]], others: Sequence[tuple[int, ...]]) -> NDArray[np.bool_]:
    known = set(others)
    return np.array([key in known for key in keys], bool)


def _together(keys: list[Integers]) -> Integers:
    """A number for each row, the same for rows that have the same number in all of `keys`."""
    return _numbered(keys[0] if len(keys) == 1 else np.stack(keys, axis=1))


def _grouped(exact: list[Integers]) -> Distinct | None:
    group = _in_order(_together(exact))
    return None if int(group.max()) + 1 == len(group) else Distinct(group)


def _alike(values: Array, exact: Integers) -> Integers:
    """A number for each row, the same for rows that are alike; `exact` has one for those that are the same."""
    measured = values.dtype.kind == "f" or values.dtype == np.uint8
    if not measured or values[0].size < _LEAST_NUMBERS:
        return exact
    with np.errstate(all="ignore"):  # numbers may overflow: then the digests count
        return _nearly(values, exact)


def _exactly(values: Array) -> Integers:
    """A number for each row, the same for rows that are the same."""
    part = _part_of(values)
    found = _numbered(_digests(values, part))
    if len(part) == values[0].size:
        return found
    alike = np.flatnonzero(np.bincount(found)[found] > 1)
    if not len(alike):
        return found
    whole = np.zeros(len(found), np.int64)
    whole[alike] = _digests(values, None, alike)
    return _numbered(np.stack([found, whole], axis=1))


def _part_of(values: Array) -> Integers:
    """The places of the numbers in a row that stand for it: all, or _PART of them."""
    size = int(values[0].size)
    if size <= _PART:
        return np.arange(size)
    run = min(_RUN, _PART)
    begins = run * np.sort(np.random.default_rng(2).choice(size // run, _PART // run, replace=False))
    return np.asarray(begins[:, np.newaxis] + np.arange(run), np.int64).reshape(-1)


def _digests(values: Array, part: Integers | None, rows: Integers | None = None) -> Integers:
    """The first 8 bytes of the digest of each of the `rows` (all), or of the numbers at the places `part` of it.

    A million rows collide once in 30 million cases.
    """
    return np.concatenate(list(map_blocks(values, lambda begin, block: _digests_of(_taken(block, part)), rows)))


def _taken(block: Array, part: Integers | None) -> Array:
    """The rows of a block, shape (n, numbers), or the numbers at the places `part` of them."""
    rows = block.reshape(len(block), -1)
    return rows if part is None or len(part) == rows.shape[1] else rows[:, part]


def _digests_of(rows: NDArray[Any]) -> Integers:
    """The digest of each row of shape (n, numbers)."""
    if rows.dtype.kind == "f":
        rows = rows + rows.dtype.type(0)  # -0.0 is 0.0
    # SHA-1 is as fast as BLAKE2b, or twice as fast on processors with instructions for it
    digests = b"".join(hashlib.sha1(np.ascontiguousarray(row).data, usedforsecurity=False).digest()[:8] for row in rows)
    return np.frombuffer(digests, "<i8").astype(np.int64)


def _nearly(values: Array, exact: Integers) -> Integers:
    """The same numbers, or fewer if rows differ only by noise."""
    sketch = _sketch(values)
    known = np.flatnonzero(np.isfinite(sketch).all(axis=1))
    if len(known) < 2:
        return exact
    sketch, found, before = sketch[known], _first_of(exact), 0
    for trace in _TRACES:
        joined = _joined(sketch, exact[known], trace)
        count = len(np.unique(joined))
        if before >= _STABLE * count:
            found[known] = known[joined]
            return found
        before = count
    return exact


def _joined(sketch: Sketch, exact: Integers, trace: float) -> Integers:
    """For each row the first similar one. Chains of small steps do not join dissimilar rows."""
    random, leader = np.random.default_rng(0), _first_of(exact)
    for _ in range(_GRIDS):
        mixed = np.zeros(len(sketch), np.int64)  # modulo 2**64: a number for a cell
        for column in sketch.T:  # one by one, as it is memory
            cells = np.floor(column / trace + random.uniform()).astype(np.int64)
            mixed += cells * random.integers(1, 1 << 62)
        leader = np.minimum(leader, _first_of(mixed))
    above, near = leader[leader], np.ones(len(sketch), bool)
    for column in sketch.T:
        near &= np.abs(column - column[above]) <= 2 * trace
    return np.asarray(np.where(near, above, leader), np.int64)


def _sketch(values: Array) -> Sketch:
    """A sketch of each row, shape (n, ...): sums of its numbers (of a large row, of a part) with random signs.

    The numbers are centred and divided by their deviation, so that quiet and loud rows have the same distances. Mean
    and deviation are part of the sketch. All of this is repeated without what all rows share, such as gravity. (This
    part alone would not suffice, because the shared part may exceed a quiet row.) All columns of the last axis have the
    same weight, because they may have different units. Values that are not finite count as 0. A row without deviation
    has no finite sketch.

    Every sum is linear in the numbers x or in their squares, so that one product with a matrix gives all of a block.
    """
    part = _part_of(values)
    size = len(part)
    centre, scale = _columns_of(values, part)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (size, _SKETCH)) / np.sqrt(size)
    drawn = signs.sum(axis=0)
    of_x = np.column_stack([signs * scale[:, np.newaxis], scale, centre * scale**2])
    of_centre, squares_of_centre = centre @ of_x[:, :-1], float(centre**2 @ scale**2)

    def draw(begin: int, block: Array) -> Sketch:
        x = _finite(_taken(block, part))
        with np.errstate(all="ignore"):  # which each thread has for itself
            sums, squares = x @ of_x, x**2 @ scale**2
            both = [
                _standardized(sums[:, :-1], squares, drawn, size),
                _standardized(sums[:, :-1] - of_centre, squares - 2 * sums[:, -1] + squares_of_centre, drawn, size),
            ]
            return np.concatenate(both, axis=1).astype(np.float32)

    return np.concatenate(list(map_blocks(values, draw)))


def _columns_of(values: Array, part: Integers) -> tuple[Floats, Floats]:
    """For each place of `part`, the mean and the inverse deviation (0 for none) of its column of the last axis.

    They are computed from some rows that are evenly apart, and from what `part` has of a column.
    """
    columns = values.shape[-1]
    some = np.arange(0, len(values), -(-len(values) // _ROWS))
    total, squares = np.zeros(len(part)), np.zeros(len(part))
    rows = values.reshape(len(values), -1)
    step = max(1, BLOCK_BYTES // max(1, rows[0].nbytes))
    for k in range(0, len(some), step):
        x = _finite(rows[some[k : k + step, np.newaxis], part])
        total += x.sum(axis=0)
        squares += np.einsum("ij,ij->j", x, x)
        release(values)  # places all over these rows were read: all of their pages are in memory
    column = part % columns
    count = np.maximum(np.bincount(column, minlength=columns), 1) * len(some)
    centre = np.bincount(column, total, columns) / count
    deviation = np.sqrt(np.maximum(np.bincount(column, squares, columns) / count - centre**2, 0.0))
    inverse = np.divide(1.0, deviation, out=np.zeros(columns), where=deviation > 0)
    return centre[column], inverse[column]


def _standardized(sums: Floats, squares: Floats, drawn: Floats, size: int) -> Floats:
    """The part of a sketch from the `sums` of rows: those with random signs (`drawn` in all), and the total."""
    mean = sums[:, -1:] / size
    own = np.sqrt(np.maximum(squares[:, np.newaxis] / size - mean**2, 0.0))
    return np.concatenate([(sums[:, :-1] - mean * drawn) / own, mean / own, np.log(own)], axis=1)


def _finite(block: Array) -> Floats:
    x = np.asarray(block, np.float64)
    return x if np.isfinite(x).all() else np.nan_to_num(x, posinf=0.0, neginf=0.0)


def _first_of(key: Integers) -> Integers:
    """For each row the first one with the same key."""
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.reshape(-1)], np.int64)


def _numbered(keys: NDArray[Any]) -> Integers:
    """Equal rows as equal numbers from 0."""
    axis = 0 if keys.ndim > 1 else None
    return np.asarray(np.unique(keys, axis=axis, return_inverse=True)[1], np.int64).reshape(-1)


def _in_order(key: Integers) -> Integers:
    """The numbers in the order in which they first occur."""
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse.reshape(-1)], np.int64)
