"""Attacks on the verdict by budgets, edited results and exchanged files: what passes undeservedly, and what stops it.

The commands run tiny classifiers for real.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetf.api.verdicts import Checks
from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.bundle import BundleOptions, make_bundle
from edgetf.benchmarks.diagnosis.twins import LadderOptions
from edgetf.benchmarks.judging.check import check
from edgetf.benchmarks.judging.gate import judge_gate, load_gate
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job, Measurement
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.results import Verdict, read_benchmark
from tests.attacks.kit import (
    BRIEF,
    NONE,
    WEIGHTS,
    good,
    write_model,
    write_reference,
    write_samples,
)
from tests.conftest import BLOCKS, ignore

Array = NDArray[Any]
PASS, FAIL, OPEN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


# budgets ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with samples, a reference, a good and a bad variant, and the benchmark of both."""
    folder = tmp_path_factory.mktemp("attacks")
    case = good(400)
    write_samples(folder / "samples.npz", case.x, case.labels)
    write_reference(folder / "ref", folder / "samples.npz", case.theirs)
    write_model(folder / "good.tflite", WEIGHTS * np.float32(1.0001), NONE)
    write_model(folder / "bad.tflite", np.random.default_rng(9).normal(size=WEIGHTS.shape).astype(np.float32), NONE)
    options = BenchmarkOptions(reference=folder / "ref", timing=BRIEF, blocks=BLOCKS, patience=1, energy_s=0.0)
    benchmark([folder / "good.tflite", folder / "bad.tflite"], LocalDevice(), folder / "bench", options, ignore)
    return folder


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        (Budgets(max_drop=98), "max_drop 98 passes a variant that always answers the same"),
        (Budgets(max_drop=100), "max_drop 100: nothing can miss it"),
        (Budgets(max_drop=np.inf), "max_drop inf: nothing can miss it"),
        (Budgets(max_latency_ms=np.inf), "max_latency_ms is infinite"),
        (Budgets(min_agreement=0.0), "min_agreement 0: nothing can miss it"),
        (Budgets(max_metric_drop=np.inf), "max_metric_drop is infinite"),
    ],
)
def test_a_budget_that_cannot_be_missed_gives_a_warning(budgets: Budgets, words: str, world: Path) -> None:
    document = read_benchmark(world / "bench")
    for one in check(document, budgets, explicit_drop=False):
        assert any(words in warning for warning in one.warnings)
    assert not any(one.warnings for one in check(document, Budgets(), explicit_drop=False))


def test_a_sequential_benchmark_warns_of_a_budget_that_cannot_be_missed(world: Path, tmp_path: Path) -> None:
    for max_drop, expected in ((98.0, ["good: max_drop 98 passes a variant that always answers the same"]), (5.0, [])):
        options = BenchmarkOptions(reference=world / "ref", timing=BRIEF, blocks=BLOCKS, patience=1, energy_s=0.0)
        options = replace(options, sequential=Budgets(max_drop=max_drop))
        found = benchmark([world / "good.tflite"], LocalDevice(), tmp_path / f"{max_drop}", options, ignore)
        assert [one.rpartition(": ")[0] for one in found.warnings if "max_drop" in one] == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[budgets.of.bad]", "sets no budget"),
        ("[budgets]\n[budgets.of.bad]", "sets no budget"),
        ("[budgets]\nmax_drop = 1\n[budgets.of.bad]", "sets no budget"),
        ("[budgets]\nmax_latency_ms = {}", "sets no budgets"),
        ("[budgets.of.bad]\nmax_latency_ms = {}", "sets no budgets"),
        ("[budgets]\nmax_drop = nan", "is not a number of at least 0"),
        ("[budgets]\nmax_drop = -1", "is not a number of at least 0"),
        ("[budgets]\nmin_agreement = 98", "is a share"),
    ],
)
def test_a_gate_that_asks_for_nothing_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(text + "\n")
    with pytest.raises(EdgetfError, match=words):
        load_gate(tmp_path / "gate.toml")


# documents --------------------------------------------------------------------------------------------------------


def _edited(world: Path, to: Path, change: Callable[[Any], None]) -> Path:
    """A copy of the benchmark in which the bad variant's figures were changed."""
    plain = json.loads((world / "bench" / "benchmark.json").read_text())
    change(plain["results"][1])
    to.mkdir()
    (to / "benchmark.json").write_text(json.dumps(plain))
    (to / "measurements").symlink_to(world / "bench" / "measurements")
    return to


