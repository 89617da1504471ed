from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetf.api.history import history
from edgetf.benchmarks.history.changes import Change, ChangeKind, Effect, compare, is_failure
from edgetf.benchmarks.history.sessions import ASSUMED, Spread
from edgetf.benchmarks.history.store import Entry, add_results, choose_commit, commit_of, entries, find_commit, rows
from edgetf.benchmarks.history.trend import draw_trend
from edgetf.errors import EdgetfError
from edgetf.files import to_plain
from edgetf.results import Benchmark, Failure, Status, Verdict, read_benchmark
from tests.conftest import Run

RANDOM = np.random.default_rng(0)


@pytest.fixture
def document(benchmarked: Path) -> Benchmark:
    return read_benchmark(benchmarked)


def _measured_again(document: Benchmark, factor: float, created: str, blocks: int = 5, lost: int = 0) -> Benchmark:
    """The same variants, `factor` times as slow, each block within a percent of that, `lost` more answers wrong."""
    results = []
    for result in document.results:
        assert result.latency_ms is not None
        assert result.parity is not None
        medians = result.latency_ms.median * factor * RANDOM.normal(1, 0.005, blocks)
        middle = float(np.median(medians))
        times = replace(result.latency_ms, median=middle, low=0.98 * middle, high=1.02 * middle)
        own = tuple(replace(result.blocks[0], turn=k, median_ms=float(m)) for k, m in enumerate(medians, 1))
        outputs = []
        for output in result.parity.outputs:
            assert output.accuracy is not None
            accuracy = replace(output.accuracy, variant=output.accuracy.variant - lost / output.accuracy.n)
            outputs.append(replace(output, accuracy=accuracy))
        parity = replace(result.parity, outputs=tuple(outputs))
        results.append(replace(result, latency_ms=times, blocks=own, parity=parity))
    return replace(document, created=created, results=tuple(results))


def _summaries(changes: list[Change], what: str) -> set[str]:
    return {one.summary for one in changes if one.what.startswith(what)}


def test_a_regression_is_reported_with_its_significance_and_noise_is_not(document: Benchmark, tmp_path: Path) -> None:
    place = tmp_path / "h.sqlite"
    add_results(_measured_again(document, 1.0, "2026-01-01T00:00:00+00:00"), "aaaa1111", "m", place)
    add_results(_measured_again(document, 1.001, "2026-01-02T00:00:00+00:00"), "bbbb2222", "m", place)
    add_results(_measured_again(document, 1.40, "2026-01-03T00:00:00+00:00", lost=30), "cccc3333", "m", place)
    same = compare(entries(place), "aaaa", "bbbb")
    assert _summaries(same, "median ms") == {"no significant change"}
    assert _summaries(same, "bytes") == {"equal"}
    worse = compare(entries(place), "bbbb", "cccc")
    assert _summaries(worse, "median ms") == {"slower"}
    assert _summaries(worse, "accuracy") == {"less accurate"}
    slower = next(one for one in worse if one.what == "median ms")
    assert slower.low is not None
    assert slower.high is not None
    assert slower.low < 1.40 / 1.001 < slower.high
    assert slower.p is not None
    assert slower.p < 0.001
    assert slower.spread == Spread(pytest.approx(ASSUMED), 0)  # type: ignore[arg-type]
    assert _summaries(compare(entries(place), "cccc", "bbbb"), "median ms") == {"faster"}


def test_sessions_before_and_of_each_commit_decide_how_small_a_change_is_found(
    document: Benchmark, tmp_path: Path
) -> None:
    place = tmp_path / "h.sqlite"
    one = replace(document, results=document.results[:1])
    other = replace(one, results=(replace(one.results[0], sha256="f" * 64),))
    unlike = replace(one, results=(replace(one.results[0], threads=2), replace(one.results[0], device="pi")))

    def add(which: Benchmark, factor: float, commit: str, day: int) -> None:
        add_results(_measured_again(which, factor, f"2026-01-{day:02}T00:00:00+00:00"), commit, "m", place)

    def found() -> Change:
        return next(one for one in history(place).compare("aaaa", "bbbb") if one.what == "median ms")

    add(one, 1.0, "aaaa", 1)
    add(other, 1.06, "bbbb", 2)
    assert (found().summary, found().spread) == ("no significant change", Spread(pytest.approx(ASSUMED), 0))  # type: ignore[arg-type]
    for day in range(3, 15):
        add(one, 1.0, "before", day)
        add(unlike, day, "before", day)  # other conditions say nothing about these
    spread = found().spread
    assert spread is not None
    assert spread.repeats == 11
    assert 0.005 < spread.deviation < 0.6 * ASSUMED
    narrow = found()
    assert narrow.summary == "slower"
    for day in range(15, 18):
        add(other, 1.06, "bbbb", day)
    more = found()
    assert more.low is not None
    assert narrow.low is not None
    assert narrow.low < more.low < 1.06
    assert more.spread is not None
    assert more.spread.repeats == 14


