"""How long a thread was ready to run while other programs had its CPU, as Linux counts it: nanoseconds.

Beside a busy program an inference is cut into pieces and takes twice as long; the pieces together take what it takes
alone. Other systems do not count this; then nothing is known.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter_ns, process_time_ns, thread_time_ns

_COUNTS = Path("/proc/thread-self/schedstat")  # nanoseconds on a CPU, nanoseconds waiting for one, turns on one
_ELSEWHERE = 0.02  # of the time; what other threads and devices do beyond it is work of the variant


class Waits:
    """The waits of the thread that creates it, from then on. To be closed."""

    def __init__(self, counts: Path = _COUNTS) -> None:
        self._file = _open(counts)
        self._begin = self._now()

    def __enter__(self) -> Waits:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def total_ns(self) -> int:
        """The nanoseconds of all waits of the thread so far; always 0 if the system does not count them."""
        return 0 if self._file is None else int(os.pread(self._file, 80, 0).split()[1])

    def share(self) -> float | None:
        """The share of the time that the thread waited.

        None if the system does not count it, or if the thread did not do all the work: while it waits, other threads
        or an accelerator may go on with the same inference, whose time would come out too short without the waits.
        """
        if self._file is None:
            return None
        wall, thread, process, waited = (now - begin for now, begin in zip(self._now(), self._begin))
        others, asleep = process - thread, wall - thread - waited
        return None if max(others, asleep) > _ELSEWHERE * wall else waited / wall

    def _now(self) -> tuple[int, int, int, int]:
        return perf_counter_ns(), thread_time_ns(), process_time_ns(), self.total_ns()


def _open(counts: Path) -> int | None:
    """The file, if it counts: a kernel without these statistics has only zeros in it."""
    try:
        file = os.open(counts, os.O_RDONLY)
    except OSError:
        return None
    try:
        if int(os.pread(file, 80, 0).split()[0]) > 0:
            return file
    except (OSError, ValueError, IndexError):
        pass
    os.close(file)
    return None