def _set_pass(result: Any) -> None:
    for one in (result["parity"], *result["parity"]["outputs"]):
        one.update(verdict="pass", reason="fine")


def _narrow(result: Any) -> None:
    _set_pass(result)
    result["parity"]["outputs"][0]["accuracy"].update(low=-0.1, high=0.1, drop_points=0.0)


def _all_right(result: Any) -> None:
    """Change all figures that belong together."""
    _set_pass(result)
    [output] = result["parity"]["outputs"]
    right = json.loads(json.dumps(output["accuracy"]))
    right.update(only_reference_right=0, only_variant_right=0, variant=right["reference"])
    right.update(drop_points=0.0, low=-0.95137, high=0.95137, mcnemar_p=1.0)
    from edgetf.benchmarks.judging.statistics import paired_interval

    right["low"], right["high"] = (100 * end for end in paired_interval(0, 0, right["n"]))
    output.update(accuracy=right, lost=[], classes=[])


@pytest.mark.parametrize(
    ("change", "checked", "bundled"),
    [
        (_set_pass, FAIL, "did not pass"),
        (_narrow, None, "contradicts its counts"),
        (_all_right, PASS, "contradict benchmark.json"),  # the files next to it are read
    ],
)
def test_an_edited_benchmark_is_judged_again_and_makes_no_bundle(
    change: Callable[[Any], None], checked: Verdict | None, bundled: str, world: Path, tmp_path: Path
) -> None:
    place = _edited(world, tmp_path / "b", change)
    if checked is None:
        with pytest.raises(EdgetfError, match="contradicts its counts"):
            check(read_benchmark(place), Budgets(), explicit_drop=True)
    else:
        assert check(read_benchmark(place), Budgets(), explicit_drop=True)[1].verdict is checked
    asked = LadderOptions("bad", (world / "bad.tflite",), world / "ref")
    with pytest.raises(EdgetfError, match=bundled):
        make_bundle(place, tmp_path / "it.edgetf", BundleOptions(asked), ignore)
    assert not (tmp_path / "it.edgetf").exists()


def test_a_bundle_needs_the_reference_that_the_benchmark_had(world: Path, tmp_path: Path) -> None:
    asked = LadderOptions("good", (world / "good.tflite",), world / "ref")
    make_bundle(world / "bench", tmp_path / "good.edgetf", BundleOptions(asked), ignore)
    case = good(400)
    write_reference(tmp_path / "ref", world / "samples.npz", case.theirs * np.float32(0.999))
    other = replace(asked, reference=tmp_path / "ref")
    with pytest.raises(EdgetfError, match=r"is not the reference that .* was compared with"):
        make_bundle(world / "bench", tmp_path / "it.edgetf", BundleOptions(other), ignore)


@pytest.mark.parametrize(
    ("released", "verdict"),
    [
        ({"good": "good"}, PASS),
        ({"good": "bad"}, FAIL),  # replaced since
        ({"good": "good", "new": "new"}, FAIL),  # never measured
        ({"other": "good"}, PASS),  # renamed
        ({}, FAIL),
    ],
)
def test_the_gate_judges_the_files_that_are_released(
    released: dict[str, str], verdict: Verdict, world: Path, tmp_path: Path
) -> None:
    document = read_benchmark(world / "bench")
    document = replace(document, results=document.results[:1])
    write_model(tmp_path / "new", WEIGHTS, NONE + 1)
    (tmp_path / "out").mkdir()
    for name, like in released.items():
        source = tmp_path / "new" if like == "new" else world / f"{like}.tflite"
        (tmp_path / "out" / f"{name}.tflite").write_bytes(source.read_bytes())
    (tmp_path / "gate.toml").write_text("[budgets]\nmax_drop = 1.0\n")
    gate = load_gate(tmp_path / "gate.toml")
    if not released:
        with pytest.raises(EdgetfError, match="no variants"):
            judge_gate(gate, [document], [tmp_path / "out"])
        return
    found = {one.verdict for one in judge_gate(gate, [document], [tmp_path / "out"])}
    assert (FAIL in found) == (verdict is FAIL)


def test_the_gate_refuses_a_benchmark_that_is_older_than_the_file(world: Path, tmp_path: Path) -> None:
    """The benchmark records the path of the file; if there is no file, as on another machine, nothing is compared."""
    (tmp_path / "gate.toml").write_text("[budgets]\nmax_drop = 1.0\n")
    document, gate = read_benchmark(world / "bench"), load_gate(tmp_path / "gate.toml")
    good = document.results[0]
    for path, verdicts in ((good.path, {PASS}), (str(world / "bad.tflite"), {PASS, FAIL}), ("/gone.tflite", {PASS})):
        found = judge_gate(gate, [replace(document, results=(replace(good, path=path),))])
        assert {one.verdict for one in found} == verdicts


