"""Damage one format for a while in forked processes: a crash or a hang ends the process, and is a fault.

A fault is named by its place, with the number of a case that reproduces it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic

from tests.fuzz.core import Format, is_accepted, run_case

# seconds for a case, by the clock and of the processor: on a busy machine, the first mean nothing. What edgetf reads in
# a child has a time limit there; here it is given up early
_HANG_S, _BUSY_S = 600, 60.0
_CHILD_HANG_S, _CHILD_BUSY_S = 3, 0.5
_ROUNDS = 4
_MEMORY_BYTES = 12 << 30


@dataclass(frozen=True)
class Figures:
    """The result for a format: `faults` are lines, each with a number for `Random`."""

    name: str
    cases: int
    accepted: int
    seconds: float
    faults: Sequence[str]

    def and_(self, more: Figures) -> Figures:
        """Those of both."""
        faults = (*self.faults, *more.faults)
        counts = (self.cases + more.cases, self.accepted + more.accepted, self.seconds + more.seconds)
        return Figures(self.name, *counts, faults)

    def line(self) -> str:
        """A row of a Markdown table."""
        speed = self.cases / max(self.seconds, 1e-9)
        return f"| {self.name} | {self.cases:,} | {self.accepted:,} | {speed:,.0f} | {len(self.faults)} |"


def fuzz(one: Format, first: int, seconds: float, most: int) -> Figures:
    """Cases of one format from number `first` on, until the time is up or there were `most`."""
    begin, done, accepted = monotonic(), 0, 0
    faults: list[str] = []
    _warm_up(one)
    while (left := seconds - (monotonic() - begin)) > 0 and done < most:
        ran, taken, reported = _in_child(one, first + done, left, most - done)
        done, accepted = done + ran, accepted + taken
        faults += reported
    return Figures(one.name, done, accepted, monotonic() - begin, faults)


def fuzz_all(formats: Sequence[Format], first: int, seconds: float, most: int) -> dict[str, Figures]:
    """Cases of all formats in turn, of each `most`; what cheap formats leave of the time goes to the others."""
    begin, found = monotonic(), {one.name: Figures(one.name, 0, 0, 0.0, ()) for one in formats}
    for rounds_left in range(_ROUNDS, 0, -1):
        open_ = [one for one in formats if found[one.name].cases < most]
        for k, one in enumerate(open_):
            share = (seconds - (monotonic() - begin)) / ((len(open_) - k) + len(open_) * (rounds_left - 1))
            known = found[one.name]
            found[one.name] = known.and_(fuzz(one, first + known.cases, share, most - known.cases))
    return found


def _warm_up(one: Format) -> None:
    """Load the modules for a sound file once, and not in each process that a crash ends; a fork breaks TensorFlow."""
    if not one.slow:
        with contextlib.suppress(Exception), tempfile.TemporaryDirectory() as folder:
            is_accepted(one, Random(0), Path(folder), one.seeds[0])


def by_place(faults: Sequence[str]) -> list[str]:
    """Each place once, with its count."""
    places = Counter(fault.rpartition(" [")[0] for fault in faults)
    shown = {fault.rpartition(" [")[0]: fault for fault in faults}
    return [f"{count} times: {shown[place]}" for place, count in places.most_common()]


def _in_child(one: Format, first: int, seconds: float, most: int) -> tuple[int, int, list[str]]:
    """Cases from number `first` on in a forked process: how many, how many were accepted, and the faults."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        code = 1
        try:
            _limit(one)
            _loop(one, first, seconds, most, write)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, errors="replace") as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(pid, 0)
    starts = [line for line in lines if line.startswith("start ")]
    faults = [line[6:] for line in lines if line.startswith("fault ")]
    if os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status):
        died = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "an exit"
        number = int(starts[-1].split()[1]) if starts else first
        if not one.in_child:
            faults.append(f"{one.name}: died of {died} [{number}]")
        return number - first + 1, lines.count("accepted"), faults
    return int(lines[-1].split()[1]) if lines else most, lines.count("accepted"), faults


def _limit(one: Format) -> None:
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
        if not one.in_child:
            faulthandler.register(number, chain=True)  # where it hung
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _loop(one: Format, first: int, seconds: float, most: int, pipe: int) -> None:
    end, k = monotonic() + seconds, 0
    with os.fdopen(pipe, "w", buffering=1) as out:
        while k < most and monotonic() < end:
            number = first + k
            k += 1
            signal.alarm(_CHILD_HANG_S if one.in_child else _HANG_S)
            signal.setitimer(signal.ITIMER_PROF, _CHILD_BUSY_S if one.in_child else _BUSY_S)
            out.write(f"start {number}\n")
            try:
                if run_case(one, Random(number)):
                    out.write("accepted\n")
            except Exception as error:
                out.write(f"fault {one.name}: {place_of(error)} [{number}]\n")
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(f"done {k}\n")


def place_of(error: Exception) -> str:
    """The innermost line of edgetf's or the fuzzer's, and the message."""
    everything = traceback.extract_tb(error.__traceback__)
    frames = [f for f in everything if "/edgetf/" in f.filename or "/fuzz/" in f.filename]
    message = " ".join(str(error).split())[:100]
    at = frames[-1] if frames else None
    return f"{type(error).__name__} at {Path(at.filename).name if at else '?'}:{at.lineno if at else 0}: {message}"
