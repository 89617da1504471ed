"""A scheduler and workers as processes, as a lab has them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

START_S = 120.0  # on a busy machine


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(*words: str, ready: str, log: Path, cache: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """`edgetf WORDS` in a process group of its own, from when its log has `ready` until the end of the block."""
    env = {**os.environ, **({} if cache is None else {"EDGETF_CACHE": str(cache)})}
    with log.open("wb") as file:
        command = [sys.executable, "-m", "edgetf", *words]
        process = subprocess.Popen(command, stdout=file, stderr=file, env=env, start_new_session=True)
    try:
        await_line(log, ready, process)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_line(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while text not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.1)


def kill_worker(nanny: subprocess.Popen[bytes]) -> None:
    """Kill the process that runs a worker's steps, and leave the one that starts it again."""
    for process in psutil.Process(nanny.pid).children():
        if "spawn_main" in " ".join(process.cmdline()):
            process.kill()
            return
    raise AssertionError("there is no worker process")