# what is replaced while it runs -----------------------------------------------------------------------------------


class _Hooked(LocalDevice):
    """This machine; something happens before each job except the first."""

    def __init__(self, act: Callable[[Job], None]) -> None:
        super().__init__()
        object.__setattr__(self, "act", act)
        object.__setattr__(self, "jobs", [])

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        self.jobs.append(job)  # type: ignore[attr-defined]
        if len(self.jobs) > 1:  # type: ignore[attr-defined]
            self.act(job)  # type: ignore[attr-defined]
        return super().run(job, out, on_event)


def _own_world(world: Path, to: Path, name: str) -> BenchmarkOptions:
    for file in ("samples.npz", "ref/output-0.npy", "ref/reference.json"):
        (to / file).parent.mkdir(exist_ok=True, parents=True)
        (to / file).write_bytes((world / file).read_bytes().replace(str(world).encode(), str(to).encode()))
    (to / "v.tflite").write_bytes((world / f"{name}.tflite").read_bytes())
    return BenchmarkOptions(
        reference=to / "ref", samples=to / "samples.npz", timing=BRIEF, blocks=BLOCKS, patience=1, energy_s=0.0
    )


@pytest.mark.parametrize("how", ["in place", "symlink"])
def test_the_file_that_is_named_is_the_one_that_is_measured(how: str, world: Path, tmp_path: Path) -> None:
    options, file = _own_world(world, tmp_path, "bad"), tmp_path / "v.tflite"
    good = (world / "good.tflite").read_bytes()

    def exchange(job: Job) -> None:
        if how == "in place":
            file.write_bytes(good)
        else:
            (tmp_path / "other").write_bytes(good)
            file.unlink()
            file.symlink_to(tmp_path / "other")

    found = benchmark([file], _Hooked(exchange), tmp_path / "b", options, ignore)
    assert found.results[0].sha256 == read_benchmark(world / "bench").results[1].sha256
    assert found.results[0].parity is not None
    assert found.results[0].parity.verdict is FAIL


