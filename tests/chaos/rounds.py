"""One round: a command, and one or more signals at a random moment; then its files, and the same command again.

What must hold whenever and however it ends: no child process survives; an earlier result is unchanged, or the new one
is complete; the same command then succeeds; after that nothing is left except the results, neither next to them nor in
TMPDIR. A command that was not killed by SIGKILL leaves nothing behind immediately, and prints no traceback.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgetf import files
from edgetf.plans.record import read_run
from edgetf.recipes import read_tuning
from edgetf.results import read_benchmark, read_conversion, read_reference

_KILL = (signal.SIGKILL,)
_ENDINGS = (
    *([_KILL] * 6),
    (signal.SIGINT,),
    (signal.SIGTERM,),
    (signal.SIGHUP,),
    (signal.SIGINT, signal.SIGINT),
    (signal.SIGTERM, signal.SIGINT),
    (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT),
)
_PATIENCE_S = 120.0
_ORPHAN_S = 3.0  # a process that was just killed takes a moment to go


@dataclass(frozen=True)
class Command:
    """`arguments` of edgetf that write to `out`; `whole` counts the results there, and raises if one is incomplete.

    If there is a result, it is run with --force. A command with `fresh` adds the result in that folder instead.
    """

    name: str
    arguments: tuple[str, ...]
    out: Path
    whole: Callable[[Path], int]
    fresh: str = ""


@dataclass(frozen=True)
class Round:
    """The result of a round: the signals, when they were sent, and each thing that did not hold."""

    delay_s: float
    signals: tuple[signal.Signals, ...]
    ended: int
    faults: tuple[str, ...]

    def __str__(self) -> str:
        names = "+".join(one.name.removeprefix("SIG") for one in self.signals)
        return f"{self.delay_s:6.2f} s {names:17} exit {self.ended:4}  {'; '.join(self.faults) or 'holds'}"


class Place:
    """A private environment for one command: TMPDIR, locks and history that no other process uses."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        (folder / "locks").mkdir(exist_ok=True)
        self.cache = folder / "cache"
        self._env = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "EDGETF_LOCKS": str(folder / "locks"),
            "EDGETF_HISTORY": str(folder / "kept.sqlite"),
            "EDGETF_CACHE": str(self.cache),
        }
        self._env.pop("EDGETF_TESTS_READY", None)  # edgetf starts its processes itself, as a user's does

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "edgetf", *arguments],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def seconds(self, arguments: Sequence[str]) -> float:
        """The duration of the undisturbed command. Raises if it does not succeed."""
        begin = time.monotonic()
        reported, code = _end(self.start(arguments))
        if code:
            raise RuntimeError(reported)
        return time.monotonic() - begin

    def orphans(self) -> list[str]:
        """The processes that have this TMPDIR, or a folder in it, and have not ended."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                its = process.environ().get("TMPDIR", "")
                mine = its == str(self.temporary) or its.startswith(f"{self.temporary}/")
                if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline())[:80])
        return found


def play(command: Command, place: Place, delay_s: float, chance: random.Random) -> Round:
    """One round of `command`, which is ended after `delay_s`."""
    signals = chance.choice(_ENDINGS)
    earlier = command.whole(command.out) if files_of(command.out) else 0
    arguments = _arguments(command)
    process = place.start(arguments)
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay_s)
    for one in signals:
        process.send_signal(one)  # nothing if it has ended
        time.sleep(chance.choice((0.0, 0.001, 0.02)))
    reported, ended = _end(process)
    faults = [f"runs on: {one}" for one in _after(_ORPHAN_S, place.orphans)]
    if "Traceback" in reported:
        faults.append(f"traceback: {reported.strip()[-1500:]}")
    if signals != _KILL:
        faults += [f"left at once: {name}" for name in _left(command, place) if "partial" not in name]
    if not _holds(command, earlier):
        faults.append("an earlier result is lost")
    again, code = _end(place.start(_arguments(command)))
    if code:
        faults.append(f"the next run fails: {again.strip().splitlines()[-2:]}")
    faults += [f"left after the next run: {name}" for name in _left(command, place)]
    return Round(delay_s, signals, ended, tuple(faults))


def _arguments(command: Command) -> list[str]:
    force = ["--force"] if not command.fresh and files_of(command.out) else []
    return [*command.arguments, *force]


def _end(process: subprocess.Popen[str]) -> tuple[str, int]:
    reported, _ = process.communicate(timeout=_PATIENCE_S)
    return reported, process.returncode


def _after(seconds: float, look: Callable[[], list[str]]) -> list[str]:
    """What `look` still finds after `seconds`."""
    end = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def files_of(out: Path) -> dict[str, str]:
    """The digests of all results, by name; hidden entries are not results."""
    places = [out] if out.is_file() else sorted(out.rglob("*")) if out.is_dir() else []
    inside = [path for path in places if path.is_file() and not str(path.relative_to(out)).startswith(".edgetf")]
    return {str(path.relative_to(out)): files.sha256_file(path) for path in inside}


def _holds(command: Command, earlier: int) -> bool:
    """Whether the earlier results, or complete new ones, are there; without earlier ones, complete new ones or none."""
    try:
        return command.whole(command.out) >= earlier
    except Exception:
        return not earlier and not files_of(command.out)


def _left(command: Command, place: Place) -> list[str]:
    """Files that are not results: next to the results, and in TMPDIR."""
    out = command.out
    beside = [
        *out.parent.glob(".edgetf*"),
        *_staged(place.cache),
        *(out.glob(".*") if out.is_dir() else ()),
        *out.parent.glob("*-journal"),
    ]
    return [path.name for path in (*beside, *place.temporary.iterdir())]


def _staged(cache: Path) -> list[Path]:
    """What is half-written in the cache; what a killed run resumes from stays there for a week."""
    return [path for path in cache.rglob(".edgetf*") if "partial" not in path.name]


def complete_bundle(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    return 1


def complete_history(path: Path) -> int:
    """The number of rows; both rows of a benchmark are there, or none."""
    with sqlite3.connect(path) as base:
        assert base.execute("pragma integrity_check").fetchone() == ("ok",)
        rows = int(base.execute("select count(*) from result").fetchone()[0])
    assert rows % 2 == 0
    return rows


def complete_tuning(out: Path) -> int:
    """The tuned file, its proof and the benchmark belong together."""
    winner = read_tuning(out).winner
    complete_folder(read_conversion, "path")(out)
    complete_folder(read_reference, "file")(out / "proof")
    complete_folder(read_benchmark, "measurement")(out / "bench")
    assert winner is None or (out / "tuned.tflite").is_file()
    return 1


def complete_run(out: Path) -> int:
    """What is shipped is complete; the number of answers whose files are there, 0 before the first run has ended."""
    for path in out.rglob("*.edgetf"):
        complete_bundle(path)
    if not (out / "run.json").is_file():
        return 0
    answers = read_run(out).answers
    for one in answers:
        assert one.file is not None
        assert one.bundle is not None
        assert files.sha256_file(Path(one.file)) == one.sha256
        assert Path(one.bundle).is_file()
    return len(answers)


def complete_folder(read: Callable[[Path], object], key: str) -> Callable[[Path], int]:
    """A check that the files named under `key` exist, with their digests if the document of the folder has them."""

    def whole(out: Path) -> int:
        for plain in _parts(files.to_plain(read(out))):
            if (place := plain.get(key)) is not None and not Path(place).is_absolute():
                digest = plain.get("sha256", "") if (out / place).is_file() else ""
                assert (out / place).exists()
                assert not digest or files.sha256_file(out / place) == digest
        return 1

    return whole


def _parts(plain: Any) -> Iterator[dict[str, Any]]:
    if isinstance(plain, dict):
        yield plain
    for part in plain.values() if isinstance(plain, dict) else plain if isinstance(plain, (list, tuple)) else ():
        yield from _parts(part)
