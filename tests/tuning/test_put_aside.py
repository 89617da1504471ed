"""Given variants that others beat by their SQNR, which is not accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgetf.device.local import LocalDevice
from edgetf.recipes import Evaluation, Stand
from edgetf.results import Verdict
from edgetf.tuning import tune
from edgetf.tuning.candidates import Candidate
from edgetf.tuning.notebook import Notebook
from edgetf.tuning.record import Entry
from edgetf.tuning.running import Score
from tests.conftest import ignore
from tests.tuning.test_tune import OPTIONS

_VERDICTS = {"P": Verdict.PASS, "F": Verdict.FAIL, "?": Verdict.INCONCLUSIVE}


def _entry(name: str, size: int, stand: Stand = Stand.LEFT) -> Entry:
    plain = None if name.startswith("mix") else name
    entry = Entry(Candidate(name, (), plain, "", 0.0), bytes(size), Score(size, {"y": 1.0}))
    entry.stand = stand
    return entry


@pytest.fixture
def search(converted: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that searches a front with scripted verdicts; returns the winner's name and what was evaluated."""
    run = tune._Run(converted, reference, LocalDevice(), OPTIONS, ignore)
    notes = Notebook(tmp_path / "notes", run.scored(), run.decisive(), ignore)

    def call(front: list[Entry], aside: list[Entry], verdicts: dict[str, str]) -> tuple[str | None, list[str]]:
        evaluated: list[str] = []

        def evaluate(entry: Entry, *_: object) -> Evaluation:
            evaluated.append(entry.candidate.name)
            return Evaluation(_VERDICTS[verdicts[entry.candidate.name]], "", 1, 1, None, None, None, None, 0.0)

        monkeypatch.setattr(run, "_evaluate", evaluate)
        winner = run._search([*front, *aside], front, None, notes)  # type: ignore[arg-type]
        return None if winner is None else winner.candidate.name, evaluated

    return call


def test_one_that_passes_and_is_smaller_than_the_winner_wins(search: Any) -> None:
    front = [_entry("weights", 80), _entry("mix-3", 119), _entry("float32", 200)]
    aside = [_entry("float16", 115, Stand.USELESS), _entry("int16x8", 150, Stand.USELESS)]
    found, evaluated = search(front, aside, {"weights": "?", "mix-3": "P", "float16": "P"})
    assert (found, evaluated) == ("float16", ["mix-3", "weights", "float16"])
    assert [entry.stand for entry in (*front[:2], aside[0])] == [Stand.OPEN, Stand.PASSES, Stand.CHOSEN]


def test_one_that_is_not_smaller_is_not_evaluated(search: Any) -> None:
    front = [_entry("weights", 80), _entry("float32", 200)]
    aside = [_entry("float16", 115, Stand.USELESS)]
    assert search(front, aside, {"weights": "P", "float32": "P"})[0] == "weights"


def test_where_nothing_passes_each_has_its_chance_the_largest_first(search: Any) -> None:
    front = [_entry("weights", 80)]
    aside = [_entry("int8", 90, Stand.USELESS), _entry("float16", 115, Stand.USELESS)]
    assert search(front, aside, {"weights": "F", "int8": "F", "float16": "P"}) == (
        "float16",
        ["weights", "float16", "int8"],
    )
    front, aside = [_entry("weights", 80)], [_entry("float16", 115, Stand.USELESS)]
    assert search(front, aside, {"weights": "F", "float16": "?"})[0] is None
