"""The tests behind what changed between two commits."""

from __future__ import annotations

import pytest
from scipy import stats

from edgetf.benchmarks.history.changes import _EXACT, _newcombe, _p_value


@pytest.mark.parametrize(("right", "of"), [((48_000, 48_300), (50_000, 50_000)), ((45_000, 45_150), (50_000, 50_000))])
def test_at_the_limit_the_normal_distribution_agrees_with_the_exact_test(
    right: tuple[int, int], of: tuple[int, int]
) -> None:
    exact = float(stats.fisher_exact([[right[0], of[0] - right[0]], [right[1], of[1] - right[1]]]).pvalue)
    assert sum(of) <= _EXACT
    assert _p_value(right, of) == pytest.approx(exact, rel=0.3)


def test_numbers_of_samples_that_the_exact_test_takes_minutes_for_are_compared_at_once() -> None:
    assert _p_value((10**14, 10**14 - 10**9), (10**14, 10**14)) < 1e-6
    assert _p_value((10**14, 10**14), (10**14, 10**14)) == 1.0
    assert _p_value((0, 0), (10**14, 3)) == 1.0


def test_the_interval_of_a_difference_of_shares_is_that_of_the_publication() -> None:
    """Newcombe 1998, Table II: 56/70 - 48/80, 9/10 - 3/10 and 10/10 - 0/10, method 10."""
    assert _newcombe(56, 70, 48, 80) == pytest.approx((5.24, 33.39), abs=0.005)
    assert _newcombe(9, 10, 3, 10) == pytest.approx((17.05, 80.90), abs=0.005)
    assert _newcombe(10, 10, 0, 10) == pytest.approx((60.75, 100.0), abs=0.005)
