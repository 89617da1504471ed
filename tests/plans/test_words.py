"""What a run prints and writes about its steps: reasons, what is not there, and what is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgetf
from edgetf.errors import EdgetfError
from edgetf.plans.page import render
from edgetf.plans.plan import NO_BUDGETS
from edgetf.plans.record import RUN_SCHEMA, Answer, Because, RunRecord, State, StepRecord, Verb
from edgetf.plans.table import step_in_words
from edgetf.results import Verdict

PLAN = '[models.digits]\npath = "m.keras"\ntest = "t.npz"\n'


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (StepRecord(Verb.CONVERT, "m", None, State.PENDING, Because.NEW), "would run: it is new"),
        (StepRecord(Verb.CONVERT, "m", None, State.DONE, Because.LOST, seconds=2.0), "done in 2.0 s: its result is no"),
        (
            StepRecord(Verb.TUNE, "m", "pi", State.DONE, Because.NEW, why="no given variant passes", outcome="found x"),
            "done in 0.0 s: it is new, since no given variant passes; found x",
        ),
        (StepRecord(Verb.TUNE, "m", "pi", State.STORED, outcome="found x"), "unchanged; found x"),
        (StepRecord(Verb.BUNDLE, "m", "pi", State.NOT_NEEDED), "nothing to bundle"),
        (StepRecord(Verb.TUNE, "m", "pi", State.NOT_NEEDED), "not needed"),
    ],
)
def test_the_line_of_a_step_names_why_it_runs_and_what_it_found(step: StepRecord, words: str) -> None:
    assert words in step_in_words(step)


def test_the_page_has_what_is_missing_and_how_much_that_is(tmp_path: Path) -> None:
    steps = (
        StepRecord(Verb.BENCHMARK, "m", "pi1", State.DONE),
        StepRecord(Verb.BENCHMARK, "m", "pi2", State.FAILED, error="no worker has pi2"),
        StepRecord(Verb.BENCHMARK, "m", "pi3", State.SKIPPED),
    )
    answer = Answer("m", "pi1", "pi1", "int8", Verdict.PASS, "int8: good", 9, "ab", "f", "b", "r", str(tmp_path))
    page = render(RunRecord(RUN_SCHEMA, "1", "2026", None, 73.4, steps, (answer,)), NO_BUDGETS, tmp_path)
    assert '<p class="summary">1 of 3 have a file to ship.</p>' in page
    assert page.count('class="summary"') == 1
    assert page.count('<tbody data-verdict="none">') == 2
    assert "benchmark failed: no worker has pi2" in page
    assert "73 s." in page
    alone = render(RunRecord(RUN_SCHEMA, "1", "2026", None, 3.0, steps[:1], (answer,)), NO_BUDGETS, tmp_path)
    assert "have a file to ship" not in alone
    assert "DID NOT RUN" not in alone


def test_arguments_for_a_model_are_refused_with_the_key_of_the_plan_after_its_own_errors(tmp_path: Path) -> None:
    path = tmp_path / "edgetf.toml"
    path.write_text(PLAN)
    with pytest.raises(EdgetfError, match="devices is for a model") as caught:
        edgetf.run(path, devices="lab.toml")
    assert "write devices_file = ..." in caught.value.hint
    with pytest.raises(EdgetfError, match="samples is for a model") as caught:
        edgetf.run(path, samples="x.npz")
    assert "under [models.NAME]" in caught.value.hint
    path.write_text(PLAN + 'pathh = "x"\n')
    with pytest.raises(EdgetfError, match="unknown key 'models"):
        edgetf.run(path, devices="lab.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [("sustained = 5", "micro measures no times"), ("delegate = 'gpu'", "options of micro: .* cannot use")],
)
def test_options_that_a_device_of_the_plan_cannot_have_are_refused_before_anything_runs(
    options: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "edgetf.toml"
    path.write_text(f'devices = "micro"\n{PLAN}[options]\n{options}\n')
    with pytest.raises(EdgetfError, match=message):
        edgetf.run(path)
    assert not (tmp_path / "ship").exists()
