from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgetf.device.runner.interpreter import JobError
from edgetf.device.runner.manifest import MANIFEST
from edgetf.device.runner.verify import SEAL_BYTES, _is_sealed, _sweep, seal, verify
from tests.conftest import ignore
from tests.special_files import SPECIAL, make_special


def test_files_of_killed_bundle_checks_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ["edgetf-verify-999999999-x", f"edgetf-verify-{os.getpid()}-x", "edgetf-verify-x", "other"]
    for name in names:
        (tmp_path / name / "in").mkdir(parents=True)
    _sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_two_checks_can_remove_files_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other check removes a folder that both have listed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for k in range(2):
        (tmp_path / f"edgetf-verify-999999999-{k}" / "in").mkdir(parents=True)
    found = Path.glob

    def glob_then_lose(folder: Path, pattern: str) -> list[Any]:
        names = sorted(found(folder, pattern))
        shutil.rmtree(names[0])
        return names

    monkeypatch.setattr(Path, "glob", glob_then_lose)
    _sweep()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_has_no_end_is_not_a_bundle(kind: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is not a bundle"):
        verify(make_special(tmp_path / "it.edgetf", kind), "litert", ignore)


def test_a_file_of_any_size_is_refused_without_being_read(tmp_path: Path) -> None:
    for size in (1 << 33, 1 << 40):
        with (tmp_path / "it.edgetf").open("wb") as file:
            file.truncate(size)
        with pytest.raises(JobError, match="is not a bundle"):
            verify(tmp_path / "it.edgetf", "litert", ignore)


def test_a_manifest_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "it.edgetf", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, b" " * (1 << 25))
        archive.comment = bytes(SEAL_BYTES)
    (tmp_path / "it.edgetf").write_bytes(seal((tmp_path / "it.edgetf").read_bytes()))
    with pytest.raises(JobError, match="its manifest is too large"):
        verify(tmp_path / "it.edgetf", "litert", ignore)


@pytest.mark.parametrize("size", [0, 1, SEAL_BYTES, SEAL_BYTES + 1, 5000])
def test_a_seal_is_checked_in_blocks(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetf.device.runner.verify._BLOCK", 999)
    content = bytes(k % 251 for k in range(size))
    for whole, is_sealed in ((content, False), (seal(content), True)):
        (tmp_path / "it").write_bytes(whole)
        with (tmp_path / "it").open("rb") as file:
            assert _is_sealed(file) is is_sealed
