from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.benchmarks.judging.labels import Interpretation, interpret
from edgetf.benchmarks.judging.parity import compare
from edgetf.benchmarks.judging.verdict import (
    Budgets,
    Judged,
    judge_bytes,
    judge_drop,
    judge_latency,
    judge_output,
    judge_parity,
    worst,
)
from edgetf.benchmarks.timing.times import summarize
from edgetf.figures import Block
from edgetf.results import Comparable, LabelUse, MetricFigures, OutputFigures, Result, Status, Verdict

RANDOM = np.random.default_rng(0)


def _classes(n: int, wrong: int) -> OutputFigures:
    """n labelled samples: the reference is right on all, the variant on all except `wrong`."""
    reference = np.eye(4)[RANDOM.integers(0, 4, n)]
    variant = reference.copy()
    variant[:wrong] = np.roll(variant[:wrong], 1, axis=1)
    truth = reference.argmax(axis=1)
    read = Interpretation(LabelUse.CLASS, decide=lambda values: values.argmax(axis=1), truth=truth)
    return compare("p", reference, variant, read)


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
    assert beyond.verdict is Verdict.INCONCLUSIVE  # the largest of 1,000, compared with the noise of 128
    assert "4 times TensorFlow's own noise, which was measured on 128 of the 1000 samples only" in beyond.reason
    ulps = 8 * 2.0**-23 * np.abs(reference).max()
    assert judged(0.9 * ulps, 0.0).verdict is Verdict.PASS  # a model whose noise does not show
    assert judged(1.1 * ulps, 0.0, n=100).verdict is Verdict.FAIL
    assert judged(0.0, None).verdict is Verdict.INCONCLUSIVE
    assert judged(17e-5, 1e-5).verdict is Verdict.FAIL
    assert judged(4.1e-5, 1e-5, n=128).verdict is Verdict.FAIL  # the noise is known of all of them
    assert judged(1e-5, 1e-5, n=9).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("error", [1e-6, 0.02, 3.0])
def test_no_variant_is_judged_by_numbers_that_tensorflow_itself_does_not_repeat(error: float) -> None:
    reference = RANDOM.normal(size=(1000, 4))
    figures = compare("y", reference, reference + error * RANDOM.normal(size=reference.shape))
    noisy = replace(figures, floor=2.0, floor_n=128, spread=float(np.ptp(reference)))
    for scheme in ("float32", "float16", "int8"):
        judged = judge_output(scheme, 1000, noisy, Budgets())
        assert judged.verdict is Verdict.INCONCLUSIVE
        assert judged.reason.startswith("not comparable: TensorFlow itself differs by 2 from one way")


def test_noise_of_tensorflow_is_not_held_against_decisions_and_agreement_in_spite_of_it_counts() -> None:
    lost, kept = _classes(1000, 200), _classes(1000, 0)
    for figures, verdict in ((lost, Verdict.INCONCLUSIVE), (kept, Verdict.PASS)):
        noisy = replace(figures, floor=2.0, floor_n=128, spread=6.0)
        assert judge_output("int8", 1000, noisy, Budgets()).verdict is verdict
    assert judge_output("int8", 1000, lost, Budgets()).verdict is Verdict.FAIL


def test_a_constant_decision_fails_and_a_lost_class_is_undecided_beside_a_users_metric() -> None:
    random = np.random.default_rng(0)
    truth = (random.uniform(size=10_000) < 0.006).astype(np.int64) + (random.uniform(size=10_000) < 0.3) * 2
    rows = np.eye(4)[truth] * 0.8 + 0.05
    passed = MetricFigures("accuracy", None, 10_000, 0.99, 0.99, 0.0, -0.001, 0.001, (), chance=0.5)
    read = interpret({"y": rows}, truth)["y"]
    for left, verdict in ((0, Verdict.FAIL), (2, Verdict.INCONCLUSIVE)):
        variant = np.eye(4)[np.where(truth % 2 == 1, left, truth) if left else np.zeros_like(truth)] * 0.8 + 0.05
        figures = compare("y", rows, variant, read)
        assert judge_output("int8", 10_000, figures, Budgets(max_metric_drop=0.01), [passed]).verdict is verdict


