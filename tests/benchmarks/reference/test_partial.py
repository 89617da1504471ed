from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgetf import files
from edgetf.benchmarks.reference.partial import Partial
from edgetf.errors import EdgetfError, KeptInterrupt
from edgetf.events import Event, Note

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.int64, np.uint8, np.bool_]), hnp.array_shapes(max_dims=3, max_side=5)
)


@settings(deadline=None, max_examples=40)
@given(array=ARRAYS, other=st.integers(1, 9), stop=st.integers(1, 5), more=st.integers(0, 4))
def test_what_was_said_to_be_written_is_all_that_comes_back(
    array: NDArray[Any], other: int, stop: int, more: int
) -> None:
    """Rows are appended one by one; the run dies after `stop` were saved and `more` were not, and goes on."""
    with tempfile.TemporaryDirectory() as work:
        folder, out = Path(work, "partial"), Path(work, "out")
        out.mkdir()
        rows = {"a": array, "b": np.arange(len(array) * other, dtype=np.float64).reshape(len(array), other)}
        first = Partial(folder, "key")
        for k in range(min(stop + more, len(array))):
            first.append({name: values[k : k + 1] for name, values in rows.items()}, k + 1, 1)
            if k + 1 == min(stop, len(array)):
                first.save()
        second = Partial(folder, "key")
        assert second.progress is not None
        begun = second.progress.done
        assert begun == min(stop, len(array))
        for k in range(begun, len(array)):
            second.append({name: values[k : k + 1] for name, values in rows.items()}, k + 1, 1)
        for name, (path, shapes) in second.finish(out).items():
            assert shapes is None
            found = np.load(path, mmap_mode="r")
            assert found.dtype == rows[name].dtype
            np.testing.assert_array_equal(found, rows[name])
        second.discard()
        assert not folder.exists()


def test_another_key_and_files_that_are_too_short_start_over(tmp_path: Path) -> None:
    for spoil in ("key", "file", "progress"):
        begun = Partial(tmp_path / "partial", "key")
        begun.append({"a": np.zeros((4, 3))}, 4, 4)
        begun.save()
        if spoil == "file":
            (tmp_path / "partial" / "output-0.npy").write_bytes(b"short")
        if spoil == "progress":
            (tmp_path / "partial" / "progress.json").write_text("{")
        notes: list[Event] = []
        assert Partial(tmp_path / "partial", "other" if spoil == "key" else "key", notes.append).progress is None
        assert not (tmp_path / "partial").exists()
        why = "has another model, samples, device or precision" if spoil == "key" else "is damaged"
        assert notes == [Note(f"the interrupted run in {tmp_path / 'partial'} {why}: starting over")]


def test_a_run_that_resumes_or_left_nothing_is_not_reported(tmp_path: Path) -> None:
    notes: list[Event] = []
    begun = Partial(tmp_path / "partial", "key", notes.append)
    begun.append({"a": np.zeros((4, 3))}, 4, 4)
    Partial(tmp_path / "partial", "key", notes.append)  # it was killed before it has recorded anything
    begun = Partial(tmp_path / "partial", "key", notes.append)
    begun.append({"a": np.zeros((4, 3))}, 4, 4)
    begun.save()
    assert Partial(tmp_path / "partial", "key", notes.append).progress is not None
    assert notes == []


def test_an_output_that_changes_its_number_of_axes_is_refused(tmp_path: Path) -> None:
    begun = Partial(tmp_path / "partial", "key")
    begun.append({"a": np.zeros((4, 3))}, 4, 4)
    with pytest.raises(EdgetfError, match="changes its type or its axes"):
        begun.append({"a": np.zeros((4, 3, 1))}, 8, 4)


def test_rows_of_different_lengths_are_padded_and_survive_an_interruption(tmp_path: Path) -> None:
    rows = [np.full((1, k, 2), k, np.float32) for k in (2, 0, 3, 1)]
    first = Partial(tmp_path / "partial", "key")
    for k in (0, 1):
        first.append({"boxes": rows[k]}, k + 1, 1)
    first.save()
    first.append({"boxes": rows[3]}, 3, 1)  # lost with the process
    second = Partial(tmp_path / "partial", "key")
    assert second.progress is not None
    assert second.progress.done == 2
    for k in (2, 3):
        second.append({"boxes": rows[k]}, k + 1, 1)
    path, shapes = second.finish(tmp_path)["boxes"]
    assert shapes is not None
    assert np.load(shapes).tolist() == [[2, 2], [0, 2], [3, 2], [1, 2]]
    assert np.load(path)[:, :, 0].tolist() == [[2, 2, 0], [0, 0, 0], [3, 3, 3], [1, 0, 0]]


