"""The progress of a benchmark: finished and remaining turns, and an estimate of the remaining time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import mean
from time import monotonic
from typing import TYPE_CHECKING

from edgetf.events import Step

if TYPE_CHECKING:
    from edgetf.benchmarks.timing.rounds import Course, Plan

_START_S = 1.0  # start of a pass, before the first sample
_QUICK_S = 0.05  # a faster block was finished by an earlier run


class Pace:
    """The courses of `plan`, and the durations of their blocks in this run."""

    def __init__(self, plan: Plan, courses: Sequence[Course]) -> None:
        self._plan, self._courses = plan, courses
        self._seconds: dict[str, list[float]] = {}

    @contextmanager
    def timed(self, course: Course) -> Iterator[None]:
        """Measure the duration of a block."""
        begin = monotonic()
        yield
        if (seconds := monotonic() - begin) > _QUICK_S:
            self._seconds.setdefault(course.target.name, []).append(seconds)

    def step(self, name: str, blocks: int) -> Step:
        """The step `name` begins; each variant takes at least `blocks` blocks, and no fewer than planned."""
        alive = [course for course in self._courses if course.error is None]
        wanted = max(blocks, self._plan.blocks)
        timings = {course.target.name: max(wanted - len(course.blocks), 0) for course in alive}
        passes = [course for course in alive if not course.passes] if self._plan.has_passes else []
        done = sum(len(course.turns) for course in self._courses)
        of = done + sum(timings.values()) + len(passes)
        left = None
        if self._seconds:
            left = sum(count * self._of_block(name) for name, count in timings.items())
            left += sum(map(self._of_pass, passes))
        return Step(name, of=max(of, done + 1), done=done, left_s=left)

    def _of_block(self, name: str) -> float:
        known = self._seconds.get(name) or [seconds for one in self._seconds.values() for seconds in one]
        return mean(known)

    def _of_pass(self, course: Course) -> float:
        """The duration of a pass, estimated from the median of the blocks, on all cores."""
        plan, medians = self._plan, [turn.median_ms for turn in course.blocks if turn.median_ms is not None]
        seconds = _START_S + plan.job.sustained_s
        if medians and plan.job.outputs:
            cores = course.blocks[0].measurement.machine.get("cores", "")
            workers = int(cores) if cores.isdigit() and int(cores) else 1
            seconds += plan.pieces[-1][1] * mean(medians) / 1e3 / workers
        return seconds
