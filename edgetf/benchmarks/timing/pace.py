"""The progress of a benchmark: finished and remaining turns, and estimates of the remaining time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import mean
from time import monotonic
from typing import TYPE_CHECKING

from edgetf.benchmarks.timing.turns import most_turns
from edgetf.events import Note, Step
from edgetf.units import human_duration, list_in_words

if TYPE_CHECKING:
    from edgetf.benchmarks.timing.rounds import Course, Plan

_START_S = 1.0  # start of a pass, before the first sample
_QUICK_S = 0.05  # a faster block was finished by an earlier run
_NAMED = 5  # variants in a message
_SURPRISE = 1.25  # a longer time than this multiple of the forecast is reported


class Pace:
    """The courses of `plan`, and the durations of their blocks in this run. All take turns until `decided`."""

    def __init__(self, plan: Plan, courses: Sequence[Course]) -> None:
        self._plan, self._courses = plan, courses
        self._due = [course for course in courses if course.error is None]
        self._look = 0  # the position of the next one
        self._seconds: dict[str, list[float]] = {}
        self._forecast_s, self._begin = 0.0, monotonic()

    @property
    def taken(self) -> int:
        """The number of turns so far, without passes."""
        return sum(len(course.blocks) for course in self._courses)

    @contextmanager
    def timed(self, course: Course) -> Iterator[None]:
        """Measure the duration of a block."""
        begin = monotonic()
        yield
        if (seconds := monotonic() - begin) > _QUICK_S:
            self._seconds.setdefault(course.target.name, []).append(seconds)

    def decided(self, due: Sequence[Course]) -> Note | None:
        """A look is over: only the courses that are `due` take more turns; which, and how long at most."""
        done, self._due, self._look = self._plan.looks[self._look], list(due), self._look + 1
        if not due or self._look == len(self._plan.looks) or (left := self._left_s()) is None:
            return None
        names = list_in_words([course.target.name for course in due[:_NAMED]])
        more = f" and {len(due) - _NAMED} more" if len(due) > _NAMED else ""
        about, most = human_duration(left), human_duration(left + self._most_s())
        limit = f", at most {most}" if most != about else ""
        return Note(f"not decided after {done} turns: {names}{more}; about {about} more{limit}")

    def turn(self, block: int) -> Step:
        """A block of a variant begins."""
        name = f"turn {block + 1} of {self._plan.looks[self._look]}"
        if self._look:
            name += f", {len(self._due)} of {len(self._courses)} variants are not decided"
        return self.step(name)

    def step(self, name: str) -> Step:
        """The step `name` begins."""
        turns, done = sum(self._turns(course) for course in self._due), sum(len(one.turns) for one in self._courses)
        return Step(name, of=max(done + turns + len(self._passes), done + 1), done=done, left_s=self._left_s())

    def forecast(self) -> Note | None:
        """How long the run will take, after its first turn and each time when that was too little; None if it is known,
        or if there is a single turn.

        In it, the turns that are planned at least, and the most that can follow.
        """
        looks, count = self._plan.looks, len(self._due)
        if (left := self._left_s()) is None or (looks[-1] == 1 and len(self._courses) == 1):
            return None
        so_far, most = monotonic() - self._begin, self._most_s() + left
        if so_far + most <= _SURPRISE * self._forecast_s:
            return None
        self._forecast_s = so_far + most
        turns = f"{looks[0]} turn{'s' * (looks[0] > 1)}" if len(looks) == 1 else f"{looks[0]} to {looks[-1]} turns"
        what = f"{count} variants, {turns} each" if count > 1 else f"{turns} of the variant"
        if len(looks) == 1:
            return Note(f"{what}: about {human_duration(so_far + left)}")
        in_all = most_turns(len(self._courses), looks[0], looks[-1])
        limit = f", {in_all:,} in all at most" if in_all < count * looks[-1] else ""
        return Note(f"{what}{limit}: about {human_duration(so_far + left)}, at most {human_duration(so_far + most)}")

    @property
    def _passes(self) -> list[Course]:
        """The courses whose pass is to come."""
        if not self._plan.has_passes:
            return []
        return [course for course in self._courses if course.error is None and not course.passes]

    def _turns(self, course: Course) -> int:
        """The turns of a course up to the next look."""
        alive = course.error is None and self._look < len(self._plan.looks)
        return max(self._plan.looks[self._look] - len(course.blocks), 0) if alive else 0

    def _left_s(self) -> float | None:
        """The seconds up to the end if no more turns are needed after the next look; None before any is known."""
        if not self._seconds:
            return None
        turns = sum(self._turns(course) * self._of_block(course) for course in self._due)
        return turns + sum(map(self._of_pass, self._passes))

    def _most_s(self) -> float:
        """The seconds that may come in addition: the most turns after the next look, of the slowest kind."""
        looks, alive = self._plan.looks, [course for course in self._due if course.error is None]
        if self._look >= len(looks):
            return 0.0
        next_ = self.taken + sum(map(self._turns, alive))
        left = min(
            most_turns(len(self._courses), looks[0], looks[-1]) - next_, len(alive) * (looks[-1] - looks[self._look])
        )
        return max(left, 0) * max(map(self._of_block, alive), default=0.0)

    def _of_block(self, course: Course) -> float:
        known = self._seconds.get(course.target.name) or [s for one in self._seconds.values() for s in one]
        return mean(known)

    def _of_pass(self, course: Course) -> float:
        """The duration of a pass, estimated from the median of the blocks, on all cores."""
        plan, medians = self._plan, course.medians
        seconds = _START_S + plan.job.sustained_s
        if medians and plan.job.outputs:
            cores = course.blocks[0].measurement.machine.get("cores", "")
            workers = int(cores) if cores.isdigit() and int(cores) else 1
            seconds += plan.pieces[-1][1] * mean(medians) / 1e3 / workers
        return seconds
