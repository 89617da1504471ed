from __future__ import annotations

import os

import numpy as np

from edgetf.device.runner.machine import cores, count_threads, describe_machine, describe_state, resident_bytes


def test_this_machine_is_described() -> None:
    facts = describe_machine()
    assert facts["cores"] == str(len(os.sched_getaffinity(0))) == str(cores())
    assert facts["architecture"] == os.uname().machine
    assert "GiB" in facts["memory"]
    assert float(describe_state()["load_1min"]) >= 0


def test_resident_memory_follows_what_is_held() -> None:
    before = resident_bytes(peak=False)
    held = np.ones(64 << 20, np.uint8)
    after, peak = resident_bytes(peak=False), resident_bytes(peak=True)
    assert before is not None
    assert after is not None
    assert peak is not None
    assert after - before > 0.9 * held.nbytes
    assert peak >= after


def test_threads_are_counted() -> None:
    assert (count_threads() or 0) >= 1