@pytest.mark.parametrize(("what", "lost"), [("samples.npz", 1), ("ref/output-0.npy", 0)])
def test_samples_and_references_that_change_during_a_run_give_no_verdict(
    what: str, lost: int, world: Path, tmp_path: Path
) -> None:
    options = _own_world(world, tmp_path, "good")
    before = (tmp_path / what).read_bytes()
    changed = bytearray(before)
    changed[len(changed) // 2] ^= 1

    def spoil(job: Job) -> None:
        if job.outputs:  # in the last turn
            with (tmp_path / what).open("r+b") as file:
                file.write(changed)

    with pytest.raises(EdgetfError, match="changed during the benchmark") as reported:
        benchmark([tmp_path / "v.tflite"], _Hooked(spoil), tmp_path / "b", options, ignore)
    assert "finished turns are kept" in reported.value.hint
    with (tmp_path / what).open("r+b") as file:
        file.write(before)
    again = _Hooked(lambda job: None)
    found = benchmark([tmp_path / "v.tflite"], again, tmp_path / "b", options, ignore)
    assert found.results[0].parity is not None
    assert found.results[0].parity.verdict is PASS
    assert len(again.jobs) == lost  # type: ignore[attr-defined]  # turns on samples that changed meanwhile


@pytest.mark.parametrize("when", ["before", "during"])
def test_samples_that_are_only_touched_and_linked_during_a_run_cost_nothing(
    when: str, world: Path, tmp_path: Path
) -> None:
    options, samples = _own_world(world, tmp_path, "good"), tmp_path / "samples.npz"

    def touch(job: Job) -> None:
        os.utime(samples)
        (tmp_path / f"{time_ns()}.npz").hardlink_to(samples)

    class Touched(_Hooked):
        def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
            measurement = super().run(job, out, on_event)
            if when == "during":
                touch(job)
            return measurement

    attempts: list[Job] = []

    def touch_every_other_time(job: Job) -> None:
        attempts.append(job)
        if len(attempts) % 2:
            touch(job)

    device = Touched(touch_every_other_time if when == "before" else lambda job: None)
    [result] = benchmark([tmp_path / "v.tflite"], device, tmp_path / "b", options, ignore).results
    assert result.error is None
    assert result.parity is not None
    assert result.parity.verdict is PASS


def test_samples_that_are_removed_before_the_device_is_free_are_run_nevertheless(world: Path, tmp_path: Path) -> None:
    options = _own_world(world, tmp_path, "good")

    class Busy(LocalDevice):
        @contextmanager
        def reserve(self, on_event: OnEvent | None = None) -> Iterator[None]:
            (tmp_path / "samples.npz").unlink()
            yield

    [result] = benchmark([tmp_path / "v.tflite"], Busy(), tmp_path / "b", options, ignore).results
    assert result.parity is not None
    assert result.parity.verdict is PASS


def test_a_device_that_runs_another_file_has_measured_nothing(world: Path, tmp_path: Path) -> None:
    class Other(LocalDevice):
        def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
            return super().run(replace(job, model=str(world / "good.tflite")), out, on_event)

    options = _own_world(world, tmp_path, "bad")
    [result] = benchmark([tmp_path / "v.tflite"], Other(), tmp_path / "b", options, ignore).results
    assert result.error is not None
    assert "other files ran on local than were sent there: the variant" in result.error.message
    assert result.error.hint == "do not change the variant and the samples during the run, and run the command again"

    class Kept(Other):
        store = "/data/edgetf/store"

    [result] = benchmark([tmp_path / "v.tflite"], Kept(name="pi"), tmp_path / "c", options, ignore).results
    assert result.error is not None
    assert result.error.hint == "remove /data/edgetf/store on pi, and run the command again"


def test_a_metric_that_fails_does_not_lose_measurements(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failing_metric.py").write_text("def it(outputs, labels): return 10**400\n")
    options = replace(_own_world(world, tmp_path, "good"), metrics=("failing_metric:it",))
    document = benchmark([tmp_path / "v.tflite"], LocalDevice(), tmp_path / "b", options, ignore)
    [result] = read_benchmark(tmp_path / "b").results
    assert result == document.results[0]
    assert result.latency_ms is not None
    [checked] = check(document, Budgets(max_metric_drop=1.0), explicit_drop=False)
    assert checked.verdict is OPEN
    assert "the metric failing_metric:it failed" in checked.parts["failing_metric:it"].reason


def test_a_bundle_measures_the_metric_again(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sound_metric.py").write_text("def it(outputs, labels): return outputs['p'].argmax(1) == labels\n")
    options = replace(_own_world(world, tmp_path, "bad"), metrics=("sound_metric:it",))
    benchmark([tmp_path / "v.tflite"], LocalDevice(), tmp_path / "b", options, ignore)
    plain = json.loads((tmp_path / "b" / "benchmark.json").read_text())
    [metric] = plain["results"][0]["parity"]["metrics"]
    metric.update(variant=metric["reference"], drop=0.0, low=-0.001, high=0.001, verdict="pass")
    (tmp_path / "b" / "benchmark.json").write_text(json.dumps(plain))
    asked = LadderOptions("v", (tmp_path / "v.tflite",), tmp_path / "ref", tmp_path / "samples.npz")
    with pytest.raises(EdgetfError, match="sound_metric:it of the outputs of v contradicts"):
        make_bundle(tmp_path / "b", tmp_path / "it.edgetf", BundleOptions(asked), ignore)


def test_only_released_files_that_are_given_or_named_must_exist(world: Path, tmp_path: Path) -> None:
    document = read_benchmark(world / "bench")
    (tmp_path / "budget.toml").write_text("[budgets]\nmax_bytes = 100_000\n")
    gate = load_gate(tmp_path / "budget.toml")
    assert not [one for one in judge_gate(gate, [document], [world / "good.tflite"]) if "file" in one.parts]
    named = judge_gate(replace(gate, variants=("good", "bad")), [document], [world / "good.tflite"])
    [missing] = [one for one in named if "file" in one.parts]
    assert (missing.variant, missing.verdict) == ("bad", FAIL)
    assert missing.parts["file"].reason == "the measured file is missing"
    write_model(tmp_path / "good.tflite", WEIGHTS * 2, NONE)
    [changed] = [one for one in judge_gate(gate, [document], [tmp_path / "good.tflite"]) if "file" in one.parts]
    assert (changed.variant, "is not the file that was measured" in changed.parts["file"].reason) == ("good", True)
    [row] = [
        one for one in Checks(judge_gate(gate, [document], [tmp_path / "good.tflite"])).values() if "file" in one.parts
    ]
    assert (row.name, row.device, row.verdict, len(row.parts) > 1) == ("good", "local", FAIL, True)
