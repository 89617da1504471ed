from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.benchmarks.parity import compare
from edgetf.benchmarks.times import summarize
from edgetf.benchmarks.verdict import (
    Budgets,
    Judged,
    judge_bytes,
    judge_drop,
    judge_latency,
    judge_output,
    judge_parity,
    worst,
)
from edgetf.results import OutputFigures, Verdict

RANDOM = np.random.default_rng(0)


def _classes(n: int, wrong: int) -> OutputFigures:
    """n labelled samples of which the reference has all right and the variant all but `wrong`."""
    reference = np.eye(4)[RANDOM.integers(0, 4, n)]
    variant = reference.copy()
    variant[:wrong] = np.roll(variant[:wrong], 1, axis=1)
    return compare("p", reference, variant, reference.argmax(axis=1))


@pytest.mark.parametrize(
    ("n", "wrong", "verdict"),
    [
        (1000, 0, Verdict.PASS),
        (1000, 3, Verdict.PASS),
        (1000, 8, Verdict.INCONCLUSIVE),
        (1000, 30, Verdict.FAIL),
        (100, 0, Verdict.INCONCLUSIVE),  # no error in 100 samples does not show that one point is kept
        (10_000, 80, Verdict.PASS),
    ],
)
def test_a_verdict_needs_the_interval_on_one_side_of_the_budget(n: int, wrong: int, verdict: Verdict) -> None:
    judged = judge_output("int8", n, _classes(n, wrong), Budgets(max_drop=1.0))
    assert judged.verdict is verdict
    assert "accuracy drop" in judged.reason
    assert ("more samples would decide" in judged.reason) == (verdict is Verdict.INCONCLUSIVE)


@given(st.integers(1, 2000), st.integers(0, 2000), st.floats(0, 5))
def test_a_larger_budget_never_makes_a_verdict_worse(n: int, wrong: int, drop: float) -> None:
    figures = _classes(n, min(wrong, n))
    order = [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]
    tight = judge_output("int8", 1000, figures, Budgets(max_drop=drop)).verdict
    loose = judge_output("int8", 1000, figures, Budgets(max_drop=drop + 1)).verdict
    assert order.index(loose) >= order.index(tight)


def test_float32_must_be_no_further_from_tensorflow_than_a_few_times_its_own_noise() -> None:
    reference = RANDOM.normal(size=(1000, 4))

    def judged(error: float, floor: float | None, n: int = 1000) -> Judged:
        variant = reference + error * np.sign(RANDOM.normal(size=reference.shape))
        figures = replace(compare("y", reference, variant), floor=floor, floor_n=None if floor is None else min(n, 128))
        return judge_output("float32", n, figures, Budgets())

    assert judged(3.9e-5, 1e-5).verdict is Verdict.PASS
    beyond = judged(4.1e-5, 1e-5)
    assert beyond.verdict is Verdict.INCONCLUSIVE  # the largest of 1,000 beside the noise of 128
    assert "4 times TensorFlow's own noise, which was measured on 128 of the 1000 samples only" in beyond.reason
    ulps = 8 * 2.0**-23 * np.abs(reference).max()
    assert judged(0.9 * ulps, 0.0).verdict is Verdict.PASS  # a model whose noise does not show
    assert judged(1.1 * ulps, 0.0, n=100).verdict is Verdict.FAIL
    assert judged(0.0, None).verdict is Verdict.INCONCLUSIVE
    assert judged(17e-5, 1e-5).verdict is Verdict.FAIL
    assert judged(4.1e-5, 1e-5, n=128).verdict is Verdict.FAIL  # the noise is known of all of them
    assert judged(1e-5, 1e-5, n=9).verdict is Verdict.INCONCLUSIVE


def test_outputs_without_classes_are_judged_by_the_schemes_sqnr() -> None:
    reference = RANDOM.normal(size=(300, 5))
    at_25_db = reference + RANDOM.normal(size=reference.shape) * 10 ** (-25 / 20)
    figures = compare("y", reference, at_25_db, None)
    assert judge_output("int8", 1000, figures, Budgets()).verdict is Verdict.PASS
    assert judge_output("int16x8", 1000, figures, Budgets()).verdict is Verdict.FAIL
    assert "SQNR about the mean 2" in judge_output("int8", 1000, figures, Budgets()).reason


def test_an_offset_that_all_samples_share_is_no_signal() -> None:
    """300 degrees that vary by one, stored in steps of one: 58 dB by the plain ratio, and nearly nothing left."""
    kelvin = 300 + RANDOM.normal(size=(500, 1))
    figures = compare("y", kelvin, np.round(kelvin), None)
    assert figures.sqnr_db is not None
    assert figures.sqnr_db > 55
    assert figures.centred_db is not None
    assert figures.centred_db < 12
    assert judge_output("int8", 500, figures, Budgets()).verdict is Verdict.FAIL


