"""Notes, warnings and names that cannot be had are reported, and no result is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgetf.conversion import convert as converting
from edgetf.conversion import engine, origin, rescaling, worker
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.informing import informed, lines_on
from edgetf.conversion.ranges import Choice, RangeChoice
from edgetf.conversion.request import Request
from edgetf.errors import EdgetfError
from edgetf.process import Ended, run_child
from edgetf.results import Status
from tests.conftest import Small, ignore


def _raise(*arguments: Any) -> Any:
    raise KeyError("no such tensor")


def _lines(word: str) -> list[str]:
    if word == "bad":
        raise EdgetfError("the word is bad")
    return [word]


def test_what_raises_becomes_a_line_and_the_rest_is_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    reported: list[str] = []
    assert informed("the sum", lambda: 1 + 1, 0, reported.append) == 2
    assert informed("the sum", _raise, 0, reported.append) == 0
    assert reported == ["could not find out the sum: KeyError 'no such tensor'"]
    assert "Traceback" in capsys.readouterr().err
    assert lines_on("words", lambda: _lines("good")) == ("good",)
    assert lines_on("words", lambda: _lines("bad")) == ("could not find out words: the word is bad",)


class _Events:
    """Collects the answers of a worker in this process."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, dict[str, Any]]] = []

    def send(self, message: object) -> None:
        pass

    def answer(self, kind: str, **fields: Any) -> None:
        self.answers.append((kind, fields))

    def all(self, kind: str, field: str) -> list[Any]:
        return [fields[field] for name, fields in self.answers if name == kind]


def test_no_lint_note_or_name_that_raises_costs_a_conversion(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lints = ("lint_samples", "lint_inputs", "lint_ranges", "lint_rescaling", "lint_first_layer")
    notes = ("_needs_flex", "_nothing_quantized", "_keeps_state", "_keeps_loops")
    for module, names in ((worker, (*lints, "find_layers")), (engine, notes), (rescaling, ("find_first_steps",))):
        for name in names:
            monkeypatch.setattr(module, name, _raise)
    monkeypatch.setattr(rescaling, "_span_if_small", lambda values: (0.0, 1.0))
    request = Request(
        model=str(small.saved_model),
        out=str(tmp_path),
        schemes=("float32", "int8"),
        signature=None,
        shapes={},
        samples=str(small.samples),
        like=str(small.samples),
        calibration=10,
        choice=RangeChoice(Choice.MINMAX),
        ranges=None,
        select_tf_ops=False,
        trust=False,
        runtime=None,
        allow_nan=False,
        keep_float=(),
        pixels={},
        crashed=(),
    )
    events: Any = _Events()
    (tmp_path / "work").mkdir()
    worker._convert_all(request, tmp_path / "work", events)
    assert events.all("converted", "scheme") == ["float32", "int8"]
    assert (tmp_path / "ranges.json").exists()
    warnings = [line for lines in events.all("warnings", "warnings") for line in lines]
    assert len(warnings) == len({*warnings}) == len(lints) + 2  # names of layers, and the first step
    float32, int8 = events.all("converted", "notes")
    assert (len(float32), len(int8)) == (len(notes) - 1, len(notes))
    assert all(line.startswith("could not find out ") for line in (*warnings, *float32, *int8))


def test_what_fails_after_the_last_scheme_is_a_warning(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*arguments: Any, **options: Any) -> Ended:
        return replace(run_child(*arguments, **options), code=-11)

    monkeypatch.setattr(converting, "run_child", dying)
    monkeypatch.setattr(origin, "describe", _raise)
    made = convert(small.saved_model, tmp_path / "out", ConvertOptions(("float32",)), ignore)
    assert made.variants[0].status is Status.OK
    assert made.source.origin is None
    died, digest = made.warnings
    assert died.endswith("the converter died of SIGSEGV")
    assert digest.startswith("could not find out the model's digest")
