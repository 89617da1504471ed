from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgetf.device.runner.timing import repeat
from edgetf.device.runner.waits import Waits


@pytest.fixture
def shared_cpu() -> Iterator[None]:
    """This process and one that is always busy, on the same CPU."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.1)  # it has started
        yield
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, allowed)


def _work() -> None:
    sum(range(300_000))


@pytest.mark.usefixtures("shared_cpu")
def test_runs_without_the_waits_are_what_the_thread_computed() -> None:
    computed: list[int] = []

    def run() -> None:
        begin = time.thread_time_ns()
        _work()
        computed.append(time.thread_time_ns() - begin)

    with Waits() as waits:
        [times] = repeat((run,), min_runs=30, min_s=0.3, max_s=5, waits=waits)
        share, own = waits.share(), times.own_ns(waits)
    assert np.median(own) == pytest.approx(np.median(computed), rel=0.02)
    assert share is not None
    assert share > 0.3
    assert np.sum(times.waited_ns) > 0.3 * np.sum(times.ns)


def test_runs_are_those_of_the_clock_if_the_waits_are_unknown() -> None:
    with Waits() as waits:
        [times] = repeat((lambda: time.sleep(0.01),), min_runs=3, min_s=0, max_s=1, waits=waits)
        assert times.own_ns(waits) is times.ns


def test_nothing_is_known_if_the_work_is_not_of_this_thread_alone() -> None:
    with Waits() as waits:
        time.sleep(0.05)  # as for an accelerator
        assert waits.share() is None
    with Waits() as waits:
        other = threading.Thread(target=np.sort, args=(np.random.default_rng(0).random(1_000_000),))
        other.start()
        while other.is_alive():
            _work()
        assert waits.share() is None


@pytest.mark.parametrize("content", [None, "", "0 0 0\n", "x y z\n"])
def test_a_system_that_does_not_count_waits_is_no_error(content: str | None, tmp_path: Path) -> None:
    counts = tmp_path / "schedstat"
    if content is not None:
        counts.write_text(content)
    with Waits(counts) as waits:
        _work()
        assert waits.total_ns() == 0
        assert waits.share() is None
