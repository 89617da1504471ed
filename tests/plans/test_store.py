"""The store of `edgetf run`: what it lists and removes, and that a result in work stays."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

import edgetf
from edgetf.errors import EdgetfError
from edgetf.events import Event, Phase
from edgetf.plans.record import Verb
from edgetf.plans.store import DOCUMENTS, is_finished, locked, place_of, sweep
from tests.conftest import Run, ignore


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "plans"


def _finished(verb: Verb, name: str) -> Path:
    place = place_of(verb, {"model": name})
    place.mkdir(parents=True)
    (place / DOCUMENTS[verb]).write_text("{}")
    return place


def test_facts_decide_about_the_place() -> None:
    one, other = place_of(Verb.CONVERT, {"model": "a"}), place_of(Verb.CONVERT, {"model": "b"})
    assert one != other
    assert one == place_of(Verb.CONVERT, {"model": "a"})
    assert one != place_of(Verb.REFERENCE, {"model": "a"})


def test_results_are_listed_and_removed_unless_they_are_in_work(edgetf_here: Run) -> None:
    kept, busy = _finished(Verb.CONVERT, "a"), _finished(Verb.BENCHMARK, "b")
    assert {one.place for one in edgetf.cache().kept} == {kept, busy}
    with locked(busy, ignore):
        ended = edgetf_here("cache", "--clean")
        assert "Removed: 1 result, " in ended.stdout
    assert [one.place for one in edgetf.cache().kept] == [busy]
    assert is_finished(Verb.BENCHMARK, busy)
    assert edgetf.cache(clean=True).kept == ()
    assert "There are no results" in edgetf_here("cache").stdout


def test_results_that_were_used_lately_stay_if_older_ones_are_removed() -> None:
    old, new = _finished(Verb.CONVERT, "old"), _finished(Verb.CONVERT, "new")
    for place in (old, new):
        os.utime(place, (time.time() - 40 * 86_400,) * 2)
    assert is_finished(Verb.CONVERT, new)  # a run takes it
    assert [one.place for one in edgetf.cache(clean=True, older_than=30).removed] == [old]
    assert new.exists()
    with pytest.raises(EdgetfError, match="is not a number of days"):
        edgetf.cache(older_than=float("nan"))


def test_what_was_begun_is_kept_for_a_week(home: Path) -> None:
    begun, lately, finished = (place_of(Verb.CONVERT, {"model": name}) for name in ("begun", "lately", "finished"))
    for place in (begun, lately):
        (place / ".edgetf-partial-benchmark").mkdir(parents=True)
    assert _finished(Verb.CONVERT, "finished") == finished
    for place in (begun, finished):
        os.utime(place, (time.time() - 8 * 86_400,) * 2)
    gone = subprocess.Popen(["true"])
    gone.wait()
    (half := finished / f".edgetf-staging-{gone.pid}-0a1b2c3d").mkdir()
    os.utime(half, (time.time() - 3_600,) * 2)
    sweep()
    assert not half.exists()
    assert (begun.exists(), lately.exists(), finished.exists()) == (False, True, True)


def test_two_runs_make_a_result_one_after_the_other() -> None:
    place, seen = place_of(Verb.CONVERT, {"model": "a"}), list[Event]()
    began, order = threading.Event(), list[str]()

    def first() -> None:
        with locked(place, ignore):
            began.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    began.wait()
    with locked(place, seen.append):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert seen == [Phase("waiting for another run that makes the same")]