def test_equal_commits_differ_significantly_in_at_most_about_five_of_100_cases(
    document: Benchmark, tmp_path: Path
) -> None:
    """Over all simultaneous comparisons: Holm's rule."""
    found = 0
    for case in range(60):
        for name in "12":
            again = _measured_again(document, 1.0, f"2026-01-0{name}T00:00:00+00:00")
            add_results(again, name * 8, "m", tmp_path / str(case))
        found += any(one.summary in ("slower", "faster") for one in compare(entries(tmp_path / str(case)), "1", "2"))
    assert found <= 9  # of 60 at 5 %: more than 9 happen once in a thousand times


def test_unstable_emulated_or_unrelated_results_are_not_compared(document: Benchmark, tmp_path: Path) -> None:
    place = tmp_path / "h.sqlite"
    shaky = tuple(replace(result, stable=False, device="pi") for result in document.results)
    add_results(replace(document, results=shaky), "aaaa", "m", place)
    add_results(_measured_again(replace(document, results=shaky), 2.0, "2027-01-01T00:00:00+00:00"), "bbbb", "m", place)
    assert _summaries(compare(entries(place), "aaaa", "bbbb"), "median ms") == {"not compared: unstable timing"}
    emulated = tuple(replace(result, emulated=True, device="qemu") for result in document.results)
    add_results(replace(document, results=emulated), "cccc", "m", place)
    add_results(
        _measured_again(replace(document, results=emulated), 2.0, "2027-01-01T00:00:00+00:00"), "dddd", "m", place
    )
    assert _summaries(compare(entries(place), "cccc", "dddd"), "median ms") == set()
    with pytest.raises(EdgetfError, match="nothing can be compared") as caught:
        compare(entries(place), "aaaa", "cccc")
    assert "int8: the device was 'pi' and is 'qemu'" in caught.value.message
    with pytest.raises(EdgetfError, match="no commit 'eeee' in the history"):
        compare(entries(place), "aaaa", "eeee")


def test_a_variant_that_fails_now_or_is_gone_is_reported_and_so_is_a_verdict(
    document: Benchmark, tmp_path: Path
) -> None:
    place = tmp_path / "h.sqlite"
    add_results(document, "aaaa", "m", place)
    one, other, *rest = document.results
    assert other.parity is not None
    failed = replace(one, status=Status.FAILED, error=Failure("run", "it died"))
    missed = replace(other, parity=replace(other.parity, verdict=Verdict.FAIL))
    add_results(
        replace(document, created="2027-01-01T00:00:00+00:00", results=(failed, missed, *rest[:-1])), "bbbb", "m", place
    )
    found = {(change.variant, change.what): change.summary for change in compare(entries(place), "aaaa", "bbbb")}
    assert found[one.variant, "run"] == "fails now"
    assert found[other.variant, "verdict"].startswith("worse: ")
    assert found[rest[-1].variant, "run"] == "not measured now"


def test_the_reason_that_two_results_cannot_be_compared_is_named(document: Benchmark, tmp_path: Path) -> None:
    place = tmp_path / "h.sqlite"
    add_results(document, "aaaa", "m", place)
    later = replace(document, created="2027-01-01T00:00:00+00:00")
    threads = tuple(replace(result, threads=4) for result in document.results)
    add_results(replace(later, results=threads), "bbbb", "m", place)
    with pytest.raises(EdgetfError, match=r"the runtime and settings was '.*1 thread.*' and is '.*4 thread"):
        compare(entries(place), "aaaa", "bbbb")
    add_results(later, "cccc", "other", place)
    with pytest.raises(EdgetfError, match="the model was 'm' and is 'other'"):
        compare(entries(place), "aaaa", "cccc")
    add_results(replace(later, machine={"cpu": "another"}), "dddd", "m", place)
    with pytest.raises(EdgetfError, match=r"the machine was '.*' and is 'another'"):
        compare(entries(place), "aaaa", "dddd")
    assert document.samples is not None
    samples = replace(later, samples=replace(document.samples, digest="0123456789abcdef"))
    add_results(samples, "eeee", "m", place)
    changes = _summaries(compare(entries(place), "aaaa", "eeee"), "accuracy")
    assert changes == {f"not compared: the samples differ ({document.samples.digest[:12]} and 0123456789ab)"}
    allowed = compare(entries(place), "aaaa", "bbbb", {ChangeKind.RUNTIME})
    assert {one.summary[:28] for one in allowed if one.kind is ChangeKind.RUNTIME} == {"the runtime and settings was"}
    assert not any(is_failure(one, {ChangeKind.RUNTIME}) for one in allowed)
    some = (*threads[:1], *document.results[1:])
    add_results(replace(later, results=some), "ffff", "m", place)
    gone = _summaries(compare(entries(place), "aaaa", "ffff"), "run")
    assert len(gone) == 1
    assert gone.pop().startswith("not measured now: the runtime and settings was ")


