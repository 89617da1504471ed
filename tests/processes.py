"""Processes that a test has started, as the system lists them."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import psutil


def living(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def await_end(group: int) -> None:
    """Wait for the end of all processes of a group: a killed process lives until the system has run it once more."""
    deadline = time.monotonic() + 10
    while left := living(group):
        assert time.monotonic() < deadline, f"processes {left} are alive"
        time.sleep(0.02)
