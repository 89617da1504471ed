"""`python -m tests.fuzz.guided SECONDS FOLDERS... [--only FORMAT,...]`: atheris chooses the damage, guided by coverage.

What a format does by chance is decided by the bytes that atheris makes, and those that reach new branches of edgetf's
readers are changed further. FOLDERS are the fields of `Made`. One process for each format; prints the same table as
`python -m tests.fuzz`. `make fuzz` installs atheris.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from random import Random
from time import monotonic

from tests.fuzz.loop import Figures, by_place, place_of

_GOAL = 100_000
_LONGEST = 4096  # bytes of decisions; what a case needs beyond them follows from their digest


class Decisions(Random):
    """Chance that is read from bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(int.from_bytes(sha256(data).digest(), "little"))
        self._data, self._at = data, 0

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        taken = self._data[self._at : self._at + size]
        self._at += size
        if len(taken) < size:
            return super().getrandbits(k)
        return int.from_bytes(taken, "little") >> (8 * size - k)

    def random(self) -> float:
        return self.getrandbits(53) / (1 << 53)


def one_format(name: str, seconds: float, folders: list[str]) -> None:
    """Fuzz one format in this process; prints its figures as one line of JSON for each hundredth case, then ends."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["edgetf"]):
        from tests.fuzz.core import Made, run_case
        from tests.fuzz.formats import all_formats
    format_ = all_formats(Made(*map(Path, folders)))[name]
    cases = accepted = 0
    faults: list[str] = []
    begin = monotonic()

    def report() -> None:
        line = {"cases": cases, "accepted": accepted, "seconds": monotonic() - begin, "faults": faults}
        os.write(1, json.dumps(line).encode() + b"\n")

    def try_one(data: bytes) -> None:
        nonlocal cases, accepted
        cases += 1
        try:
            accepted += run_case(format_, Decisions(data))
        except Exception as error:
            faults.append(f"{name}: {place_of(error)} [{data.hex()}]")
        if cases >= _GOAL or monotonic() - begin >= seconds:
            report()
            os._exit(0)
        if cases % 100 == 0:
            report()

    options = [f"-max_len={_LONGEST}", "-len_control=0", "-rss_limit_mb=0", "-timeout=600", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options], try_one)
    atheris.Fuzz()


def _fuzz(name: str, seconds: float, folders: list[str], temporary: str) -> Figures:
    """The figures of one format. Where a crash is no fault, because edgetf reads it in a child, or TensorFlow may crash
    by design, another process goes on until the time is over."""
    from tests.fuzz.core import Made
    from tests.fuzz.formats import all_formats

    may_crash = all_formats(Made(*map(Path, folders)))[name].in_child
    total, end = Figures(name, 0, 0, 0.0, ()), monotonic() + seconds
    while (left := end - monotonic()) > 0:
        command = [sys.executable, "-m", "tests.fuzz.guided", "--one", name, str(left), *folders]
        ended = subprocess.run(command, env={**os.environ, "TMPDIR": temporary}, capture_output=True, check=False)
        nothing = b'{"cases": 0, "accepted": 0, "seconds": 0, "faults": []}'
        figures = json.loads([nothing, *ended.stdout.splitlines()][-1])
        crashed = ended.returncode != 0
        if crashed and not may_crash:
            figures["faults"].append(f"{name}: ended with {ended.returncode}: {ended.stderr[-500:]!r} [last]")
        total = total.and_(Figures(name, **figures))
        if not (crashed and may_crash):
            break
    return total


def main(seconds: float, folders: list[str], only: list[str]) -> int:
    """The exit code: 1 if there was a fault. The formats share the time."""
    from tests.fuzz.formats import BY_A_CHILD, FAST, WITH_TENSORFLOW

    names = [name for name in only or (*FAST, *WITH_TENSORFLOW) if name not in BY_A_CHILD]  # no coverage of a child
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for name in names:
            found.append(_fuzz(name, seconds / len(names), folders, folder))
            sys.stdout.write(found[-1].line() + "\n")
            sys.stdout.flush()
    places = [fault for one in found for fault in by_place(one.faults)]
    sys.stdout.write("\n".join([*places, ""]))
    return 1 if places else 0


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one_format(sys.argv[2], float(sys.argv[3]), sys.argv[4:])
    given, _, asked = " ".join(sys.argv[1:]).partition(" --only ")
    seconds, *folders = given.split(" ")
    sys.exit(main(float(seconds), folders, asked.split(",") if asked else []))
