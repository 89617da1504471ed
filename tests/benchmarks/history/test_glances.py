from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgetf.benchmarks.history import store
from edgetf.benchmarks.history.changes import compare
from edgetf.benchmarks.history.glances import Glance
from edgetf.benchmarks.history.sessions import Session
from edgetf.benchmarks.history.store import entries, latest, reading_sessions, rows
from edgetf.benchmarks.history.trend import draw_trend
from edgetf.errors import EdgetfError
from edgetf.results import Verdict
from tests.conftest import Run
from tests.performance.history import HERE, VARIANTS, Shape, commands, commit, measure, write_history

SHAPE = Shape(commits=4, models=2)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A history as the first version of edgetf wrote it: without glances and indexes."""
    write_history(tmp_path / "h.sqlite", SHAPE)
    return tmp_path / "h.sqlite"


def _tables(place: Path) -> set[str]:
    with closing(sqlite3.connect(place)) as base:
        return {name for (name,) in base.execute("select name from sqlite_master where type = 'table'")}


def test_a_history_of_an_earlier_version_is_listed_and_its_rows_are_those_of_its_results(place: Path) -> None:
    assert _tables(place) == {"result"}
    listed, known = list(rows(place)), entries(place)
    assert _tables(place) == {"result", "glance"}
    assert len(listed) == SHAPE.rows
    for row, entry in zip(listed, known, strict=True):
        times, parity = entry.result.latency_ms, entry.result.parity
        assert times is not None
        assert parity is not None
        assert parity.outputs[0].accuracy is not None
        drop = parity.outputs[0].accuracy
        assert (row.digest, row.created, row.commit) == (entry.digest, entry.created, entry.commit)
        assert (row.name, row.variant, row.device) == (entry.name, entry.variant, entry.device)
        median, interval = (times.median, times.low, times.high), (drop.drop_points, drop.low, drop.high)
        assert row.glance == Glance(median, interval, Verdict.PASS)
    assert [row.created for row in rows(place, "int8", "pi", "models/m1", last=2)] == [
        row.created for row in listed if (row.variant, row.device, row.name) == ("int8", "pi", "models/m1")
    ][-2:]


def test_a_list_that_is_read_slowly_lets_others_write_and_has_every_row_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = list(rows(place))
    monkeypatch.setattr(store, "_AT_ONCE", 5)  # fewer than the rows that have one time
    assert len({row.created for row in known}) == SHAPE.commits < SHAPE.rows / 5
    slow = rows(place)
    begun = [next(slow)]
    with closing(sqlite3.connect(place, timeout=1)) as base, base:
        base.execute("delete from result where created = (select max(created) from result)")
    last = max(row.created for row in known)
    assert [*begun, *slow] == [row for row in known if row.created != last]


def test_a_result_that_is_changed_removed_or_added_by_hand_has_the_right_row(place: Path) -> None:
    before = list(rows(place))
    with closing(sqlite3.connect(place)) as base, base:
        [(first,), (second,), (third,)] = base.execute("select id from result order by created, id limit 3")
        text = json.loads(base.execute("select result from result where id = ?", (first,)).fetchone()[0])
        text["latency_ms"] = None
        base.execute("update result set result = ? where id = ?", (json.dumps(text), first))
        base.execute("delete from result where id = ?", (second,))
        base.execute("update result set result = '{}' where id = ?", (third,))
    with pytest.raises(EdgetfError, match=f"a result of another version: {before[2].variant}"):
        list(rows(place))
    with closing(sqlite3.connect(place)) as base, base:
        base.execute("delete from result where id = ?", (third,))
    after = list(rows(place))
    assert after[1:] == before[3:]
    assert after[0].glance.latency_ms is None
    assert after[0].glance.drop_points == before[0].glance.drop_points


@pytest.mark.parametrize("value", ["'text'", "x'00'", "1e200", "9e999"])
def test_a_glance_that_is_not_a_number_is_refused(value: str, place: Path) -> None:
    list(rows(place))
    with closing(sqlite3.connect(place)) as base, base:
        base.execute(f"update glance set median = {value}")
    with pytest.raises(EdgetfError, match="is not a history of edgetf, or is damaged"):
        list(rows(place))


def test_a_comparison_reads_the_last_results_of_its_commits_and_finds_the_same(place: Path) -> None:
    with closing(sqlite3.connect(place)) as base, base:
        base.execute(
            "insert into result (digest, created, 'commit', name, model, variant, device, machine, settings, samples,"
            " result) select 'again' || digest, '2027', \"commit\", name, model, variant, device, machine, settings,"
            " samples, json_set(result, '$.nice', 5) from result where variant = 'int8'"
        )
        base.execute(
            "insert into result (digest, created, 'commit', name, model, variant, device, machine, settings, samples,"
            " result) select 'more' || digest, '2028', \"commit\", name, model, variant, device, machine, settings,"
            " samples, result from result where variant = 'float32'"
        )
    pair = (commit(1), commit(3))
    chosen = latest(place, pair, "models/m0")
    everything = [one for one in entries(place, name="models/m0") if one.commit in pair]
    assert len(chosen) == 2 * 2 * (len(VARIANTS) + 1)
    assert len(everything) == len(chosen) + 2 * 2
    assert compare(chosen, *pair) == compare(everything, *pair)


def test_a_plot_has_the_variants_that_were_measured_last_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    write_history(tmp_path / "h", Shape(1, 1, tuple(f"old-{k}" for k in range(30))))
    write_history(tmp_path / "new", Shape(3, 1, ("new-a", "new-b")))
    with closing(sqlite3.connect(tmp_path / "new")) as base, base:
        base.execute("attach ? as other", (str(tmp_path / "h"),))
        base.execute("insert into result select id + 1000, 'o' || digest, '2020', 'old', name, model, variant, device,"
                     " machine, settings, samples, result from other.result")  # fmt: skip
    drawn = draw_trend(rows(tmp_path / "new"), "pi")
    assert len(drawn.left_out) == 14
    assert all(name.startswith("old-") for name in drawn.left_out)
    assert "new-a" in drawn.svg
    assert "14 older variants are not drawn" in drawn.svg
    alone = draw_trend(rows(tmp_path / "new", variant="new-a"), "pi")
    assert (alone.left_out, "not drawn" in alone.svg, "new-b" in alone.svg) == ((), False, False)


def test_lists_are_limited_in_both_forms_and_state_what_they_leave_out(place: Path, edgetf_here: Run) -> None:
    listed = edgetf_here("history", "list", "--history", place, "--last", 3, "--json")
    assert len(json.loads(listed.stdout)) == 3
    assert f"{SHAPE.rows - 3} older entries: --last 0 lists all" in listed.stderr
    everything = edgetf_here("history", "list", "--history", place, "--last", 0, "--json")
    assert [one["created"] for one in json.loads(everything.stdout)] == [one.created for one in entries(place)]
    assert not everything.stderr
    none = edgetf_here("history", "list", "--history", place, "--variant", "no", "--json")
    assert json.loads(none.stdout) == []


def test_the_script_that_measures_a_long_history_counts_what_a_command_prints(place: Path, tmp_path: Path) -> None:
    cost = measure(commands(place, SHAPE, tmp_path / "t.svg")["list --last 0"], HERE, tmp_path / "t.svg")
    assert cost.lines > SHAPE.rows
    assert cost.megabytes > 10


def test_figures_that_an_earlier_version_added_are_made_again(place: Path) -> None:
    known = list(rows(place))
    with closing(sqlite3.connect(place)) as base, base:
        base.execute("alter table glance drop column file")
        base.execute("update glance set median = 7.0")
    assert list(rows(place)) == known
    pair = (commit(1), commit(3))
    with reading_sessions(place, pair) as sessions_of:
        for entry in latest(place, pair, "models/m0"):
            found = sessions_of(entry)
            assert len(found) == SHAPE.commits
            assert entry.result.latency_ms is not None
            assert Session(entry.commit, "c" * 64, entry.result.latency_ms.median) in found


def test_only_sessions_with_stable_times_of_real_hardware_are_compared(place: Path) -> None:
    changes = ("$.stable", False), ("$.emulated", True), ("$.latency_ms", None), ("$.sha256", None)
    list(rows(place))
    with closing(sqlite3.connect(place)) as base, base:
        for k, (key, value) in enumerate(changes):
            base.execute(
                'update result set result = json_set(result, ?, json(?)) where "commit" = ?',
                (key, json.dumps(value), commit(k)),
            )
    with reading_sessions(place, ()) as sessions_of:
        assert [found for entry in entries(place) for found in sessions_of(entry)] == []
