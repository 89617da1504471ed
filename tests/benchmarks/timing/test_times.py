from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.benchmarks.timing.times import (
    energy_of,
    is_precise,
    judge_stability,
    merge_summaries,
    spread_of,
    sum_up_minutes,
    summarize,
)
from edgetf.device.runner.answers import is_throttled
from edgetf.device.runner.job import Power, TimeSummary, Window
from edgetf.figures import Block


@given(st.lists(st.integers(1_000, 10**10), min_size=2, max_size=300))
def test_a_summary_is_ordered_and_within_the_times(times: list[int]) -> None:
    found = summarize([times])
    assert min(times) / 1e6 <= found.median <= max(times) / 1e6
    assert 0 <= found.low <= found.median <= found.high
    assert found.p90 is not None
    assert found.p99 is not None
    assert found.p90 <= found.p99 * (1 + 1e-12)
    assert found.n == len(times)
    assert found.mean == pytest.approx(np.mean(times) / 1e6)
    assert found.stdev == pytest.approx(np.std(times, ddof=1) / 1e6)


@pytest.mark.parametrize("n", [10, 50, 333])
def test_the_interval_of_the_median_covers_the_true_median(n: int) -> None:
    random = np.random.default_rng(n)
    hits = 0
    for _ in range(1000):
        found = summarize([(random.lognormal(0, 0.5, n) * 1e6).astype(int)])
        hits += found.low <= 1.0 <= found.high
    assert hits >= 935  # 950 less two standard deviations


def test_the_interval_of_the_median_sees_a_drift_that_independent_runs_would_not_have() -> None:
    random = np.random.default_rng(0)
    steady = random.normal(1e6, 1e4, 10_000)
    drifting = steady * np.repeat(random.normal(1, 0.02, 10), 1000)
    narrow, wide = summarize([steady.astype(int)]), summarize([drifting.astype(int)])
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


@pytest.mark.parametrize("blocks", [2, 5, 20])
def test_the_interval_over_blocks_covers_what_single_processes_differ_by(blocks: int) -> None:
    """Each process has its own speed; hundreds of runs in one of them give no information on the others."""
    random = np.random.default_rng(blocks)
    hits = 0
    for _ in range(500):
        own = random.normal(1.0, 0.02, blocks)
        hits += _covers([(one * random.normal(1e6, 1e4, 200)).astype(int) for one in own])
    assert hits >= 465  # 475 less two standard deviations


def _covers(times: list[np.ndarray[tuple[int], np.dtype[np.int64]]]) -> bool:
    found = summarize(times)
    return found.low <= 1.0 <= found.high


@given(st.lists(st.tuples(st.integers(2, 1000), st.floats(1e3, 1e9), st.floats(0, 1e6)), min_size=2, max_size=9))
def test_what_a_tool_reported_is_summed_up_like_what_was_measured(reported: list[tuple[int, float, float]]) -> None:
    blocks = [TimeSummary(n, mean, stdev, mean, mean, mean) for n, mean, stdev in reported]
    found = merge_summaries(blocks)
    assert found is not None
    means = [mean / 1e6 for _, mean, _ in reported]
    assert found.median == pytest.approx(np.median(means))
    assert 0 <= found.low <= found.median <= found.high
    assert found.n == sum(n for n, _, _ in reported)
    assert min(means) * (1 - 1e-9) <= found.mean <= max(means) * (1 + 1e-9)
    assert (found.p90, found.p99) == (None, None)
    assert 0 <= found.stdev <= max(stdev for _, _, stdev in reported) / 1e6 * (1 + 1e-9)


def test_the_mean_of_a_tool_replaces_a_missing_median() -> None:
    found = merge_summaries([TimeSummary(9, 2e6, 1e5, 1e6, 4e6), TimeSummary(9, 4e6, 1e5, 1e6, 9e6)])
    assert found is not None
    assert found.median == pytest.approx(3)


def test_whole_microseconds_are_not_exact_times() -> None:
    fast = merge_summaries([TimeSummary(50, 7400.0, 500.0, 7000.0, 9000.0, 7000.0)] * 5)
    assert fast is not None
    assert fast.median == pytest.approx(0.0074)  # the mean: a median of 7 may be anything up to 8
    assert fast.high - fast.low == pytest.approx(0.001)
    assert merge_summaries([TimeSummary(50, 7400.0, 500.0, 7000.0, 9000.0, 7000.0)]) is None
    assert spread_of([TimeSummary(50, 0.0, 0.0, 0.0, 0.0, 0.0)]) == 0


def _blocks(medians: list[float], runs: int = 20, **facts: str) -> list[Block]:
    common = {"frequency_mhz": "", "temperature_c": "", "governor": "", "throttled": "", **facts}
    return [Block(k, median, runs, measurement="", **common) for k, median in enumerate(medians, 1)]


