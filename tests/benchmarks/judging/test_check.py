from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgetf
from edgetf.api.verdicts import Checks
from edgetf.benchmarks.judging.check import Checked, check, exit_code, select
from edgetf.benchmarks.judging.statistics import accuracy_drop
from edgetf.benchmarks.judging.verdict import Budgets, Judged, judge_parity
from edgetf.errors import EdgetfError, ExitCode
from edgetf.files import write_document
from edgetf.results import (
    Benchmark,
    Failure,
    MetricFigures,
    MetricParity,
    OutputFigures,
    Status,
    Verdict,
    read_benchmark,
)


@pytest.fixture
def document(benchmarked: Path) -> Benchmark:
    return select(read_benchmark(benchmarked), ["float16"])


def test_generous_budgets_pass(document: Benchmark) -> None:
    checked = check(document, Budgets(max_drop=5, max_latency_ms=1000, max_bytes=10**9), explicit_drop=True)
    assert exit_code(checked) is ExitCode.DONE
    assert list(checked[0].parts) == ["parity of output_0", "latency", "size"]


@pytest.mark.parametrize("budgets", [Budgets(max_drop=5, max_bytes=10), Budgets(max_drop=5, max_latency_ms=1e-9)])
def test_a_missed_budget_is_exit_code_3(document: Benchmark, budgets: Budgets) -> None:
    assert exit_code(check(document, budgets, explicit_drop=True)) is ExitCode.BUDGET_MISSED


def test_too_few_samples_are_exit_code_4(document: Benchmark) -> None:
    checked = check(document, Budgets(max_drop=0.1), explicit_drop=True)
    assert exit_code(checked) is ExitCode.NOT_ENOUGH_DATA
    assert checked[0].verdict is Verdict.INCONCLUSIVE


def test_a_failed_run_is_exit_code_5_even_if_a_budget_is_missed(document: Benchmark) -> None:
    failed = replace(document.results[0], status=Status.FAILED, error=Failure("run", "it died"))
    checked = check(replace(document, results=(document.results[0], failed)), Budgets(max_bytes=1), False)
    assert exit_code(checked) is ExitCode.DEVICE_FAILED
    assert checked[1].parts["run"].reason == "it died"


def test_a_requested_drop_is_not_replaced_by_another_figure(document: Benchmark) -> None:
    result = document.results[0]
    assert result.parity is not None
    outputs = tuple(replace(output, accuracy=None) for output in result.parity.outputs)
    unlabelled = replace(document, results=(replace(result, parity=replace(result.parity, outputs=outputs)),))
    assert exit_code(check(unlabelled, Budgets(min_agreement=0.9), explicit_drop=False)) is ExitCode.DONE
    checked = check(unlabelled, Budgets(min_agreement=0.9), explicit_drop=True)
    assert exit_code(checked) is ExitCode.NOT_ENOUGH_DATA
    assert "labels" in checked[0].parts["accuracy drop"].reason


def test_an_unstable_run_is_judged_only_far_from_the_budget(document: Benchmark) -> None:
    one = document.results[0]
    assert one.latency_ms is not None
    shaky = replace(
        one,
        stable=False,
        stable_reason="it drifted",
        blocks=tuple(replace(block, median_ms=1.0 + k) for k, block in enumerate(one.blocks)),
        latency_ms=replace(one.latency_ms, median=1.5, low=1.4, high=1.6),
    )
    near = check(replace(document, results=(shaky,)), Budgets(max_drop=5, max_latency_ms=1.7), explicit_drop=False)
    assert near[0].parts["latency"].verdict is Verdict.INCONCLUSIVE
    assert "it drifted" in near[0].parts["latency"].reason
    far = check(replace(document, results=(shaky,)), Budgets(max_drop=5, max_latency_ms=1000), explicit_drop=False)
    assert far[0].parts["latency"].verdict is Verdict.PASS


def test_a_failed_conversion_is_a_missed_budget_and_not_silence(document: Benchmark) -> None:
    failed = replace(document.results[0], status=Status.FAILED, error=Failure("conversion", "unsupported op"))
    checked = check(replace(document, results=(failed,)), Budgets(), explicit_drop=False)
    assert exit_code(checked) is ExitCode.BUDGET_MISSED
    assert checked[0].parts["conversion"].reason == "unsupported op"