def test_problems_fail_and_doubts_leave_open_whatever_the_budget() -> None:
    reference = RANDOM.normal(size=(50, 5))
    broken = reference.copy()
    broken[0, 0] = np.nan
    generous = Budgets(max_drop=100, min_agreement=0)
    assert judge_output("int8", 1000, compare("y", reference, broken, None), generous).verdict is Verdict.FAIL
    same = np.ones((50, 5))
    assert judge_output("int8", 1000, compare("y", same, same, None), generous).verdict is Verdict.INCONCLUSIVE


def test_the_whole_is_as_bad_as_its_worst_output() -> None:
    reference = RANDOM.normal(size=(100, 5))
    good, bad = compare("good", reference, reference + 1e-3, None), compare("bad", reference, -reference, None)
    parity = judge_parity("int8", 100, [good, bad], Budgets())
    assert [output.verdict for output in parity.outputs] == [Verdict.PASS, Verdict.FAIL]
    assert parity.verdict is Verdict.FAIL
    assert parity.reason.startswith("bad: SQNR")
    assert worst([Judged(Verdict.PASS, "a"), Judged(Verdict.INCONCLUSIVE, "b")]).reason == "b"


def test_latency_and_size_have_budgets_too() -> None:
    latency = summarize([(RANDOM.normal(2e6, 1e5, 500)).astype(int)])
    assert judge_latency(latency, 2.5, True, "").verdict is Verdict.PASS
    assert judge_latency(latency, 1.5, True, "").verdict is Verdict.FAIL
    assert judge_latency(latency, latency.median, True, "").verdict is Verdict.INCONCLUSIVE
    unstable = judge_latency(latency, 2.5, False, "it drifted")
    assert (unstable.verdict, "it drifted" in unstable.reason) == (Verdict.INCONCLUSIVE, True)
    assert judge_bytes(100, 100).verdict is Verdict.PASS
    assert judge_bytes(101, 100).verdict is Verdict.FAIL


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_samples_without_classes_decide_nothing_however_good_they_look(n: int) -> None:
    reference = RANDOM.normal(size=(n, 5))
    for variant in (reference, reference + 1e-6):
        judged = judge_output("int8", n, compare("y", reference, variant), Budgets())
        assert judged.verdict is Verdict.INCONCLUSIVE


def test_an_end_of_the_interval_that_is_infinite_is_not_the_estimate() -> None:
    figures = compare("y", RANDOM.normal(size=(50, 5)), RANDOM.normal(size=(50, 5)))
    open_above = replace(figures, centred_db=16.0, centred_low_db=11.3, centred_high_db=None)
    open_below = replace(figures, centred_db=30.0, centred_low_db=None, centred_high_db=40.0)
    for one in (open_above, open_below):
        assert judge_output("int8", 50, one, Budgets()).verdict is Verdict.INCONCLUSIVE


def _paired(n: int, lost: int, won: int) -> OutputFigures:
    right = np.ones(n, bool)
    reference, variant = right.copy(), right.copy()
    variant[:lost] = False
    reference[lost : lost + won] = False
    reference = np.where(reference, 0.9, 0.1)
    variant = np.where(variant, 0.9, 0.1)
    truth = np.zeros(n, np.int64)
    both = [np.stack([values, 1 - values], axis=1) for values in (reference, variant)]
    return compare("p", both[0], both[1], truth)


@pytest.mark.parametrize(("n", "lost", "won", "budget"), [(200, 0, 0, 1.0), (1000, 12, 4, 1.0), (500, 30, 5, 4.0)])
def test_the_number_of_samples_that_would_decide_does_decide(n: int, lost: int, won: int, budget: float) -> None:
    judged = judge_drop(_paired(n, lost, won), Budgets(max_drop=budget))
    assert judged.verdict is Verdict.INCONCLUSIVE
    found = re.search(r"about ([\d,]+) more samples would decide", judged.reason)
    assert found is not None
    more = int(found[1].replace(",", ""))

    def with_as_many(m: int) -> Verdict:
        return judge_drop(_paired(m, round(lost * m / n), round(won * m / n)), Budgets(max_drop=budget)).verdict

    assert with_as_many(n + more) is not Verdict.INCONCLUSIVE
    assert with_as_many(n + more * 3 // 4) is Verdict.INCONCLUSIVE  # and not far fewer


def test_at_the_budget_no_number_of_samples_is_promised() -> None:
    judged = judge_drop(_paired(1000, 10, 0), Budgets(max_drop=1.0))
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "hardly any number of samples would decide" in judged.reason