def test_steady_blocks_are_stable_and_what_disturbs_them_is_named() -> None:
    steady = [1.0, 1.01, 0.99, 1.0, 1.02]
    assert judge_stability(_blocks(steady), 0.03)[0]
    cases = {
        "only 45 runs": (_blocks(steady, runs=9), 0.03),
        "block medians differ by 30%": (_blocks([1.0, 1.0, 1.3, 1.0, 1.0]), 0.03),
        "runs spread over 20%": (_blocks(steady), 0.2),
        "throttled in 5 of 5 blocks (0x50004)": (_blocks(steady, throttled="0x50004"), 0.03),
    }
    for reason, (blocks, spread) in cases.items():
        stable, why = judge_stability(blocks, spread)
        assert not stable
        assert reason in why


def test_a_drift_is_reported_with_the_changes_of_the_device() -> None:
    cool, hot = _blocks([1.0] * 3, frequency_mhz="2400", temperature_c="50"), _blocks([1.5] * 2)
    hot = [Block(**{**vars(block), "frequency_mhz": "1500", "temperature_c": "82"}) for block in hot]
    _, why = judge_stability([*cool, *hot], 0.03)
    assert "the frequency was 1500 to 2400 MHz, the temperature 50 to 82 °C" in why


def test_blocks_that_agree_are_precise_and_others_are_not() -> None:
    assert is_precise([1.0, 1.005, 0.995, 1.0, 1.01])
    assert not is_precise([1.0, 1.1, 0.9, 1.0, 1.05])
    assert not is_precise([1.0, 1.02])  # two blocks are not enough
    assert is_precise([1.0, 1.1, 0.9, 1.0, 1.05] * 20)


def test_past_throttling_is_not_current_throttling() -> None:
    assert not is_throttled("0x50000")  # bits 16 and up: since the start of the system
    assert is_throttled("0x4")
    assert [is_throttled(bits) for bits in ("", "0", "2")] == [False, False, True]


def test_rare_long_interruptions_of_a_shared_machine_do_not_widen_the_spread() -> None:
    random = np.random.default_rng(0)
    times = np.where(random.random(1000) < 0.02, 20e6, random.normal(1e6, 1e4, 1000)).astype(int)
    assert spread_of([times]) < 0.03
    assert spread_of([TimeSummary(50, 1e6, 3e5, 1e6, 2e6, 1e6)]) == pytest.approx(0.3)


def test_minutes_of_load_are_summed_up_with_the_hottest_and_slowest() -> None:
    states = [{"temperature_c": f"{40 + k / 10}", "frequency_mhz": f"{2400 - k}"} for k in range(90)]
    windows = [Window(k + 1.0, 100, 1e6 if k < 60 else 2e6, state) for k, state in enumerate(states)]
    found = sum_up_minutes(windows)
    assert [minute.runs for minute in found.minutes] == [6000, 3000]
    assert found.last_to_first == pytest.approx(2)
    assert found.minutes[1].temperature_c == pytest.approx(48.9)
    assert found.minutes[1].frequency_mhz == pytest.approx(2311)
    assert found.seconds == 90


def test_energy_is_the_power_above_idle_times_the_time_of_an_inference() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        power = Power("pmic", list(random.normal(3, 0.2, 30)), list(random.normal(5, 0.2, 30)), runs=1000, seconds=10)
        found = energy_of(power)
        assert found is not None
        assert found.low <= found.mj <= found.high
        hits += found.low <= 20.0 <= found.high  # 2 W for 10 ms
    assert hits >= 277  # 285 less two standard deviations


def test_energy_is_not_reported_from_a_meter_with_few_readings() -> None:
    steps = [4.0, 5.0, 5.0, 5.0, 6.0, 6.0, 6.0, 6.0, 7.0]
    reported = energy_of(Power("battery", [3.0, 3.1, 3.0] * 5, steps, 1000, 10.0))
    assert reported is not None
    assert reported.active_w == pytest.approx(6.0)  # 5, 6, 7 once each; the first third is left out
    assert energy_of(Power("battery", [3.0] * 9, steps, 1000, 10.0)) is None
    assert energy_of(Power("battery", [0.003, 0.0031, 0.003] * 5, [0.005, 0.006, 0.007] * 5, 1000, 10.0)) is None
    assert energy_of(Power("pmic", [3.0], [5.0], 1000, 10.0)) is None


def test_the_last_inference_of_a_load_does_not_start_a_new_minute() -> None:
    windows = [Window(k + 1 + 0.03, 20, 50e6, {}) for k in range(600)]
    assert len(sum_up_minutes(windows).minutes) == 10
