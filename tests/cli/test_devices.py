"""`edgetf devices doctor` prints each problem with its hint, and has the same in its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgetf.cli import cli


@pytest.fixture
def phone(tmp_path: Path) -> list[str]:
    """The arguments for a phone that cannot be reached, because its adb is missing."""
    file = tmp_path / "devices.toml"
    file.write_text(f'[phone]\nkind = "adb"\nadb = "{tmp_path / "no-adb"}"\nbenchmark_model = "{tmp_path / "none"}"\n')
    return ["devices", "doctor", "phone", "--devices", str(file)]


def test_the_list_shows_how_each_device_is_reached(tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(
        '[pi]\nkind = "ssh"\nhost = "pi.local"\nuser = "me"\n[board]\nkind = "ssh"\nhost = "board"\nport = 2222\n'
        '[phone]\nkind = "adb"\nserial = "R58N"\n[other]\nkind = "adb"\n'
    )
    ended = CliRunner().invoke(cli, ["devices", "list", "--devices", str(file)], standalone_mode=False)
    shown = [line.split() for line in ended.stdout.splitlines()]
    assert ["local", "local"] in shown
    assert ["micro", "micro"] in shown
    assert ["pi", "ssh", "me@pi.local:22"] in shown
    assert ["board", "ssh", "board:2222"] in shown
    assert ["phone", "adb", "R58N"] in shown
    assert ["other", "adb"] in shown


def test_the_json_of_the_doctor_has_a_problem_and_a_hint_for_each_finding(phone: list[str]) -> None:
    ended = CliRunner().invoke(cli, [*phone, "--json"], standalone_mode=False)
    unreachable, lacking = json.loads(ended.stdout)
    assert set(unreachable) == set(lacking) == {"blocks", "problem", "hint"}
    assert unreachable["problem"].endswith("no-adb is not installed")
    assert "sudo apt install adb" in unreachable["hint"]
    assert lacking["hint"] == "download it, or correct devices.toml"


def test_the_doctor_prints_the_hint_below_the_problem(phone: list[str]) -> None:
    ended = CliRunner().invoke(cli, phone, standalone_mode=False)
    assert ended.return_value == 1
    assert "benchmark_model is not at" in " ".join(ended.stdout.split())
    assert "download it, or correct devices.toml" in " ".join(ended.stdout.split())
