from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from edgetf.plans.fleet.lanes import Lanes

_DRIVER = """
import time
from edgetf.plans.fleet.lanes import Lanes
wait = Lanes().begin("a", 1, lambda: time.sleep(60))
print("begun", flush=True)
wait()
"""


def test_a_lane_does_one_thing_after_another_and_lanes_run_at_the_same_time() -> None:
    lanes, done, other = Lanes(), list[int](), threading.Event()
    results = [lanes.begin("a", 1, lambda k=k: done.append(k)) for k in range(20)]  # type: ignore[misc]
    waits = lanes.begin("b", 1, lambda: other.wait(30))
    lanes.begin("c", 1, other.set)()
    assert waits()
    for result in results:
        result()
    assert done == list(range(20))


def test_an_error_is_that_of_whoever_waits_and_the_lane_goes_on() -> None:
    lanes = Lanes()
    failed = lanes.begin("a", 1, lambda: 1 // 0)
    assert lanes.begin("a", 1, lambda: 2)() == 2
    with pytest.raises(ZeroDivisionError):
        failed()


def test_an_interrupted_driver_ends_at_once_whatever_its_lanes_do() -> None:
    with subprocess.Popen([sys.executable, "-c", _DRIVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"begun\n"
        driver.send_signal(signal.SIGINT)
        assert driver.wait(20) != 0
