"""Processes that a test has started, as the system lists them."""

from __future__ import annotations

import os
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