def test_an_error_just_beyond_its_bound_is_reported_with_the_digits_that_show_it() -> None:
    reference = 0.1 * RANDOM.normal(size=(1000, 4))
    figures = compare("y", reference, reference + 2.444e-6)
    judged = judge_output("float32", 1000, replace(figures, floor=5.96e-7, floor_n=128), Budgets())
    assert "largest error 2.44e-06, beyond 2.38e-06, 4 times" in judged.reason


def test_outputs_without_classes_are_judged_by_the_schemes_sqnr() -> None:
    reference = RANDOM.normal(size=(300, 5))
    at_25_db = reference + RANDOM.normal(size=reference.shape) * 10 ** (-25 / 20)
    figures = compare("y", reference, at_25_db)
    assert judge_output("int8", 1000, figures, Budgets()).verdict is Verdict.PASS
    assert judge_output("int16x8", 1000, figures, Budgets()).verdict is Verdict.FAIL
    assert "SQNR about the mean 2" in judge_output("int8", 1000, figures, Budgets()).reason


def test_an_offset_that_all_samples_share_is_not_signal() -> None:
    """300 degrees that vary by one, stored in steps of one: 58 dB by the plain ratio, and hardly any signal is left."""
    kelvin = 300 + RANDOM.normal(size=(500, 1))
    figures = compare("y", kelvin, np.round(kelvin))
    assert figures.sqnr_db is not None
    assert figures.sqnr_db > 55
    assert figures.centred_db is not None
    assert figures.centred_db < 12
    assert judge_output("int8", 500, figures, Budgets()).verdict is Verdict.FAIL


def test_problems_fail_and_doubts_are_inconclusive_whatever_the_budget() -> None:
    reference = RANDOM.normal(size=(50, 5))
    broken = reference.copy()
    broken[0, 0] = np.nan
    generous = Budgets(max_drop=100, min_agreement=0)
    assert judge_output("int8", 1000, compare("y", reference, broken), generous).verdict is Verdict.FAIL
    same = np.ones((50, 5))
    assert judge_output("int8", 1000, compare("y", same, same), generous).verdict is Verdict.INCONCLUSIVE


def test_the_verdict_is_that_of_the_worst_output() -> None:
    reference = RANDOM.normal(size=(100, 5))
    good, bad = compare("good", reference, reference + 1e-3), compare("bad", reference, -reference)
    parity = judge_parity("int8", 100, [good, bad], Budgets())
    assert [output.verdict for output in parity.outputs] == [Verdict.PASS, Verdict.FAIL]
    assert parity.verdict is Verdict.FAIL
    assert parity.reason.startswith("bad: SQNR")
    assert worst([Judged(Verdict.PASS, "a"), Judged(Verdict.INCONCLUSIVE, "b")]).reason == "b"


def _timed(medians_ms: Sequence[float], stable: bool, throttled: str = "") -> Result:
    """A result with a block around each of `medians_ms`."""
    times = [(RANDOM.normal(m * 1e6, m * 1e4, 100)).astype(int) for m in medians_ms]
    blocks = [Block(k, m, 100, "", "", "", throttled, "") for k, m in enumerate(medians_ms, 1)]
    return Result(
        "int8", "int8", "local", Status.OK, "litert", 1, "", 1, "xnnpack",
        latency_ms=summarize(times), blocks=tuple(blocks), stable=stable, stable_reason="it drifted",
    )  # fmt: skip


