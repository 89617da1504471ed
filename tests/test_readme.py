"""The README's commands, run in order in an empty folder, and what else it promises that can be looked up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgetf.schemes import SCHEMES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def _commands() -> list[str]:
    return [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]


@pytest.mark.slow
def test_every_command_of_the_tour_works_as_written(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = _commands()
    assert len(commands) >= 8
    for command in commands:
        ended = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "EDGETF_HISTORY": str(tmp_path / "history.sqlite")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    assert (tmp_path / "report.html").is_file()


def test_the_table_of_schemes_is_the_table_in_the_code() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\w+) \| (\w+)[^|]*\| (\w+) \| (yes)? ?\|", README, re.MULTILINE)
    expected = [(s.name, s.weights, s.activations, s.io, "yes" if s.needs_samples else "") for s in SCHEMES.values()]
    assert rows == expected


def test_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).is_file(), target


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_targets_of_the_makefile(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_extras_that_the_readme_names_are_declared() -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    for extra in {e for group in re.findall(r"\.\[([a-z,-]+)\]", README) for e in group.split(",")}:
        assert re.search(rf"^{extra} = ", declared, re.MULTILINE), extra


@pytest.mark.slow
def test_the_model_that_is_added_by_a_file_and_a_line_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetf.models import zoo
    from edgetf.models.run import Run
    from edgetf.models.training import train

    file = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "Two moons" in block)
    row = re.search(r"^(ZooModel\(.*\))$", README, re.MULTILINE)
    assert row is not None
    (tmp_path / "moons.py").write_text(file)
    monkeypatch.syspath_prepend(tmp_path)
    model = eval(row[1].replace("edgetf.models.moons", "moons"), {"ZooModel": zoo.ZooModel})
    monkeypatch.setitem(zoo.ZOO, "moons", model)
    training = train("moons", tmp_path / "out", False, Run(lambda event: None))
    assert training.metrics["test_accuracy"] > 0.98
