"""What a process costs: its command in, its processor seconds and its memory out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parents[2]
_WATCH = (
    "import resource, subprocess, sys\n"
    "ended = subprocess.run([sys.executable, *sys.argv[1:]], stdout=sys.stderr)\n"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    "print(ended.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)"
)


@dataclass(frozen=True)
class Cost:
    """Processor seconds of a process and all that it started, and the most megabytes of the largest of them."""

    seconds: float
    megabytes: float


def run(arguments: Sequence[str], folder: Path = HERE, allowed: Sequence[int] = (0,)) -> Cost:
    """Run Python with these arguments on the version of edgetf in `folder`. Raises unless its exit code is allowed."""
    others = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *others])}
    command = [sys.executable, "-c", _WATCH, *arguments]
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    code, seconds, megabytes = map(float, ended.stdout.split())
    if code not in allowed:
        raise RuntimeError(f"{' '.join(arguments)} ended with {code:.0f}: {ended.stderr[-2000:]}")
    return Cost(seconds, megabytes)