def test_a_comparison_that_is_no_longer_possible_is_a_failure_unless_allowed(
    document: Benchmark, tmp_path: Path
) -> None:
    place, last = tmp_path / "h.sqlite", document.results[-1]
    assert last.parity is not None
    assert document.samples is not None
    add_results(document, "aaaa", "m", place)
    later = replace(document, created="2027-01-01T00:00:00+00:00")
    missed = replace(last, parity=replace(last.parity, verdict=Verdict.FAIL))
    unlabelled = tuple(replace(output, accuracy=None) for output in last.parity.outputs)
    first = document.results[:-1]
    changed = {
        ChangeKind.GONE: replace(later, results=first),
        ChangeKind.PARITY: replace(later, results=(*first, replace(last, parity=None))),
        ChangeKind.RUNTIME: replace(later, results=(*first, replace(last, runtime="litert 9"))),
        ChangeKind.LATENCY: replace(later, results=(*first, replace(last, latency_ms=None, blocks=()))),
        ChangeKind.SAMPLES: replace(
            later, results=(*first, missed), samples=replace(document.samples, digest="0" * 64)
        ),
    }
    parity = replace(last.parity, outputs=unlabelled)
    more = {
        ChangeKind.PARITY: replace(later, results=(*first, replace(last, parity=parity))),
        ChangeKind.RUNTIME: replace(later, results=(*first, replace(last, nice=10))),
        ChangeKind.LATENCY: replace(later, results=(*first, replace(last, emulated=True))),
    }
    for k, (kind, changed_so) in enumerate([*changed.items(), *more.items()]):
        add_results(changed_so, f"bbbb{k}", "m", place)
        found = compare(entries(place), "aaaa", f"bbbb{k}")
        failures = [one for one in found if is_failure(one, set())]
        assert [(one.variant, one.kind) for one in failures] == [(last.variant, kind)]
        assert not [one for one in compare(entries(place), "aaaa", f"bbbb{k}", {kind}) if is_failure(one, {kind})]


def test_a_latency_that_is_gone_is_named_and_so_is_another_priority(document: Benchmark, tmp_path: Path) -> None:
    place, [first, *rest] = tmp_path / "h.sqlite", document.results
    assert first.latency_ms is not None
    add_results(document, "aaaa", "m", place)
    later = replace(document, created="2027-01-01T00:00:00+00:00")
    changed = {
        "not measured now": replace(first, latency_ms=None, blocks=()),
        "not measured now: the device is emulated": replace(first, emulated=True),
    }
    for k, (summary, one) in enumerate(changed.items()):
        add_results(replace(later, results=(one, *rest)), f"bbbb{k}", "m", place)
        [gone] = [one for one in compare(entries(place), "aaaa", f"bbbb{k}") if one.kind is ChangeKind.LATENCY]
        assert (gone.variant, gone.what, gone.summary) == (first.variant, "median ms", summary)
        assert (gone.old, gone.new) == (first.latency_ms.median, None)
        back = compare(entries(place), f"bbbb{k}", "aaaa")  # it is measured again
        assert not [one for one in back if one.kind is ChangeKind.LATENCY]
    add_results(replace(later, results=tuple(replace(one, nice=-5) for one in document.results)), "cccc", "m", place)
    with pytest.raises(EdgetfError, match="the nice value was 0 and is -5") as caught:
        compare(entries(place), "aaaa", "cccc")
    assert "give --allow runtime" in caught.value.hint
    allowed = compare(entries(place), "aaaa", "cccc", {ChangeKind.RUNTIME})
    assert _summaries(allowed, "run") == {"the nice value was 0 and is -5"}


