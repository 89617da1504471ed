"""Files of killed processes are found; files that still have an owner are not touched."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from edgetf import owned
from edgetf.owned import abandoned, new_name, own_temporary, remove, scratch, sweep, temporary_folder

DEAD = 999_999_999


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files, in which nothing was removed yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    owned._sweep_once.cache_clear()
    return tmp_path


def _killed(prefix: str, parent: Path) -> Path:
    """A folder whose process was killed."""
    child = os.fork()
    if child == 0:
        with owned.owned(parent, prefix):
            os._exit(9)
    os.waitpid(child, 0)
    [folder] = parent.glob(f"{prefix}{child}-*")
    return folder


def test_a_folder_exists_while_it_is_used(temporary: Path) -> None:
    with scratch() as folder:
        (folder / "in").mkdir()
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []


def test_the_next_process_removes_the_files_of_a_killed_one(temporary: Path) -> None:
    left = _killed("edgetf-scratch-", temporary)
    assert list(left.iterdir()) == [left / ".owner"]
    with scratch() as folder:
        assert list(temporary.iterdir()) == [folder]


def test_the_folder_of_a_running_process_is_not_removed(temporary: Path) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        with scratch():
            os.read(read, 1)
        os._exit(0)
    os.close(read)
    while not (there := list(temporary.iterdir())):
        time.sleep(0.01)
    sweep(temporary, "edgetf-scratch-")
    assert list(temporary.iterdir()) == there
    os.close(write)
    os.waitpid(child, 0)
    assert list(temporary.iterdir()) == []


def test_a_reused_process_number_does_not_keep_a_folder(tmp_path: Path) -> None:
    left = _killed("x-", tmp_path)
    again = left.rename(tmp_path / f"x-{os.getpid()}-left")  # this process has its number now
    assert list(abandoned(tmp_path, "x-")) == []  # it may be about to lock it
    os.utime(again, (0, 0))
    assert list(abandoned(tmp_path, "x-")) == [again]


def test_a_folder_of_another_container_is_kept_by_its_lock(tmp_path: Path) -> None:
    with owned.owned(tmp_path, "x-") as folder:
        elsewhere = folder.rename(tmp_path / f"x-{DEAD}-there")  # a number that no process has here
        assert list(abandoned(tmp_path, "x-")) == []
        elsewhere.rename(folder)


def test_files_of_other_programs_are_not_touched(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / f"x-{DEAD}-link").symlink_to(victim)
    for name in ("x-", "x-mine", f"x-{'9' * 5000}"[:200], "other"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / f"x-{DEAD}-pipe")
    before = sorted(tmp_path.iterdir())
    huge = tmp_path / f"x-{'9' * 198}"
    sweep(tmp_path, "x-")
    assert sorted(tmp_path.iterdir()) == [path for path in before if path != huge]


def test_files_of_another_user_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = _killed("x-", tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert list(abandoned(tmp_path, "x-")) == []
    assert left.is_dir()


def test_a_name_contains_the_process_and_is_unique(tmp_path: Path) -> None:
    names = {new_name(tmp_path, "x-").name for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(f"x-{os.getpid()}-") for name in names)


@pytest.mark.parametrize("kind", ["folder", "file", "link", "nothing"])
def test_any_kind_of_file_is_removed_without_its_link_target(tmp_path: Path, kind: str) -> None:
    other, path = tmp_path / "other", tmp_path / "x"
    (other / "in").mkdir(parents=True)
    if kind == "folder":
        (path / "in").mkdir(parents=True)
    elif kind == "file":
        path.touch()
    elif kind == "link":
        path.symlink_to(other)
    remove(path)
    assert not os.path.lexists(path)
    assert (other / "in").is_dir()


def test_files_of_libraries_are_in_a_folder_that_is_removed(temporary: Path) -> None:
    with own_temporary():
        left = Path(tempfile.mkdtemp())
        assert left.parent.parent == temporary
    assert list(temporary.iterdir()) == []
    assert tempfile.gettempdir() == str(temporary)


def test_the_temporary_folder_is_found_without_writing_to_it(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(temporary))
    changed = temporary.stat().st_mtime_ns
    assert temporary_folder() == temporary
    assert temporary.stat().st_mtime_ns == changed
    assert tempfile.gettempdir() == str(temporary)


def test_a_missing_temporary_folder_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    monkeypatch.setenv("TEMP", str(tmp_path))
    assert temporary_folder() == tmp_path


def test_an_interruption_while_a_folder_is_removed_does_not_keep_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmtree, calls = shutil.rmtree, list[Path]()

    def interrupted(path: Path, ignore_errors: bool) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), scratch():
        pass
    assert list(temporary.iterdir()) == []
