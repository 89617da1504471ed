"""The progress of a command: correct figures, and a line that fits every terminal."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from rich.console import Console

from edgetf.console.printing import print_note
from edgetf.console.progress import State, draw, progress
from edgetf.events import Note, Phase, Progress, Step
from tests.cli.terminal import python_in_terminal, terminal
from tests.conftest import Small


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _shown(state: State, columns: int) -> str:
    return draw(state, Console(width=columns)).plain


def test_steps_are_counted_from_one_and_shares_from_zero(clock: Clock) -> None:
    state = State("Converting", clock)
    assert (state.words, state.share, state.counter) == ("Converting", None, "")
    state.take(Phase("loading TensorFlow"))
    assert (state.words, state.share) == ("Converting: loading TensorFlow", None)
    for k, scheme in enumerate(("float32", "dynamic", "int8"), 1):
        state.take(Step(scheme, of=4))
        assert state.words == f"Converting {k} of 4: {scheme}"
        assert state.share == (k - 1) / 4
    state.take(Progress(100, 200))
    assert (state.share, state.counter) == (2.5 / 4, "100/200")
    state.take(Step("int8", of=4))  # tried again in another way after a crash
    assert state.words == "Converting 3 of 4: int8"
    assert state.share == 2.5 / 4  # never less than before


def test_the_remaining_time_follows_the_steps_and_decreases(clock: Clock) -> None:
    state = State("Converting", clock)
    state.take(Phase("loading TensorFlow"))
    clock.now = 100.0  # which gives no information on the steps
    state.take(Step("a", of=4))
    assert state.left_s is None
    clock.now = 110.0
    state.take(Step("b", of=4))
    assert state.left_s == pytest.approx(30)
    clock.now = 120.0
    assert state.left_s == pytest.approx(20)
    assert state.elapsed_s == 120.0
    clock.now = 150.0
    assert state.left_s is None  # the estimate was too small: no false zero


def test_a_remaining_time_in_an_event_replaces_the_estimate(clock: Clock) -> None:
    state = State("Measuring", clock)
    state.take(Step("turn 1 of 5", of=12, done=0, left_s=None))
    state.take(Step("turn 1 of 5", of=12, done=1, left_s=44.0))
    assert (state.words, state.share, state.left_s) == ("Measuring 2 of 12: turn 1 of 5", 1 / 12, 44.0)


def test_a_phase_without_steps_has_its_own_share_and_speed(clock: Clock) -> None:
    state = State("Reference", clock)
    state.take(Phase("the CPU"))
    state.take(Progress(10, 1000))
    assert state.left_s is None  # too early
    clock.now = 10.0
    state.take(Progress(200, 1000))
    assert (state.share, state.counter) == (0.2, "200/1,000")
    assert state.left_s == pytest.approx(40)
    state.take(Phase("timing"))
    assert (state.share, state.counter, state.left_s) == (None, "", None)


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_figures_are_never_cut_in_any_terminal(clock: Clock, columns: int) -> None:
    state = State("Reference", clock)
    state.take(Phase("comparing TensorFlow with itself: one sample at a time on the CPU"))
    clock.now = 4000.0
    state.take(Progress(1234, 10_000))
    line = _shown(state, columns)
    assert len(line) < columns
    assert "1,234/10,000  12%  1:06:40" in line


def _waits() -> None:
    with progress("Working") as on_event:
        on_event(Note("pi is busy"))
        for k in range(3):
            on_event(Step(f"step-{k}", of=3))
            time.sleep(0.7)


def test_no_event_prints_a_password(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "http://ann:s3cret@host"
    with progress("Working") as on_event:
        for event in (Phase(secret), Note(secret), Step(secret)):
            on_event(event)
    print_note(secret)
    assert capsys.readouterr().err.count("http://***@host") == 4
    state = State("Working", clock)
    state.take(Step(secret))
    assert "s3cret" not in _shown(state, 80)


def test_the_clock_of_a_terminal_runs_and_notes_stay(tmp_path: Path) -> None:
    with python_in_terminal(_waits, 60, tmp_path) as shell:
        end = shell.finish()
    assert end == "pi is busy"  # the line itself is gone
    shown = "\n".join(shell.shown)
    for words in ("Working 1 of 3: step-0", "Working 3 of 3: step-2", " 33%", " 0:01", " 0:02"):
        assert words in shown
    assert "-1" not in shown.replace("step-1", "")
    assert "?" not in shown


@pytest.mark.usefixtures("own_start")  # it shows that TensorFlow is loaded
def test_a_conversion_in_a_terminal_shows_its_progress(small: Small, tmp_path: Path) -> None:
    asked = ("convert", small.saved_model, "-o", "out", "--samples", small.samples, "--scheme", "int8")
    with terminal(*asked, "--scheme", "float32", columns=80, cwd=tmp_path) as shell:
        end = shell.finish()
    lines = {line for screen in shell.shown for line in screen.splitlines()}
    assert any(line.startswith("Converting: loading TensorFlow  0:0") for line in lines)
    assert any(line.startswith("Converting 1 of 2: int8") for line in lines)
    assert not any("?" in line or "/-" in line for line in lines if line.startswith("Converting"))
    assert "int8" in end