def test_an_agreement_that_is_gone_is_a_failure_unless_allowed(document: Benchmark, tmp_path: Path) -> None:
    def of(agreement: bool) -> Benchmark:
        results = []
        for one in document.results:
            assert one.parity is not None
            outputs = tuple(
                replace(output, accuracy=None, agreement=output.agreement if agreement else None)
                for output in one.parity.outputs
            )
            results.append(replace(one, parity=replace(one.parity, outputs=outputs)))
        return replace(document, created=f"2027-01-0{1 + agreement}T00:00:00+00:00", results=tuple(results))

    add_results(of(True), "aaaa", "m", tmp_path / "h")
    add_results(of(False), "bbbb", "m", tmp_path / "h")
    found = [one for one in compare(entries(tmp_path / "h"), "aaaa", "bbbb") if one.effect is Effect.WORSE]
    assert {one.what for one in found} == {"agreement of output_0"}
    assert {one.kind for one in found} == {ChangeKind.PARITY}
    assert len(found) == len(document.results)


def _of_models(document: Benchmark, count: int) -> list[Entry]:
    """Two commits of a model with many others: half are unchanged, the others were measured on another machine."""
    result = next(one for one in document.results if one.variant == "int8")
    text = json.dumps(to_plain(replace(result, blocks=(), parity=None)))
    found = []
    for commit in ("aaaa", "bbbb"):
        for k in range(count):
            machine = commit if k % 2 else "same"
            texts = ("d", "2027", commit, f"m{k}", "model", "int8", "local", machine, "settings", "samples")
            found.append(Entry(*texts, text))
    return found


def test_twice_as_many_models_take_twice_as_many_steps_to_compare(document: Benchmark) -> None:
    def calls(count: int) -> int:
        known, found = _of_models(document, count), Counter[str]()
        sys.setprofile(lambda frame, event, argument: found.update([event]))
        try:
            changes = compare(known, "aaaa", "bbbb")
        finally:
            sys.setprofile(None)
        assert sum(one.summary.startswith("not measured now: the machine was") for one in changes) == count // 2
        return found["call"] + found["c_call"]

    calls(10)  # converters are created
    few, many = calls(40), calls(80)
    assert 1.9 < many / few < 2.2


def test_a_long_history_is_listed_compared_and_drawn_in_no_more_time_than_its_length(
    document: Benchmark, edgetf: Run, tmp_path: Path
) -> None:
    """100,000 results took two minutes, and a picture of them had 100 MB."""
    place, count = tmp_path / "h.sqlite", len(document.results)
    add_results(document, "first", "m", place)
    base = sqlite3.connect(place)
    columns = 'created,"commit",name,model,variant,device,machine,settings,samples,result'
    with base:
        for k in range(500):
            base.execute(
                f"insert into result (digest, {columns}) select ?, ?, ?, {columns[17:]} from result limit {count}",
                (f"d{k}", f"2030-01-01T{k:05d}", f"c{k:05d}"),
            )
    base.close()
    assert len(draw_trend(rows(place), "local").svg) < 1_500_000
    listed = edgetf("history", "list", "--history", place)
    assert len(listed.stdout.splitlines()) < 210
    assert "older entries: --last 0 lists all" in listed.stdout
    whole = edgetf("history", "list", "--history", place, "--last", 0)
    assert len(whole.stdout.splitlines()) == 501 * count
    compared = edgetf("history", "compare", "c00001", "c00002", "--history", place)
    assert compared.returncode == 0, compared.stderr


def test_models_are_not_mixed(document: Benchmark, tmp_path: Path) -> None:
    place = tmp_path / "h.sqlite"
    add_results(document, "aaaa", "digits", place)
    add_results(_measured_again(document, 1.0, "2027-01-01T00:00:00+00:00"), "bbbb", "digits", place)
    add_results(_measured_again(document, 30.0, "2027-01-02T00:00:00+00:00"), "bbbb", "cats", place)
    changes = compare(entries(place), "aaaa", "bbbb")
    assert {change.name for change in changes} == {"digits"}
    with pytest.raises(EdgetfError, match="several models: digits, cats"):
        draw_trend(rows(place), "local")
    assert "<svg" in draw_trend(rows(place, name="cats"), "local").svg


def test_a_commit_is_found_by_its_prefix_and_a_clean_one_is_preferred(document: Benchmark, tmp_path: Path) -> None:
    for name in ("aaaa1111", "aaaa1111+", "bbbb2222+", "abab"):
        add_results(replace(document, created=name), name, "m", tmp_path / "h")
    known = entries(tmp_path / "h")
    assert find_commit("aaaa1111", known) == "aaaa1111"
    assert find_commit("aaaa1111+", known) == "aaaa1111+"
    assert find_commit("aaaa", known) == "aaaa1111"
    assert find_commit("aaaa11112222", known) == "aaaa1111"  # stored under a shorter name
    assert find_commit("bbbb", known) == "bbbb2222+"
    with pytest.raises(EdgetfError, match="there are 2 commits that begin with 'a'"):
        find_commit("a", known)


