from __future__ import annotations

import time

import numpy as np
import pytest

from edgetf.device.runner.timing import repeat, warm_up


def test_runs_continue_until_both_the_number_and_the_time_are_reached() -> None:
    [times] = repeat((lambda: None,), min_runs=50, min_s=0.0, max_s=10)
    assert len(times.ns) == 50
    [times] = repeat((lambda: None,), min_runs=50, min_s=0.05, max_s=10)
    assert len(times.ns) > 50
    assert sum(times.ns) < 0.06e9


def test_the_bound_ends_slow_runs_early_but_never_before_two() -> None:
    [times] = repeat((lambda: time.sleep(0.05),), min_runs=50, min_s=1, max_s=0.12)
    assert len(times.ns) == 3
    assert [len(t.ns) for t in repeat((lambda: time.sleep(0.02),) * 2, min_runs=50, min_s=1, max_s=0.0)] == [2, 2]


def test_a_sleep_is_measured_as_long_as_it_is() -> None:
    [found] = repeat((lambda: time.sleep(0.01),), min_runs=5, min_s=0, max_s=5)
    times = np.array(found.ns)
    assert np.median(times) == pytest.approx(10e6, rel=0.3)
    assert times.min() >= 10e6


def test_compared_functions_take_turns() -> None:
    done: list[str] = []
    a, b = repeat((lambda: done.append("a"), lambda: done.append("b")), min_runs=25, min_s=0, max_s=5)
    assert "".join(done) == "a" * 10 + "b" * 10 + "a" * 10 + "b" * 10 + "a" * 10 + "b" * 10
    assert len(a.ns) == len(b.ns) == len(a.waited_ns) == 30


def test_warming_up_ends_when_two_windows_agree() -> None:
    calls = iter([0.02] * 10 + [0.002] * 1000)
    times = warm_up(lambda: time.sleep(next(calls)), max_s=20)
    assert 30 <= len(times) <= 60  # the first windows differ tenfold, the next ones agree


def test_warming_up_that_never_settles_is_bounded() -> None:
    started = time.perf_counter()
    pause = iter(0.0005 * 1.3**k for k in range(1000))
    warm_up(lambda: time.sleep(next(pause)), max_s=0.2)
    assert time.perf_counter() - started < 2