def test_nothing_passes_by_being_empty(document: Benchmark) -> None:
    with pytest.raises(EdgetfError, match="there are no results to check"):
        check(replace(document, results=()), Budgets(), False)
    bare = replace(document, reference=None, results=(replace(document.results[0], parity=None),))
    with pytest.raises(EdgetfError, match="nothing was compared"):
        check(bare, Budgets(), False)
    assert exit_code(check(bare, Budgets(max_bytes=10**9), explicit_drop=False)) is ExitCode.DONE
    assert exit_code(check(bare, Budgets(max_bytes=10**9), explicit_drop=True)) is ExitCode.NOT_ENOUGH_DATA


def test_a_file_that_has_changed_since_it_was_measured_fails_unless_that_is_allowed(
    benchmarked: Path, tmp_path: Path
) -> None:
    (tmp_path / "float16.tflite").write_bytes(b"another")
    known = select(read_benchmark(benchmarked), ["float32", "float16"])
    lies = {"float16": replace(known.results[1], path=str(tmp_path / "float16.tflite"), bytes=1)}
    results = tuple(lies.get(one.variant, one) for one in known.results)
    write_document(tmp_path / "benchmark.json", replace(known, results=results))
    found = edgetf.check(tmp_path, max_drop=50)
    assert found.exit_code == ExitCode.BUDGET_MISSED
    assert "has changed since it was measured" in found["float16"].reason
    assert found["float32"].passed
    assert edgetf.check(tmp_path, max_drop=50, allow_changed=True).exit_code == ExitCode.DONE
    chosen = [edgetf.choose(tmp_path, objective="size", max_drop=50, allow_changed=one) for one in (False, True)]
    assert [one["local"].variant for one in chosen] == ["float32", "float16"]


def test_an_unknown_variant_names_the_nearest(benchmarked: Path) -> None:
    with pytest.raises(EdgetfError, match="there is no result of a variant 'int9'") as caught:
        select(read_benchmark(benchmarked), ["int9"])
    assert "did you mean 'int8'?" in caught.value.hint


def test_parts_with_the_same_name_do_not_hide_each_other(document: Benchmark) -> None:
    result = document.results[0]
    assert result.parity is not None
    bad = MetricFigures("own:same", None, 200, 0.9, 0.4, 0.5, 0.45, 0.55, ())
    good = replace(bad, variant=0.9, drop=0.0, low=-0.001, high=0.001)
    known = {field.name for field in fields(OutputFigures)}
    figures = [OutputFigures(**{k: v for k, v in vars(o).items() if k in known}) for o in result.parity.outputs]
    parity = judge_parity("int8", 200, figures, Budgets(), [bad, good, replace(good, name="latency")])
    judged = replace(document, results=(replace(result, scheme="int8", parity=parity),))
    (found,) = check(judged, Budgets(max_metric_drop=0.01, max_latency_ms=0.0), explicit_drop=False)
    same = [found.parts[name].verdict for name in ("own:same", "own:same (2)")]
    assert (found.verdict, same) == (Verdict.FAIL, [Verdict.FAIL, Verdict.PASS])
    assert (found.parts["latency"].verdict, found.parts["latency (2)"].verdict) == (Verdict.PASS, Verdict.FAIL)


def test_a_requested_drop_and_a_requested_metric_are_both_judged(document: Benchmark) -> None:
    result = document.results[0]
    assert result.parity is not None
    metric = MetricFigures("own:metric", None, 200, 0.9, 0.9, 0.0, -0.001, 0.001, ())
    known = {field.name for field in fields(OutputFigures)}
    drop = accuracy_drop(np.ones(200, bool), np.arange(200) >= 50)
    figures = [OutputFigures(**{k: v for k, v in vars(o).items() if k in known}) for o in result.parity.outputs]
    wrong = [replace(figure, accuracy=drop) for figure in figures]
    parity = judge_parity("int8", 200, wrong, Budgets(), [metric])
    assert parity.verdict is Verdict.PASS  # the metric decides
    judged = replace(document, results=(replace(result, scheme="int8", parity=parity),))
    assert exit_code(check(judged, Budgets(max_drop=0.5), explicit_drop=True)) is ExitCode.BUDGET_MISSED
    assert exit_code(check(judged, Budgets(max_metric_drop=0.01), explicit_drop=False)) is ExitCode.DONE
    bare = replace(judged, results=(replace(judged.results[0], parity=replace(parity, metrics=())),))
    (found,) = check(bare, Budgets(max_drop=100, max_metric_drop=0.01), explicit_drop=False)
    assert "benchmark with --metric" in found.parts["metric"].reason


