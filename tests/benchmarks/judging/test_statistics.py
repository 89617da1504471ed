from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgetf.benchmarks.judging.statistics import (
    accuracy_drop,
    agreement,
    paired_interval,
    sign_test,
    sqnr_interval,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 500), (500, 500), (3, 7), (480, 500), (99_990, 100_000)])
def test_the_interval_of_a_share_and_the_sign_test_are_those_of_scipy(k: int, n: int) -> None:
    known = stats.binomtest(k, n)
    interval = known.proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert sign_test(k, n - k) == sign_test(n - k, k) == pytest.approx(known.pvalue, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("rate_lost", "rate_won"), [(0.02, 0.01), (0.005, 0.005), (0.1, 0.02), (0.0, 0.01)])
@pytest.mark.parametrize("n", [100, 1000])
def test_the_paired_interval_covers_the_true_drop(rate_lost: float, rate_won: float, n: int) -> None:
    random = np.random.default_rng(1)
    drawn = random.multinomial(n, [rate_lost, rate_won, 1 - rate_lost - rate_won], size=1500)
    counts: dict[tuple[int, int], int] = {}
    for lost, won, _ in drawn:
        counts[lost, won] = counts.get((lost, won), 0) + 1
    hits = 0
    for (lost, won), times in counts.items():
        low, high = paired_interval(int(lost), int(won), n)
        hits += times * (low <= rate_lost - rate_won <= high)
    assert hits / 1500 >= 0.935


def test_the_paired_interval_is_tangos() -> None:
    """The airway example of Fagerland, Lydersen and Laake 2014 (Statistics in Medicine 33:2850); and no pair at all."""
    assert paired_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    low, high = paired_interval(0, 0, 100)
    z2 = stats.norm.ppf(0.975) ** 2
    assert (low, high) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)), abs=1e-6)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 100))
def test_the_paired_interval_holds_the_estimate_and_mirrors(lost: int, won: int, same: int) -> None:
    n = lost + won + same
    if n == 0:
        return
    low, high = paired_interval(lost, won, n)
    assert -1 <= low <= (lost - won) / n + 1e-9
    assert (lost - won) / n - 1e-9 <= high <= 1
    mirrored = paired_interval(won, lost, n)
    assert mirrored == pytest.approx((-high, -low), abs=1e-6)


def test_an_accuracy_drop_counts_discordant_pairs() -> None:
    reference = np.array([True] * 90 + [False] * 10)
    variant = reference.copy()
    variant[:6] = False
    variant[95:97] = True
    found = accuracy_drop(reference, variant)
    assert (found.only_reference_right, found.only_variant_right) == (6, 2)
    assert (found.reference, found.variant) == (0.9, 0.86)
    assert found.drop_points == pytest.approx(4.0)
    assert found.mcnemar_p == pytest.approx(stats.binomtest(6, 8).pvalue)
    assert accuracy_drop(reference, reference).mcnemar_p == 1.0


def test_agreement_has_wilsons_interval() -> None:
    found = agreement(95, 100)
    interval = stats.binomtest(95, 100).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert agreement(10, 10).low == pytest.approx(0.7225, abs=1e-4)  # all of a few samples are not a proof


def test_the_sqnr_interval_covers_the_true_ratio() -> None:
    hits = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        signal = random.exponential(100.0, 200)
        noise = random.exponential(1.0, 200)
        low, high = sqnr_interval(signal, noise)
        hits += low <= 20.0 <= high
    assert hits >= 52  # 57 less two standard deviations
