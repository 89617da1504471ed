"""Every command of README.md and of the pages, run as written, in order, in one folder.

The demo is run first, as `make demo` runs it. A line that an earlier page has run is not run again. Blocks with a
title are files, and are written when their page is reached.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgetf.schemes import DEFAULT_SCHEMES
from tests.docs.pages import ROOT, TEXTS, blocks


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "COLUMNS": "118", "EDGETF_HISTORY": str(folder / "history.sqlite")}
    return subprocess.run(
        command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_works_as_written(tmp_path: Path) -> None:
    demo = re.search(r"^demo: .*\n\t\$\(BIN\)/(.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert demo is not None
    done, printed = [demo[1]], ""
    ended = _run(demo[1], tmp_path)
    assert ended.returncode == 0, ended.stderr
    _look_at_the_demo(tmp_path / "demo")
    for block in blocks():
        if block.title:
            (tmp_path / block.title).write_text(block.body)
        for command in block.body.splitlines() if block.language == "sh" else []:
            if command in done:
                continue
            ended = _run(command, tmp_path)
            assert ended.returncode == 0, f"{block.page}: {command}\n{ended.stdout}\n{ended.stderr}"
            done.append(command)
            printed += ended.stdout
    assert len(done) >= 25
    for header in re.findall(r"^(?:scheme|variant) .*$", TEXTS["README.md"], re.MULTILINE):
        assert re.search(r"\s+".join(map(re.escape, header.split())), printed), header
    left = {path.name for path in tmp_path.iterdir()}
    assert {"report.html", "gate.xml", "gate.md", "trend.svg", "float32.edgetf", "edgetf-complete.bash"} <= left
    assert "already holds" in _run("edgetf demo -o demo", tmp_path).stderr


def _look_at_the_demo(folder: Path) -> None:
    assert {"edgetf.toml", "run.json", "report.html", "saved_model", "demo"} <= {path.name for path in folder.iterdir()}
    shipped = folder / "demo" / "local"
    assert {f"{scheme}.tflite" for scheme in DEFAULT_SCHEMES} <= {
        path.name for path in (shipped / "variants").iterdir()
    }
    assert list(shipped.glob("*.tflite"))
    assert list(shipped.glob("*.edgetf"))
    benchmark = json.loads((shipped / "bench" / "benchmark.json").read_text())
    assert {result["parity"]["verdict"] for result in benchmark["results"]} == {"pass"}
    float32 = benchmark["results"][0]["parity"]["outputs"][0]
    assert float32["max_abs"] < 1e-5
    assert float32["accuracy"]["reference"] >= 0.97


@pytest.mark.slow
def test_a_model_added_by_a_file_and_a_line_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetf.models import zoo
    from edgetf.models.run import Run
    from edgetf.models.training import train

    page = "docs/extending.md"
    file = next(block.body for block in blocks() if block.page == page and "Two moons" in block.body)
    row = re.search(r"^(ZooModel\(.*\))$", TEXTS[page], re.MULTILINE)
    assert row is not None
    (tmp_path / "moons.py").write_text(file)
    monkeypatch.syspath_prepend(tmp_path)
    model = eval(row[1].replace("edgetf.models.moons", "moons"), {"ZooModel": zoo.ZooModel})
    monkeypatch.setitem(zoo.ZOO, "moons", model)
    training = train("moons", tmp_path / "out", False, Run(lambda event: None))
    assert training.metrics["test_accuracy"] > 0.98
