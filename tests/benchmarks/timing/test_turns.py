from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetf.benchmarks.timing import rounds
from edgetf.benchmarks.timing.pace import Pace
from edgetf.benchmarks.timing.resume import Resumable
from edgetf.benchmarks.timing.rounds import Bench, Course, Plan, Turn, measure
from edgetf.benchmarks.timing.targets import Target
from edgetf.benchmarks.timing.times import summarize
from edgetf.benchmarks.timing.turns import ORDER_ALPHA, find_undecided, is_faster, looks_of, most_turns
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job, Measurement
from edgetf.events import Event, Note
from tests.conftest import ignore

LOOKS = looks_of(5, 15)
MEASURED = Measurement(0, "litert", "2", "3", "2", {"cores": "2"}, {}, {}, 1)


def _take(blocks: NDArray[np.float64], limit_ms: float | None = None) -> list[list[float]]:
    """What each variant, a row, has measured at the end of a run."""
    due, taken = list(range(len(blocks))), [0] * len(blocks)
    for look in LOOKS:
        for k in due:
            taken[k] = look
        found = find_undecided([blocks[k, :look].tolist() for k in due], len(LOOKS), limit_ms) if due else []
        due = [due[k] for k in found]
    return [row[:count].tolist() for row, count in zip(blocks, taken, strict=True)]


def test_a_run_looks_at_its_medians_a_few_times() -> None:
    assert looks_of(5, 15) == (5, 7, 10, 15)
    assert looks_of(2, 6) == (2, 3, 4, 6)
    assert looks_of(5, 5) == (5,)


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_equally_fast_variants_are_rarely_called_different_whenever_the_run_ends(drift: float) -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(1500):
        machine = np.cumsum(random.normal(0, drift, 15))
        one, other = _take(np.exp(random.normal(0, 0.02, (2, 15)) + machine))
        wrong += is_faster(one, other) or is_faster(other, one)
    assert wrong / 1500 <= ORDER_ALPHA


def test_a_variant_at_its_limit_rarely_gets_a_verdict_whenever_the_run_ends() -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        [taken] = _take(random.normal(1.0, 0.03, (1, 15)), limit_ms=1.0)
        found = summarize([np.full(9, 1e6 * median) for median in taken], len(LOOKS))
        wrong += found.high <= 1.0 or found.low > 1.0
    assert wrong / 300 <= 0.05


def test_clear_differences_end_a_run_early_although_no_median_is_precise() -> None:
    random = np.random.default_rng(0)
    speeds = np.array([[5.0], [3.0], [2.0], [1.0]])
    turns = [sum(map(len, _take(np.exp(random.normal(0, 0.05, (4, 15))) * speeds))) for _ in range(100)]
    assert np.mean(turns) < 1.1 * 4 * LOOKS[0]
    ordered = _take(np.exp(random.normal(0, 0.05, (4, 15))) * speeds)
    assert all(is_faster(ordered[k + 1], ordered[k]) for k in range(3))


def test_only_variants_that_are_not_decided_take_more_turns() -> None:
    steady = np.array([1.0, 1.03, 0.97, 1.02, 0.98] * 3)
    blocks = np.array([steady, 1.02 * steady[::-1], 5 * steady])
    assert [len(taken) for taken in _take(blocks)][2] == 5
    assert find_undecided(blocks[:, :5].tolist(), 4, None) == [0, 1]
    # neither is within 0.5 ms, so that their order is of no interest
    assert find_undecided(blocks[:, :5].tolist(), 4, 0.5) == []
    assert find_undecided(blocks[:, :5].tolist(), 4, 5.0) == [0, 1, 2]
    assert find_undecided([steady.tolist()], 4, None) == []
    assert find_undecided([[1.0, 1.3, 0.8]], 4, None) == [0]


def test_a_difference_below_the_resolution_of_tools_is_none() -> None:
    assert not is_faster([0.2] * 5, [0.201] * 5)  # whole microseconds
    assert is_faster([0.2] * 5, [0.21] * 5)
    assert find_undecided([[0.2] * 5, [0.201] * 5], 4, None) == []