@pytest.mark.parametrize("lengths", [(2, 2, 2, 2), (2, 0, 3, 1), (3, 3, 1, 1)])
def test_parts_that_are_joined_are_the_same_files_as_rows_that_are_appended(
    tmp_path: Path, lengths: tuple[int, ...]
) -> None:
    rows = [{"boxes": np.full((1, k, 2), n, np.float32), "a": np.arange(n, n + 1)} for n, k in enumerate(lengths)]
    whole, joined = Partial(tmp_path / "whole", "key"), Partial(tmp_path / "joined", "key")
    for k, row in enumerate(rows):
        whole.append(row, k + 1, 1)
    for begin in (0, 1, 3):  # ranges of one, two and one samples
        part = Partial(tmp_path / f"part-{begin}", "range")
        for k, row in enumerate(rows[begin : {0: 1, 1: 3, 3: 4}[begin]]):
            part.append(row, k + 1, 1)
        part.save()
        joined.extend(Partial(part.folder, "range"))
    assert joined.progress == whole.progress
    found = []
    for one in (whole, joined):
        (out := tmp_path / f"{one.folder.name}-out").mkdir()
        one.finish(out)
        found.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert found[0] == found[1]
    other = Partial(tmp_path / "other", "range")
    other.append({"boxes": np.zeros((1, 2), np.float32), "a": np.zeros(1, np.int64)}, 1, 1)
    with pytest.raises(EdgetfError, match="changes its type or its axes"):
        joined.extend(other)


DAMAGES: list[Callable[[dict[str, Any]], object]] = [
    lambda plain: plain.update(done=-1),
    lambda plain: plain.update(batch=0),
    lambda plain: plain.update(outputs=[]),
    lambda plain: plain["outputs"][0].update(file="../victim"),
    lambda plain: plain["outputs"][0].update(file="output-0.npy\0"),
    lambda plain: plain["outputs"][0].update(file="x" * 5000),
    lambda plain: plain["outputs"][0].update(dtype="no such"),
    lambda plain: plain["outputs"][0].update(dtype="O"),
    lambda plain: plain["outputs"][0].update(shape=[-3]),
    lambda plain: plain["outputs"][0].update(rows=-4),
    lambda plain: plain["outputs"][0].update(rows=10**30),
    lambda plain: plain["outputs"][0].update(shape=[10**30, 10**30]),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_progress_never_blocks_a_rerun_or_harms_other_files(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    for name in ("victim", "victim.shapes"):
        (tmp_path / name).write_bytes(bytes(10_000))
    begun = Partial(tmp_path / "partial", "key")
    begun.append({"a": np.zeros((4, 3))}, 4, 4)
    begun.save()
    file = tmp_path / "partial" / "progress.json"
    plain = json.loads(file.read_text())
    damage(plain)
    file.write_text(json.dumps(plain))
    notes: list[Event] = []
    again = Partial(tmp_path / "partial", "key", notes.append)
    assert again.progress is None
    assert [note.text for note in notes if isinstance(note, Note) and "is damaged: starting over" in note.text]
    assert not (tmp_path / "partial").exists()
    assert (tmp_path / "victim").stat().st_size == 10_000


def test_an_interruption_names_what_is_kept_and_how_to_resume(tmp_path: Path) -> None:
    begun = Partial(tmp_path / "partial", "key")
    begun.append({"a": np.zeros((4, 3))}, 4, 4)
    with pytest.raises(KeptInterrupt, match="the outputs of 4 samples kept in") as caught, begun.interruptible():
        raise KeyboardInterrupt
    assert "the same command resumes" in caught.value.hint
    assert Partial(tmp_path / "partial", "key").progress is not None


def test_an_interruption_before_the_first_sample_leaves_nothing(tmp_path: Path) -> None:
    begun = Partial(tmp_path / "partial", "key")
    with pytest.raises(KeyboardInterrupt) as caught, begun.interruptible():
        raise KeyboardInterrupt
    assert not isinstance(caught.value, KeptInterrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_what_was_saved_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = Partial(tmp_path / "partial", "key")
    begun.append({"a": np.zeros((4, 3))}, 4, 4)
    begun.save()
    begun.append({"a": np.zeros((4, 3))}, 8, 4)

    def full(*_: object) -> None:
        raise EdgetfError("No space left on device")

    monkeypatch.setattr(files, "write_document", full)
    with pytest.raises(OSError, match="No space"), begun.interruptible():
        raise OSError(28, "No space left on device")
    again = Partial(tmp_path / "partial", "key")
    assert again.progress is not None
    assert again.progress.done == 4
