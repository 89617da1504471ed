from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgetf.conversion.ranges import Choice, RangeChoice, choose
from edgetf.errors import EdgetfError

values = hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e4, 1e4, width=32))


def _error(low: float, high: float, values: np.ndarray) -> float:  # type: ignore[type-arg]
    """Mean squared error of rounding and clipping to 256 steps from `low` to `high`, which hold zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    values = values.astype(np.float64)
    step = (high - low) / 255 or 1.0
    rounded = np.rint((np.clip(values, low, high) - low) / step) * step + low
    return float(np.mean((rounded - values) ** 2))


@given(values, st.sampled_from([RangeChoice(), RangeChoice(Choice.PERCENTILE, 99), RangeChoice(Choice.MSE)]))
def test_a_range_never_grows_beyond_what_was_seen(values: np.ndarray, choice: RangeChoice) -> None:  # type: ignore[type-arg]
    low, high = choose(choice, float(values.min()), float(values.max()), values)
    assert low >= values.min()
    assert high <= values.max()


def test_the_end_of_a_range_on_the_other_side_of_zero_is_unchanged() -> None:
    values = np.array([2787.0, *[1197.0] * 70], np.float32)
    assert choose(RangeChoice(Choice.MSE), 1197.0, 2787.0, values)[0] == 1197.0
    assert choose(RangeChoice(Choice.MSE), -2787.0, -1197.0, -values)[1] == -1197.0


def test_min_and_max_are_used_unchanged() -> None:
    assert choose(RangeChoice(), -1.0, 2.0, np.zeros(3, np.float32)) == (-1.0, 2.0)


def test_a_percentile_holds_that_share_of_the_values() -> None:
    values = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    low, high = choose(RangeChoice(Choice.PERCENTILE, 99.0), float(values.min()), float(values.max()), values)
    assert ((values >= low) & (values <= high)).mean() == pytest.approx(0.99, abs=1e-3)


def test_the_least_squared_error_cuts_a_heavy_tail_off_and_is_better_for_it() -> None:
    values = np.random.default_rng(0).standard_t(3, size=100_000).astype(np.float32)
    low, high = choose(RangeChoice(Choice.MSE), float(values.min()), float(values.max()), values)
    assert high < 0.95 * values.max()
    assert _error(low, high, values) < 0.9 * _error(float(values.min()), float(values.max()), values)


@given(values)
def test_the_least_squared_error_is_never_worse_than_min_and_max(values: np.ndarray) -> None:  # type: ignore[type-arg]
    low, high = float(values.min()), float(values.max())
    chosen = choose(RangeChoice(Choice.MSE), low, high, values)
    assert _error(*chosen, values) <= _error(low, high, values) * (1 + 1e-6) + 1e-12


@pytest.mark.parametrize("percentile", [50, 0, -1, 100.1])
def test_a_percentile_that_is_not_a_range_is_refused(percentile: float) -> None:
    with pytest.raises(EdgetfError, match="is not a valid percentile"):
        RangeChoice(Choice.PERCENTILE, percentile)