def test_the_same_benchmark_is_stored_once_and_read_back_unchanged(document: Benchmark, tmp_path: Path) -> None:
    place = tmp_path / "new" / "h.sqlite"
    assert add_results(document, "aaaa", "m", place) == len(document.results)
    assert add_results(document, "aaaa", "m", place) == 0
    assert tuple(one.result for one in entries(place)) == document.results
    assert [one.variant for one in entries(place, variant="int8")] == ["int8"]


def test_a_file_that_is_missing_damaged_or_newer_is_refused(document: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(EdgetfError, match="cannot use the history"):
        add_results(document, "", "m", tmp_path / "text")
    add_results(document, "", "m", tmp_path / "h")
    base = sqlite3.connect(tmp_path / "h")
    base.execute("pragma user_version = 99")
    base.close()
    with pytest.raises(EdgetfError, match="has schema 99"):
        entries(tmp_path / "h")
    with pytest.raises(EdgetfError, match="there is no history"):
        entries(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"variant": 1}', "[" * 100_000, '{"a": NaN}'])
def test_a_damaged_row_is_named_in_every_form_of_the_list(
    text: str, document: Benchmark, edgetf: Run, tmp_path: Path
) -> None:
    place = tmp_path / "h"
    add_results(document, "", "m", place)
    base = sqlite3.connect(place)
    with base:
        base.execute("update result set result = ? where variant = 'int8'", (text,))
    base.close()
    for more in ([], ["--json"]):
        listed = edgetf("history", "list", "--history", place, *more)
        assert listed.returncode == 1
        assert "the history holds a result of another version: int8" in listed.stderr
        assert "Traceback" not in listed.stderr


def test_the_list_as_json_has_the_results_as_they_were_stored(document: Benchmark, edgetf: Run, tmp_path: Path) -> None:
    add_results(document, "aaaa", "m", tmp_path / "h")
    listed = json.loads(edgetf("history", "list", "--history", tmp_path / "h", "--json").stdout)
    assert [one["result"] for one in listed] == [to_plain(result) for result in document.results]
    assert {one["commit"] for one in listed} == {"aaaa"}


@pytest.mark.parametrize("answer", [r"printf 'v\3771\n'", "sleep 60", "exit 1"])
def test_whatever_git_answers_a_benchmark_has_a_commit_or_none(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "git").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("edgetf.benchmarks.history.store._GIT_S", 0.3)
    assert commit_of(tmp_path) == ("v\ufffd1" if "printf" in answer else "")
    with pytest.raises(EdgetfError, match="no commit 'main' in the history"):
        choose_commit("main", ["aaaa"])


def test_the_trend_shows_each_commit_and_variant(document: Benchmark, tmp_path: Path) -> None:
    for k, name in enumerate(("aaaa1111", "bbbb2222+")):
        add_results(_measured_again(document, 1 + k, f"2026-01-0{k + 1}T00:00:00+00:00"), name, "m", tmp_path / "h")
    svg = draw_trend(rows(tmp_path / "h"), "local").svg
    for word in ("aaaa1111", "bbbb2222+", "int8", "float32", "median ms on local", "drop, points"):
        assert word in svg
    with pytest.raises(EdgetfError, match="the history has no results of 'pi'"):
        draw_trend(rows(tmp_path / "h"), "pi")


def test_every_benchmark_of_the_command_is_kept_with_the_commit_of_its_model(
    converted: Path, edgetf: Run, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    (repository / "int8.tflite").write_bytes((converted / "int8.tflite").read_bytes())
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    commit = subprocess.run(
        [*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert commit_of(repository / "int8.tflite") == commit
    options = ("--blocks", 2, "--history", tmp_path / "h.sqlite")
    ended = edgetf("benchmark", repository / "int8.tflite", "-o", "bench", *options)
    assert ended.returncode == 0, ended.stderr
    listed = json.loads(edgetf("history", "list", "--history", tmp_path / "h.sqlite", "--json").stdout)
    assert [(one["commit"], one["variant"], one["device"]) for one in listed] == [(commit, "int8", "local")]
    (tmp_path / "broken").write_text("no database" * 100)  # the benchmark itself succeeds
    again = edgetf("benchmark", repository / "int8.tflite", "-o", "b2", "--blocks", 2, "--history", tmp_path / "broken")
    assert (again.returncode, "not stored in the history: cannot use the history" in again.stderr) == (0, True)
