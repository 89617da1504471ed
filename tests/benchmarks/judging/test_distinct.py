"""Identical samples are found exactly, whatever their size; large ones are first compared by a part of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edgetf.benchmarks.judging import distinct
from edgetf.benchmarks.judging.distinct import find_copies, find_distinct, find_shared

LARGE = distinct._PART * 3


@given(arrays.arrays(np.float32, st.tuples(st.integers(2, 12), st.just(6)), elements=st.sampled_from([0.0, -0.0, 1.0])))
def test_groups_are_those_of_equal_rows_even_if_a_part_stands_for_them(x: NDArray[np.float32]) -> None:
    known = np.unique(x + 0, axis=0, return_inverse=True)[1].reshape(-1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distinct, "_PART", 2)
        found = find_distinct({"x": x})
    if found is None:
        assert len(set(known)) == len(x)
    else:
        assert ((found.group[:, None] == found.group) == (known[:, None] == known)).all()


def test_large_samples_that_differ_outside_of_the_part_are_not_the_same() -> None:
    x = np.tile(np.random.default_rng(0).normal(size=LARGE).astype(np.float32), (4, 1))
    outside = int(np.setdiff1d(np.arange(LARGE), distinct._part_of(x))[0])
    x[1, outside] += 1
    x[3, outside] += 2
    found = find_distinct({"x": x})
    assert found is not None
    assert found.group.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("form", [(LARGE,), (LARGE // 3, 3), (64, LARGE // 64)])
def test_large_copies_with_a_trace_of_noise_count_once_for_the_warning(form: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    originals = random.normal(size=(40, *form))
    copies = originals[random.integers(40, size=400)]
    x = (copies + 1e-3 * random.normal(size=copies.shape)).astype(np.float32)
    found, unlike = find_copies({"x": x})
    assert found is None
    assert unlike == len(np.unique(copies.reshape(400, -1)[:, 0]))


def test_large_samples_of_their_own_are_not_taken_for_copies() -> None:
    x = np.random.default_rng(2).normal(size=(500, LARGE)).astype(np.float32)
    assert find_copies({"x": x}) == (None, 500)
    blank = np.zeros((3, LARGE), np.float32)  # the part of each is the same
    blank[np.arange(3), np.setdiff1d(np.arange(LARGE), distinct._part_of(blank))[:3]] = 1
    assert find_copies({"x": blank}) == (None, 3)


def test_memory_does_not_grow_with_large_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, size = 400, 80_000  # 128 MB, of which nothing is on the disk
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(rows * size * 4)
    values = np.memmap(tmp_path / "zeros", np.float32, "r", shape=(rows, size))

    def of_files() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssFile"))

    def finite(block: NDArray[np.float32]) -> NDArray[np.float64]:
        resident.append(of_files())
        return block.astype(np.float64)

    monkeypatch.setattr(distinct, "_finite", finite)
    resident = [of_files()]
    distinct._columns_of(values, distinct._part_of(values))  # reads places in rows that are far apart
    assert max(resident) - resident[0] < 32 << 20


def test_large_samples_are_shared_only_if_all_of_their_numbers_are() -> None:
    x = np.random.default_rng(3).normal(size=(6, LARGE)).astype(np.float32)
    other = x[[5, 1, 3]].copy()
    other[1, np.setdiff1d(np.arange(LARGE), distinct._part_of(x))[0]] += 1
    assert find_shared({"x": x}, {"x": other}).tolist() == [False, False, False, True, False, True]
    label = np.arange(6)
    assert find_shared({"x": x, "y": label}, {"x": other, "y": np.array([5, 1, 9])}).tolist() == [False] * 5 + [True]