def test_latency_and_size_have_budgets_too() -> None:
    steady = _timed([2.0, 2.01, 1.99], stable=True)
    assert steady.latency_ms is not None
    assert judge_latency(steady, 2.5).verdict is Verdict.PASS
    assert judge_latency(steady, 1.5).verdict is Verdict.FAIL
    assert judge_latency(steady, steady.latency_ms.median).verdict is Verdict.INCONCLUSIVE
    assert judge_latency(replace(steady, emulated=True), 2.5).verdict is Verdict.INCONCLUSIVE
    assert judge_bytes(100, 100).verdict is Verdict.PASS
    assert judge_bytes(101, 100).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("budget", "verdict"),
    [(100.0, Verdict.PASS), (2.2, Verdict.INCONCLUSIVE), (2.0, Verdict.INCONCLUSIVE), (0.5, Verdict.FAIL)],
)
def test_an_unstable_timing_is_inconclusive_only_near_the_budget(budget: float, verdict: Verdict) -> None:
    """Blocks of an ordinary machine differ by more than 5 %, which does not matter far from the budget."""
    assert judge_latency(_timed([1.8, 2.0, 2.3, 2.0, 1.9], stable=False), budget).verdict is verdict


def test_an_unstable_timing_of_one_block_or_of_a_throttled_device_misses_no_budget() -> None:
    single = _timed([2.0], stable=False)
    assert judge_latency(single, 100).verdict is judge_latency(single, 0.1).verdict is Verdict.INCONCLUSIVE
    hot = _timed([2.0, 2.1, 2.4], stable=False, throttled="0x4")
    assert judge_latency(hot, 100).verdict is Verdict.PASS
    assert judge_latency(hot, 0.1).verdict is Verdict.INCONCLUSIVE


# columns and integer outputs --------------------------------------------------------------------------------------


def _detector(noise: float, scores: float) -> OutputFigures:
    """Boxes of 0 to 640 with `noise`, and scores of 0 to 1 that are multiplied by `scores`."""
    reference = np.concatenate([640 * RANDOM.uniform(size=(80, 9, 4)), RANDOM.uniform(size=(80, 9, 3))], axis=-1)
    variant = reference + noise * RANDOM.normal(size=reference.shape) * [1, 1, 1, 1, 1e-3, 1e-3, 1e-3]
    variant[..., 4:] *= scores
    return compare("boxes", reference, variant)


def test_columns_that_lost_their_signal_fail_and_are_named() -> None:
    assert judge_output("int8", 80, _detector(1.0, 1.0), Budgets()).verdict is Verdict.PASS
    broken = judge_output("int8", 80, _detector(1.0, 0.0), Budgets())
    assert broken.verdict is Verdict.FAIL
    assert broken.reason.startswith("columns 4 to 6 of axis 2, the same for every sample, unlike the reference's: SQNR")
    halved = judge_output("int8", 80, _detector(1.0, 0.5), Budgets())
    assert (halved.verdict, halved.reason.startswith("columns 4 to 6 of axis 2: SQNR")) == (Verdict.FAIL, True)


def test_float32_whose_small_columns_are_lost_in_the_noise_of_large_ones_fails() -> None:
    figures = replace(_detector(0.0, 0.5), floor=0.3, floor_n=80)  # the floor is that of the boxes
    judged = judge_output("float32", 80, figures, Budgets())
    assert (judged.verdict, "columns 4 to 6" in judged.reason) == (Verdict.FAIL, True)
    assert judge_output("float32", 80, replace(_detector(0.0, 1.0), floor=0.3), Budgets()).verdict is Verdict.PASS


def test_float32_may_differ_in_the_last_place_of_a_column_that_hardly_varies() -> None:
    """Latitudes and altitudes: 52.37 degrees, which vary by less than a thousandth."""
    reference = (RANDOM.normal(size=(200, 2)) * [5e-4, 100] + [52.37, 300]).astype(np.float32)
    variant = np.nextafter(reference, np.float32(np.inf))
    figures = replace(compare("y", reference, variant), floor=1e-5, floor_n=200)
    assert judge_output("float32", 200, figures, Budgets()).verdict is Verdict.PASS


