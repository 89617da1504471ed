"""A device that has Python 3.9, numpy and tflite-runtime, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgetf.device.runner.job import Job, write_json
from edgetf.device.zipapp import build_runner
from tests.conftest import SHORT, Small


def _python_39() -> str | None:
    candidates = [shutil.which("python3.9")]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += [str(path) for path in sorted(root.glob("versions/3.9*/bin/python"))]
    for candidate in filter(None, candidates):
        works = subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False)
        if works.returncode == 0:
            return candidate
    return None


@pytest.mark.slow
def test_the_runner_works_on_python_39_with_nothing_but_numpy_and_an_interpreter(
    converted: Path, small: Small, tmp_path: Path
) -> None:
    python = _python_39()
    if python is None:
        pytest.skip("there is no Python 3.9 on this machine")
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
    bare = str(tmp_path / "venv" / "bin" / "python")
    install = [bare, "-m", "pip", "install", "-q", "--only-binary=:all:", "tflite-runtime==2.14.0", "numpy<2"]
    if subprocess.run(install, check=False).returncode:
        pytest.skip("no package index from which tflite-runtime could be installed")
    np.save(tmp_path / "image.npy", np.load(small.samples)["image"])
    (tmp_path / "runner.pyz").write_bytes(build_runner())
    write_json(tmp_path / "job.json", Job(str(converted / "int8.tflite"), {"image": "image.npy"}, timing=SHORT))
    subprocess.run([bare, "runner.pyz", "job.json", "out"], cwd=tmp_path, check=True, timeout=120)
    measurement = json.loads((tmp_path / "out" / "measurement.json").read_text())
    assert measurement["error"] is None
    assert measurement["python"].startswith("3.9.")
    assert measurement["runtime"] == "tflite-runtime"
    assert np.load(tmp_path / "out" / "output-0.npy").shape == (200, 3)