def _with_metric(document: Benchmark, metric: MetricFigures) -> Benchmark:
    """The same, with every variant judged by a metric."""
    results = []
    for result in document.results:
        assert result.parity is not None
        judged = MetricParity(**vars(metric), verdict=Verdict.PASS, reason="")
        parity = replace(result.parity, metrics=(judged,))
        results.append(replace(result, scheme="int8", parity=parity))
    return replace(document, results=tuple(results))


def test_an_edited_metric_is_believed_neither_by_check_nor_by_gate(document: Benchmark, tmp_path: Path) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text("[budgets]\nmax_metric_drop = 0.01\n")
    true = MetricFigures("own:metric", None, 200, 1.0, 0.0, 1.0, 0.9, 1.0, ())
    write_document(tmp_path / "benchmark.json", _with_metric(document, true))
    assert edgetf.check(tmp_path, max_metric_drop=0.01).exit_code is ExitCode.BUDGET_MISSED
    assert edgetf.gate(gate, tmp_path).exit_code is ExitCode.BUDGET_MISSED
    edited = replace(true, drop=0.0, low=-0.001, high=0.001)
    write_document(tmp_path / "benchmark.json", _with_metric(document, edited))
    with pytest.raises(EdgetfError, match="the own:metric of float16 contradicts its scores"):
        edgetf.check(tmp_path, max_metric_drop=0.01)
    with pytest.raises(EdgetfError, match="the own:metric of float16 contradicts its scores"):
        edgetf.gate(gate, tmp_path)


def test_the_noise_of_an_output_is_that_of_the_reference(document: Benchmark, tmp_path: Path) -> None:
    [result] = document.results
    assert result.parity is not None
    gate = tmp_path / "gate.toml"
    gate.write_text("[budgets]\nmax_bytes = 1_000_000\n")
    for name, value in (("floor", 10.0), ("spread", None), ("floor_n", 10_000)):
        change: dict[str, Any] = {name: value}
        outputs = tuple(replace(output, **change) for output in result.parity.outputs)
        edited = replace(document, results=(replace(result, parity=replace(result.parity, outputs=outputs)),))
        write_document(tmp_path / "benchmark.json", edited)
        with pytest.raises(EdgetfError, match="the noise of output_0 of float16 contradicts the reference's"):
            edgetf.check(tmp_path)
        with pytest.raises(EdgetfError, match="the noise of output_0 of float16 contradicts the reference's"):
            edgetf.gate(gate, tmp_path)


def test_a_budget_that_nothing_can_miss_is_named_in_the_printed_results(benchmarked: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text("[budgets]\nmax_drop = 98\n")
    named = "max_drop 98 passes a variant that always answers the same"
    checked = edgetf.check(benchmarked, variant="float16", max_drop=98)
    assert str(checked["float16"]).startswith("PASS: ")
    assert f"; warning: {named}" in str(checked["float16"])
    for found in (checked, edgetf.choose(benchmarked, max_drop=98), edgetf.gate(gate, benchmarked)):
        [warning] = found.warnings
        assert named in warning
        assert "warning: float" in str(found)
        assert " ".join(str(found).split()).count(named) == 1
    sound = edgetf.check(benchmarked, variant="float16", max_drop=5)
    assert (sound.warnings, "warning" in str(sound) + str(sound["float16"])) == ([], False)
    assert "max_metric_drop is infinite" in str(edgetf.check(benchmarked, max_metric_drop=np.inf))


def test_a_variant_on_a_device_is_one_row_with_the_parts_of_all() -> None:
    def one(device: str, verdict: Verdict, what: str, variant: str = "int8") -> Checked:
        return Checked(variant, device, verdict, {what: Judged(verdict, what)}, False)

    passed, failed = Verdict.PASS, Verdict.FAIL
    bad, local, pi = one("", failed, "file"), one("local", passed, "parity"), one("pi", failed, "parity")
    alone = Checks([bad, local, one("local", failed, "file")])
    assert {name: (row.verdict, list(row.parts)) for name, row in alone.items()} == {
        "int8": (failed, ["parity", "file", "file (2)"])
    }
    both = Checks([local, pi, bad, one("", failed, "measured", "int4"), one("pi", passed, "size", "float32")])
    assert {name: list(row.parts) for name, row in both.items()} == {
        "local/int8": ["parity", "file"],
        "pi/int8": ["parity", "file"],
        "int4": ["measured"],
        "pi/float32": ["size"],
    }
    assert both["float32"].device == "pi"
    with pytest.raises(KeyError):
        both["int8"]