# runs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Sequence[float]]:
    """The medians of the turns of each variant, instead of what a device measures; a turn takes one second."""
    medians: dict[str, Sequence[float]] = {}
    clock = [0.0]

    def take(course: Course, bench: Bench, job: Job, number: int, name: str) -> Turn:
        clock[0] += 1.0
        return Turn(number, name, MEASURED, medians[course.target.name][len(course.blocks)])

    monkeypatch.setattr(rounds, "_take_turn", take)
    monkeypatch.setattr("edgetf.benchmarks.timing.pace.monotonic", lambda: clock[0])
    return medians


def _measure(names: Sequence[str], folder: Path, looks: tuple[int, ...] = LOOKS) -> tuple[list[Course], list[str]]:
    """The courses of a run, and its notes."""
    plan = Plan(looks, None, Job("", {}, outputs=False), 0.0, (), {})
    events: list[Event] = []
    targets = [Target(folder / name, name, None, None) for name in names]
    bench = Bench(LocalDevice(), plan, Resumable(folder / "kept", "key", ignore), events.append)
    courses = measure(targets, bench, lambda course: True)
    return courses, [event.text for event in events if isinstance(event, Note)]


def test_a_run_ends_when_the_order_is_known_and_reports_before_how_long_it_takes(
    blocks: dict[str, Sequence[float]], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    blocks["slow"] = random.normal(9, 0.3, 15).tolist()
    blocks["one"], blocks["other"] = random.normal(1, 0.1, 15).tolist(), random.normal(1, 0.1, 15).tolist()
    courses, notes = _measure(["slow", "one", "other"], tmp_path)
    assert [len(course.blocks) for course in courses] == [5, 15, 15]
    assert sorted(turn.number for course in courses for turn in course.blocks) == list(range(1, 36))
    assert notes == [
        "3 variants, 5 to 15 turns each: about 15 s, at most 45 s",
        "not decided after 5 turns: one and other; about 4 s more, at most 20 s",
        "not decided after 7 turns: one and other; about 6 s more, at most 16 s",
        "not decided after 10 turns: one and other; about 10 s more",
    ]


def test_many_variants_take_a_limited_number_of_turns(blocks: dict[str, Sequence[float]], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [f"v{k:03}" for k in range(200)]
    blocks.update({name: (1 + k / 1e4 + random.normal(0, 0.1, 15)).tolist() for k, name in enumerate(names)})
    courses, _ = _measure(names, tmp_path)
    taken = [len(course.blocks) for course in courses]
    assert most_turns(200, 5, 15) == 1100
    assert 1000 < sum(taken) <= 1100
    medians = [float(np.median(course.medians[:5])) for course in courses]
    assert min(medians) in [float(np.median(course.medians[:5])) for course in courses if len(course.blocks) > 5]


def test_what_has_no_times_takes_the_fewest_turns(blocks: dict[str, Sequence[float]], tmp_path: Path) -> None:
    blocks["a"], blocks["b"] = [0.0] * 15, [0.0] * 15
    courses, _ = _measure(["a", "b"], tmp_path)
    assert [len(course.blocks) for course in courses] == [5, 5]


def test_a_forecast_that_was_too_short_is_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("edgetf.benchmarks.timing.pace.monotonic", lambda: clock[0])
    course = Course(Target(tmp_path / "a", "a", None, None))
    pace = Pace(Plan((5,), None, Job("", {}, outputs=False), 0.0, (), {}), [course])
    assert pace.forecast() is None
    notes = []
    for seconds in (2.0, 2.0, 8.0):
        with pace.timed(course):
            clock[0] += seconds
        course.blocks.append(Turn(1, "a", MEASURED, 1.0))
        notes.append(pace.forecast())
    expected = ["5 turns of the variant: about 10 s", None, "5 turns of the variant: about 20 s"]
    assert [note and note.text for note in notes] == expected
