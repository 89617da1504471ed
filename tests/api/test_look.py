from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

import edgetf
from edgetf.api.results import Bench
from edgetf.device.runner.manifest import MANIFEST
from edgetf.errors import EdgetfError


def test_a_manifest_that_unpacks_to_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.edgetf", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, b" " * (17 << 20))
    with pytest.raises(EdgetfError, match="too large"):
        edgetf.inspect(tmp_path / "bomb.edgetf")


def test_benchmarks_of_one_device_side_by_side_are_all_read(benchmarked: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(benchmarked, tmp_path / name)
    found = Bench.read(tmp_path)
    assert list(found.documents) == ["local", "two"]
    assert {name.partition("/")[0] for name in found} == {"local", "two"}
