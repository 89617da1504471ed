"""The demo: a trained model of the zoo, and all that `edgetf run` makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetf.plans.record import Verb, read_run
from tests.conftest import Run, Small


@pytest.mark.slow
def test_the_demo_trains_and_ends_with_what_to_ship_and_its_plan_runs_again(
    edgetf_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    ended = edgetf_here("demo", "--model", "linear", "-o", "it")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Trained linear on ")
    assert "it on local: " in ended.stdout
    made = {path.name for path in Path("it").iterdir()}
    assert {"model", "saved_model", "edgetf.toml", "run.json", "report.html", "it"} <= made
    assert "already holds" in edgetf_here("demo", "--model", "linear", "-o", "it").stderr
    again = edgetf_here("run", "it", "--json")
    assert json.loads(again.stdout)["exit_code"] == 0
    known = {step.verb: step.state.value for step in read_run(Path("it")).steps}
    assert {known[verb] for verb in (Verb.CONVERT, Verb.REFERENCE, Verb.BENCHMARK)} == {"stored"}


def test_the_demo_is_of_the_zoo_and_names_the_command_for_another_model(edgetf_here: Run, small: Small) -> None:
    error = edgetf_here("demo", "--model", small.keras_file)
    assert error.returncode == 1
    assert "is not a model of the zoo" in error.stderr
    assert f"edgetf run {small.keras_file} --samples TRAIN --test TEST" in error.stderr
    assert "unknown model 'cmn'" in edgetf_here("demo", "--model", "cmn").stderr
