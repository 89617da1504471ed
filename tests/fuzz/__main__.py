"""`python -m tests.fuzz SECONDS FOLDERS... [--only FORMAT,...]`: what `make fuzz` runs, in a process that may fork.

FOLDERS are the fields of `Made`. Prints a table of cases, then each fault with the number that reproduces it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.core import Made
from tests.fuzz.formats import all_formats
from tests.fuzz.loop import by_place, fuzz_all

_GOAL = 100_000


def main(seconds: float, made: Made, only: Sequence[str]) -> int:
    """The exit code: 1 if there was a fault."""
    if Path("/dev/shm").is_dir() and "TMPDIR" not in os.environ:  # in memory: a case is a folder, made and removed
        tempfile.tempdir = "/dev/shm"
    start = int.from_bytes(os.urandom(4), "little") << 20
    formats = [one for one in all_formats(made).values() if not only or one.name in only]
    figures = fuzz_all(formats, start, seconds, _GOAL).values()
    found = [fault for one in figures for fault in by_place(one.faults)]
    sys.stdout.write("\n| format | cases | accepted | a second | faults |\n|---|---|---|---|---|\n")
    sys.stdout.write("\n".join([*(one.line() for one in figures), "", *found, ""]))
    return 1 if found else 0


if __name__ == "__main__":
    given, _, asked = " ".join(sys.argv[1:]).partition(" --only ")
    seconds, *folders = given.split(" ")
    sys.exit(main(float(seconds), Made(*map(Path, folders)), asked.split(",") if asked else ()))
