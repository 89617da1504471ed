from __future__ import annotations

import hashlib
import os
from pathlib import Path
from time import sleep

import numpy as np
import pytest

from edgetf import digests, files
from edgetf.device.runner.job import Job
from edgetf.device.runner.run import _input_sha256
from edgetf.digests import known_sha256, remember, sha256_once, state_of
from edgetf.errors import EdgetfError
from edgetf.results import SamplesUsed, TensorSpec
from edgetf.samples import Array, load, load_same, load_samples, save_arrays
from edgetf.samples.inputs import write_inputs
from edgetf.samples.load import has_changed
from edgetf.samples.mapped import map_blocks
from edgetf.samples.npz import read_npz

TICK_S = 0.03
SPECS = (TensorSpec("x", (1, 4), "float32"),)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read for a digest."""
    read: list[Path] = []

    def counting(path: Path) -> str:
        read.append(path)
        return files.sha256_file(path)

    monkeypatch.setattr(digests, "sha256_file", counting)
    return read


def test_a_file_is_read_once_and_again_after_any_change(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    sleep(TICK_S)
    assert [sha256_once(path) for _ in range(3)] == [hashlib.sha256(b"one").hexdigest()] * 3
    assert len(reads) == 1
    times = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the time of change cannot be set back
    assert sha256_once(path) == hashlib.sha256(b"two").hexdigest()
    other = tmp_path / "b"
    other.write_bytes(b"new")
    other.replace(path)
    assert sha256_once(path) == hashlib.sha256(b"new").hexdigest()


def test_the_digest_of_a_file_that_was_just_written_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_TICK_NS", 10**12)  # a busy machine may take longer than a tick
    path = tmp_path / "a"
    path.write_bytes(b"one")
    sha256_once(path)
    assert known_sha256(path) is None


def test_inputs_are_hashed_while_they_are_written(tmp_path: Path, reads: list[Path]) -> None:
    values = np.random.default_rng(0).normal(size=(3000, 500)).astype(np.float32)
    order = np.random.default_rng(1).permutation(3000)
    for given in (None, order):
        path = Path(write_inputs({"x": values}, tmp_path, given)["x"])
        assert np.array_equal(np.load(path), values if given is None else values[given])
        assert known_sha256(path) == files.sha256_file(path) == sha256_once(path)
    assert reads == []


def test_the_runner_reads_inputs_that_changed_after_they_were_written(tmp_path: Path) -> None:
    path = Path(write_inputs({"x": np.zeros((3, 4), np.float32)}, tmp_path)["x"])
    state, digest = state_of(path), known_sha256(path)
    assert state is not None
    job = Job("m", {"x": str(path)}, known_inputs={"x": ["believed", *state]})
    assert _input_sha256(job, "x") == "believed"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert _input_sha256(job, "x") == files.sha256_file(path) != digest
    assert _input_sha256(Job("m", {"x": str(path)}), "x") == files.sha256_file(path)


def test_samples_know_whether_their_file_may_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    save_arrays(path, {"x": np.ones((5, 4), np.float32)})
    sleep(TICK_S)
    samples = load_samples(path, SPECS)
    assert not has_changed(samples)
    os.utime(path)
    assert has_changed(samples)
    path.unlink()
    assert has_changed(samples)


def test_a_damaged_file_is_not_the_same_samples_although_checksums_are_not_verified_first(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    save_arrays(path, {"x": np.ones((5, 4), np.float32)})
    used: SamplesUsed = load_samples(path, SPECS).used()
    assert load_same(path, SPECS, used) is not None
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(EdgetfError, match="damaged"):
        load_same(path, SPECS, used)
    save_arrays(path, {"x": np.zeros((5, 4), np.float32)})
    assert load_same(path, SPECS, used) is None


def test_large_samples_are_read_once_for_all_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_LARGE", 1)
    path = tmp_path / "s.npz"
    save_arrays(path, {"x": np.full((5, 4), np.nan, np.float32)})
    sleep(TICK_S)
    first = load_samples(path, SPECS, allow_nan=True)
    assert len(list((tmp_path / "cache" / "digests").iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(load, "make_samples", None)  # nothing is read again
        again = load_samples(path, SPECS, allow_nan=True)
        assert (again.digest, again.inputs_digest) == (first.digest, first.inputs_digest)
    with pytest.raises(EdgetfError, match="NaN"):  # which nobody has allowed now
        load_samples(path, SPECS)
    [kept] = (tmp_path / "cache" / "digests").iterdir()
    for damaged in (b"", b"a b", first.digest.encode(), b"\xff" * 129):
        kept.write_bytes(damaged)
        assert load_samples(path, SPECS, allow_nan=True).digest == first.digest
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)
    sleep(TICK_S)
    for _ in range(2):  # nothing is kept of a damaged file
        with pytest.raises(EdgetfError, match=r"damaged|not an \.npz"):
            load_samples(path, SPECS, allow_nan=True)


def test_a_file_that_is_replaced_before_it_is_mapped_does_not_get_the_digest_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_LARGE", 1)
    for k, name in enumerate(("one.npz", "two.npz")):
        save_arrays(tmp_path / name, {"x": np.full((5, 4), k, np.float32)})
    place = tmp_path / "place.npz"
    place.symlink_to(tmp_path / "one.npz")
    sleep(TICK_S)
    load_samples(place, SPECS)  # is known now

    def replaced(path: Path, check: bool) -> dict[str, Array]:
        place.unlink()
        place.symlink_to(tmp_path / "two.npz")
        return read_npz(path, check=check)

    monkeypatch.setattr(load, "read_npz", replaced)
    assert load_samples(place, SPECS).digest == load_samples(tmp_path / "two.npz", SPECS).digest


def test_the_state_of_a_file_with_times_in_seconds_is_kept_only_when_it_is_sure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path))
    now = 1_800_000_000_000_000_000
    monkeypatch.setattr(digests, "time_ns", lambda: now + 1_500_000_000)
    states = [digests.State(1, 1, 1 << 30, now + ns, now + ns) for ns in (0, 1)]
    assert [state.is_settled for state in states] == [False, True]  # the first may change again in the same tick
    for state in states:
        digests.keep(state, "", ["0" * 64])
    assert [digests.kept(state, "", 1) is not None for state in states] == [False, True]


def test_a_digest_is_remembered_without_waiting_for_a_clock_that_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"one")
    monkeypatch.setattr(digests, "time_ns", lambda: 0)
    remember(tmp_path / "a", "0" * 64)
    assert known_sha256(tmp_path / "a") is None


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETF_CACHE", "~nobody-has-this-name/cache")
    state = digests.State(1, 1, 1 << 30, 1, 1)
    digests.keep(state, "", ["0" * 64])
    assert digests.kept(state, "", 1) is None


def test_the_oldest_digests_leave_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path))
    monkeypatch.setattr(digests, "_MOST_FILES", 4)
    states = [digests.State(1, k, 1 << 30, 1, 1) for k in range(5)]
    for k, state in enumerate(states):
        digests.keep(state, "", ["0" * 64])
        os.utime(digests._place(state, ""), (k, k)) if k < 4 else None
    assert [digests.kept(state, "", 1) is not None for state in states] == [False, False, True, True, True]
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").touch()
    digests.keep(states[0], "", ["0" * 64])  # a cache that cannot be written changes nothing
    assert digests.kept(states[0], "", 1) is None


def test_blocks_come_in_their_order_from_threads() -> None:
    values = np.arange(5 << 20, dtype=np.float32).reshape(-1, 4)
    found = list(map_blocks(values, lambda begin, block: (begin, float(block[0, 0]), len(block))))
    assert len(found) > 3
    assert [begin for begin, _, _ in found] == sorted(begin for begin, _, _ in found)
    assert all(first == 4 * begin for begin, first, _ in found)
    assert sum(count for _, _, count in found) == len(values)


def test_an_error_in_a_thread_is_raised() -> None:
    def fail(begin: int, block: object) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(map_blocks(np.zeros((10, 2)), fail))


def test_remembering_a_file_that_is_gone_does_nothing(tmp_path: Path) -> None:
    remember(tmp_path / "gone", "digest")
    assert known_sha256(tmp_path / "gone") is None
