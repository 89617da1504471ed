from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.benchmarks.judging.labels import Interpretation
from edgetf.benchmarks.judging.parity import compare
from edgetf.benchmarks.judging.sequential import Bounds, decide, interval, looks
from edgetf.benchmarks.judging.verdict import Budgets, judge_drop
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.results import LabelUse, OutputFigures, Verdict
from tests.conftest import Run, Small, ignore

PAIRED, SHARE = Bounds(-1.0, 1.0), Bounds(0.0, 1.0)


def _draw(random: np.random.Generator, n: int, lost: float, won: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    u = random.random(n)
    return np.where(u < lost, 1.0, np.where(u < lost + won, -1.0, 0.0))


@pytest.mark.parametrize(("lost", "won"), [(0.01, 0.0), (0.06, 0.05)])
def test_at_the_budget_a_verdict_at_any_look_is_rarer_than_promised(lost: float, won: float) -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        costs = _draw(random, 2000, lost, won)
        wrong += any(decide(costs[:n], PAIRED, 0.01) is not Verdict.INCONCLUSIVE for n in looks(2000))
    assert wrong <= 15 + 8  # 5 % and two standard deviations


def test_the_interval_covers_the_mean_at_all_looks_together() -> None:
    random = np.random.default_rng(1)
    missed = 0
    for _ in range(100):
        costs = _draw(random, 1500, 0.04, 0.02)
        bounds = [interval(costs[:n], PAIRED) for n in looks(1500)]
        missed += any(not low <= 0.02 <= high for low, high in bounds)
    assert missed <= 5 + 4


@pytest.mark.parametrize(
    ("lost", "won", "verdict", "most"),
    [(0.0, 0.0, Verdict.PASS, 2000), (0.002, 0.002, Verdict.PASS, 4000), (0.08, 0.01, Verdict.FAIL, 2000)],
)
def test_clear_cases_need_a_fraction_of_ten_thousand_samples(
    lost: float, won: float, verdict: Verdict, most: int
) -> None:
    random = np.random.default_rng(2)
    for _ in range(20):
        costs = _draw(random, 10_000, lost, won)
        verdicts = ((n, decide(costs[:n], PAIRED, 0.01)) for n in looks(10_000))
        found = next((n, reported) for n, reported in verdicts if reported is not Verdict.INCONCLUSIVE)
        assert found[1] is verdict
        assert found[0] <= most


@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0]), min_size=1, max_size=300), st.floats(0.001, 0.999), st.booleans()
)
def test_the_interval_and_the_verdict_agree(costs: list[float], budget: float, paired: bool) -> None:
    values = np.asarray(costs)
    bounds = PAIRED if paired else SHARE
    low, high = interval(values, bounds)
    assert bounds.low <= low <= values.mean() <= high <= bounds.high
    verdict = decide(values, bounds, budget)
    slack = 0.02 * (bounds.high - bounds.low)
    if verdict is Verdict.PASS:
        assert high <= budget + slack
    elif verdict is Verdict.FAIL:
        assert low >= budget - slack
    else:
        assert low - slack <= budget <= high + slack


def test_the_number_of_missing_samples_follows_from_the_reported_interval() -> None:
    """Not from the narrower interval of a fixed number of samples: 46 more would not suffice."""
    costs = np.zeros(3000)
    costs[:: 3000 // 15] = 1.0
    low, high = interval(costs, PAIRED)
    assert low < 0.01 < high
    figures = _figures(15, 3000)
    assert figures.accuracy is not None
    accuracy = replace(figures.accuracy, low=100 * low, high=100 * high)
    judged = judge_drop(replace(figures, accuracy=accuracy, any_time=True), Budgets(max_drop=1.0))
    found = re.search(r"about ([\d,]+) more samples", judged.reason)
    assert found is not None
    assert int(found[1].replace(",", "")) > 300


def _figures(lost: int, n: int) -> OutputFigures:
    right = np.stack([np.full(n, 0.9), np.full(n, 0.1)], axis=1)
    wrong = right.copy()
    wrong[:lost] = wrong[:lost, ::-1]
    read = Interpretation(LabelUse.CLASS, decide=lambda values: values.argmax(axis=1), truth=np.zeros(n, np.int64))
    return compare("p", right, wrong, read)


@given(st.integers(1, 20_000), st.integers(1, 9))
def test_looks_grow_in_whole_batches_up_to_all(n: int, batch: int) -> None:
    n = n * batch
    found = sorted(set(looks(n, batch)))
    assert found[-1] == n
    assert all(count % batch == 0 and count > 0 for count in found)
    assert len(found) <= 40


@pytest.mark.slow
def test_a_benchmark_stops_when_the_evidence_is_there(
    converted: Path, small: Small, tmp_path: Path, edgetf: Run
) -> None:
    """3,000 samples, labelled by the network itself: float32 runs all of them, int8 until its verdict is certain."""
    import tensorflow as tf

    images = np.random.default_rng(3).normal(size=(3000, 8, 8, 1)).astype(np.float32)
    function = tf.saved_model.load(str(small.saved_model)).signatures["serving_default"]
    labels = np.argmax(next(iter(function(image=tf.constant(images)).values())).numpy(), axis=1)
    order = np.argsort(labels, kind="stable")  # sorted by class, as many files are
    np.savez(tmp_path / "many.npz", image=images[order], labels=labels[order])
    make_reference(small.saved_model, tmp_path / "many.npz", tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)
    variants = [converted / "float32.tflite", converted / "int8.tflite"]
    options = ("--reference", "ref", "--sequential", "--max-drop", 10, "--blocks", 2, "-o", "bench")
    ended = edgetf("benchmark", *variants, *options, "--json")
    assert ended.returncode == 0, ended.stderr
    float32, int8 = (result["parity"] for result in json.loads(ended.stdout)["results"])
    assert (float32["n"], float32["of"], float32["verdict"]) == (3000, 3000, "pass")
    assert int8["verdict"] == "pass"
    assert 0 < int8["n"] < 1000 < int8["of"] == 3000
    accuracy = int8["outputs"][0]["accuracy"]
    assert accuracy["n"] == int8["n"]
    assert accuracy["low"] <= accuracy["drop_points"] <= accuracy["high"] <= 10
    assert accuracy["mcnemar_p"] is None
    assert set(labels[order][: int8["n"]]) != {0, 1, 2}  # the first in the file are of one class
    checked = edgetf("check", "bench", "--max-drop", 10)
    assert checked.returncode == 0, checked.stdout
    assert edgetf("report", "bench", "-o", "report.html").returncode == 0
    ladder = edgetf("explain", "bench", "--variant", "int8", "--variants", converted, "--reference", "ref")
    assert f"int8 ran on {int8['n']} of 3000 samples" in ladder.stderr
