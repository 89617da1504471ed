"""What a process costs: its command in, its processor seconds and its memory out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).parents[2]
_EVERY_S = 0.05
_WATCH = (
    "import resource, subprocess, sys\n"
    "ended = subprocess.run([sys.executable, *sys.argv[1:]], stdout=sys.stderr)\n"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    "print(ended.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)"
)


@dataclass(frozen=True)
class Cost:
    """Processor seconds of a process and all that it started, and their memory as the function says."""

    seconds: float
    megabytes: float


def run(arguments: Sequence[str], folder: Path = HERE, allowed: Sequence[int] = (0,)) -> Cost:
    """Run Python with these arguments on the version of edgetf in `folder`: the memory is that of the largest process.

    Raises RuntimeError unless its exit code is allowed.
    """
    others = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *others])}
    command = [sys.executable, "-c", _WATCH, *arguments]
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    code, seconds, megabytes = map(float, ended.stdout.split())
    if code not in allowed:
        raise RuntimeError(f"{' '.join(arguments)} ended with {code:.0f}: {ended.stderr[-2000:]}")
    return Cost(seconds, megabytes)


def watch(arguments: Sequence[str], folder: Path = HERE) -> Cost:
    """Like `run`: the memory is the most that all processes held together, without the pages of mapped files."""
    most, done = 0.0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(_EVERY_S):
            most = max(most, sum(map(_held, psutil.Process().children(recursive=True))))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        cost = run(arguments, folder)
    finally:
        done.set()
        watcher.join()
    return Cost(cost.seconds, most)


def _held(process: psutil.Process) -> float:
    """Megabytes of anonymous and shared memory; 0 of a process that has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    found = dict(line.split(":", 1) for line in status.splitlines() if line.startswith("Rss"))
    return sum(float(found[name].split()[0]) * 1024 / 1e6 for name in ("RssAnon", "RssShmem") if name in found)
