from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.check import check, exit_code, select
from edgetf.benchmarks.statistics import accuracy_drop
from edgetf.benchmarks.verdict import Budgets, judge_parity
from edgetf.errors import EdgetfError, ExitCode
from edgetf.results import Benchmark, Failure, MetricFigures, OutputFigures, Status, Verdict, read_benchmark


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


def test_a_failed_run_is_exit_code_5_whatever_else(document: Benchmark) -> None:
    failed = replace(document.results[0], status=Status.FAILED, error=Failure("run", "it died"))
    checked = check(replace(document, results=(document.results[0], failed)), Budgets(max_bytes=1), False)
    assert exit_code(checked) is ExitCode.DEVICE_FAILED
    assert checked[1].parts["run"].reason == "it died"


def test_a_drop_that_was_asked_for_is_not_replaced_by_another_figure(document: Benchmark) -> None:
    result = document.results[0]
    assert result.parity is not None
    outputs = tuple(replace(output, accuracy=None) for output in result.parity.outputs)
    unlabelled = replace(document, results=(replace(result, parity=replace(result.parity, outputs=outputs)),))
    assert exit_code(check(unlabelled, Budgets(min_agreement=0.9), explicit_drop=False)) is ExitCode.DONE
    checked = check(unlabelled, Budgets(min_agreement=0.9), explicit_drop=True)
    assert exit_code(checked) is ExitCode.NOT_ENOUGH_DATA
    assert "labels" in checked[0].parts["accuracy drop"].reason


def test_a_run_that_was_not_stable_keeps_no_latency_budget(document: Benchmark) -> None:
    shaky = replace(document, results=(replace(document.results[0], stable=False, stable_reason="it drifted"),))
    checked = check(shaky, Budgets(max_drop=5, max_latency_ms=1000), explicit_drop=False)
    assert checked[0].parts["latency"].verdict is Verdict.INCONCLUSIVE


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


def test_an_unknown_variant_names_the_nearest(benchmarked: Path) -> None:
    with pytest.raises(EdgetfError, match="there is no result of a variant 'int9'") as caught:
        select(read_benchmark(benchmarked), ["int9"])
    assert "did you mean 'int8'?" in caught.value.hint


def test_a_drop_and_a_metric_that_are_asked_for_are_judged_each(document: Benchmark) -> None:
    result = document.results[0]
    assert result.parity is not None
    metric = MetricFigures("own:metric", None, 200, 0.9, 0.9, 0.0, -0.001, 0.001, ())
    known = {field.name for field in fields(OutputFigures)}
    drop = accuracy_drop(np.ones(200, bool), np.arange(200) >= 50)
    figures = [OutputFigures(**{k: v for k, v in vars(o).items() if k in known}) for o in result.parity.outputs]
    wrong = [replace(figure, accuracy=drop) for figure in figures]
    parity = judge_parity("int8", 200, wrong, Budgets(), [metric])
    assert parity.verdict is Verdict.PASS  # the metric judges
    judged = replace(document, results=(replace(result, scheme="int8", parity=parity),))
    assert exit_code(check(judged, Budgets(max_drop=0.5), explicit_drop=True)) is ExitCode.BUDGET_MISSED
    assert exit_code(check(judged, Budgets(max_metric_drop=0.01), explicit_drop=False)) is ExitCode.DONE
    bare = replace(judged, results=(replace(judged.results[0], parity=replace(parity, metrics=())),))
    (found,) = check(bare, Budgets(max_drop=100, max_metric_drop=0.01), explicit_drop=False)
    assert "benchmark with --metric" in found.parts["metric"].reason