def test_nothing_is_judged_by_the_metrics_of_a_random_output() -> None:
    figures = replace(_detector(1.0, 1.0), comparable=Comparable.RANDOM)
    metric = MetricFigures("own", None, 80, 0.9, 0.5, 0.4, 0.3, 0.5, ())
    found = judge_parity("int8", 80, [figures], Budgets(), [metric])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "not comparable" in found.metrics[0].reason


def _maps(differ: int, n: int = 200) -> OutputFigures:
    classes = RANDOM.integers(0, 4, (n, 16, 16))
    other = classes.copy()
    other[:differ, 3, 3] += 1
    return compare("map", classes, other, interpret({"map": classes}, None)["map"])


@pytest.mark.parametrize(
    ("scheme", "differ", "verdict"),
    [
        ("int8", 0, Verdict.PASS),
        ("int8", 150, Verdict.PASS),  # of 51,200 positions
        ("float32", 0, Verdict.PASS),
        ("float32", 20, Verdict.PASS),
        ("float32", 200, Verdict.FAIL),
    ],
)
def test_maps_of_class_numbers_are_judged_by_the_positions_that_agree(
    scheme: str, differ: int, verdict: Verdict
) -> None:
    judged = judge_output(scheme, 200, _maps(differ), Budgets())
    assert judged.verdict is verdict
    assert ("of positions" in judged.reason) == ((scheme, differ) != ("float32", 0))


def test_a_constant_count_decides_nothing_if_there_is_another_output() -> None:
    boxes, count = RANDOM.normal(size=(60, 4)), np.full(60, 20)
    read = interpret({"count": count}, None)["count"]
    same, other = compare("count", count, count, read), compare("count", count, count + 1, read)
    good = compare("boxes", boxes, boxes + 1e-3)
    assert judge_parity("int8", 60, [same, good], Budgets()).verdict is Verdict.PASS
    assert judge_parity("int8", 60, [same], Budgets()).verdict is Verdict.INCONCLUSIVE
    assert judge_parity("int8", 60, [other, good], Budgets()).verdict is not Verdict.PASS


# labels -----------------------------------------------------------------------------------------------------------


def test_labels_that_do_not_fit_are_inconclusive_for_int8_but_not_for_float32() -> None:
    logits = RANDOM.normal(size=(300, 4)).astype(np.float32)
    read = interpret({"z": logits}, (logits.argmax(axis=1) + 1) % 4)["z"]
    figures = replace(compare("z", logits, logits, read), floor=1e-6, floor_n=300)
    open_ = judge_output("int8", 300, figures, Budgets())
    assert (open_.verdict, "do not fit z" in open_.reason) == (Verdict.INCONCLUSIVE, True)
    assert judge_output("float32", 300, figures, Budgets()).verdict is Verdict.PASS


def test_labels_that_are_ignored_leave_the_verdict_to_the_numbers() -> None:
    logits = RANDOM.normal(size=(300, 4)).astype(np.float32)
    read = interpret({"z": logits}, np.linspace(0, 1, 300))["z"]
    assert judge_output("int8", 300, compare("z", logits, logits + 1e-3, read), Budgets()).verdict is Verdict.PASS


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_samples_without_classes_are_inconclusive_however_good_they_are(n: int) -> None:
    reference = RANDOM.normal(size=(n, 5))
    for variant in (reference, reference + 1e-6):
        judged = judge_output("int8", n, compare("y", reference, variant), Budgets())
        assert judged.verdict is Verdict.INCONCLUSIVE


def test_an_end_of_the_interval_that_is_infinite_is_not_the_estimate() -> None:
    figures = replace(compare("y", RANDOM.normal(size=(50, 5)), RANDOM.normal(size=(50, 5))), columns=())
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
    both = [np.stack([values, 1 - values], axis=1) for values in (reference, variant)]
    read = Interpretation(LabelUse.CLASS, decide=lambda values: values.argmax(axis=1), truth=np.zeros(n, np.int64))
    return compare("p", both[0], both[1], read)


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
