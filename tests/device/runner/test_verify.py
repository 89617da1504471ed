from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from edgetf.device.runner.verify import _sweep


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
