"""The results of an interrupted tuning, kept for the next run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edgetf.events import Event, Note
from edgetf.files import to_plain
from edgetf.recipes import Evaluation
from edgetf.results import Verdict
from edgetf.tuning.notebook import Notebook
from edgetf.tuning.running import Score
from tests.conftest import ignore

SCORE = asdict(Score(900, {"y": 1e-4}, 1))
EVALUATION = to_plain(Evaluation(Verdict.PASS, "drop +0.10", 128, 500, "accuracy", 0.1, -0.2, 0.4, 1.0))
DAMAGES: list[Callable[[dict[str, Any]], object]] = [
    lambda plain: plain.update(keys=[]),
    lambda plain: plain.pop("schema"),
    lambda plain: plain["scores"].update(a=1),
    lambda plain: plain["scores"]["a"].update(noise={"y": "loud"}),
    lambda plain: plain["scores"]["a"].update(noise={"y": float("nan")}),
    lambda plain: plain["scores"]["a"].update(more=1),
    lambda plain: plain["evaluations"]["b"].pop("verdict"),
    lambda plain: plain["evaluations"]["b"].update(more=1),
    lambda plain: plain["latencies"].update(b="soon"),
    lambda plain: plain["latencies"].update(b=-1.0),
    lambda plain: plain["refused"].update(b=None),
]


@pytest.mark.parametrize("damage", [*DAMAGES, "", "{", "[" * 100_000])
def test_a_damaged_notebook_is_discarded_with_a_note(
    damage: str | Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    notes = Notebook(tmp_path, {"variants": 1}, {}, ignore)
    notes.scores["a"], notes.evaluations["b"], notes.latencies["b"] = SCORE, EVALUATION, 1.5
    notes.refused["c"] = "no such operation"
    notes.save()
    if not isinstance(damage, str):
        plain = json.loads((tmp_path / "notes.json").read_text())
        damage(plain)
        damage = json.dumps(plain)
    (tmp_path / "notes.json").write_text(damage)
    events: list[Event] = []
    again = Notebook(tmp_path, {"variants": 1}, {}, events.append)
    assert events == [Note(f"the interrupted run in {tmp_path} is damaged: starting over")]
    assert [again.scores, again.latencies, again.evaluations, again.refused] == [{}, {}, {}, {}]
    assert list(tmp_path.iterdir()) == []
    again.save()
    assert Notebook(tmp_path, {"variants": 1}, {}, ignore).scores == {}


def test_other_budgets_keep_the_scores_of_an_interrupted_run(tmp_path: Path) -> None:
    events: list[Event] = []
    notes = Notebook(tmp_path / "notes", {"variants": 1}, {"max_drop": 1}, events.append)
    notes.scores["a"], notes.evaluations["b"] = SCORE, EVALUATION
    notes.save()
    assert not events
    again = Notebook(tmp_path / "notes", {"variants": 1}, {"max_drop": 1}, events.append)
    assert (again.scores, again.evaluations) == ({"a": SCORE}, {"b": EVALUATION})
    other = Notebook(tmp_path / "notes", {"variants": 1}, {"max_drop": 2}, events.append)
    assert (other.scores, other.evaluations) == ({"a": SCORE}, {})
    other.save()
    assert not Notebook(tmp_path / "notes", {"variants": 2}, {"max_drop": 2}, events.append).scores
    texts = [event.text for event in events if isinstance(event, Note)]
    assert ["resuming" in text for text in texts] == [True, False, False]
    assert "its scores are used" in texts[1]
