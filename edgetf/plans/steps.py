"""Run one step: its facts, its place in the store, and the reason if it has to be made. Out: a StepRecord."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from edgetf.api.tables.tuning import answer
from edgetf.errors import DeviceError, EdgetfError, ExitCode
from edgetf.events import OnEvent
from edgetf.plans.record import Because, RunRecord, State, StepRecord, Verb
from edgetf.plans.store import is_finished, locked, place_of
from edgetf.recipes import read_tuning
from edgetf.system import explained

Facts = Mapping[str, str]
Report = Callable[[StepRecord], None]  # receives each step when it is over


class _Own(threading.local):
    """What each thread has of its own: steps of several devices run at the same time.

    `elsewhere` is whether its step may run on another device if this one fails; `held` whether its lines are kept back
    in `unreported`.
    """

    def __init__(self) -> None:
        self.elsewhere, self.held = False, False
        self.unreported: list[StepRecord] = []


@dataclass
class Steps:
    """The steps of a run so far. `earlier` is the last run of the same plan, if there was one.

    With `dry`, nothing runs: a step that would is PENDING, and so are those that stand on it.
    """

    earlier: RunRecord | None
    force: bool
    dry: bool
    report: Report
    done: list[StepRecord] = field(default_factory=list)
    _own: _Own = field(default_factory=_Own)

    def stored(
        self,
        step: StepRecord,
        facts: Callable[[], Facts],
        settled: bool,
        make: Callable[[Path, OnEvent], str],
        on_event: OnEvent,
    ) -> Path | None:
        """The folder of a step's result: that in the store, or a new one that `make` writes; None if it failed.

        `make` returns the name of the worker or host that made it.
        A DeviceError passes through if `step` may run on another device: it is not recorded then.
        """
        begin = perf_counter()
        try:
            known = facts()
            place = place_of(step.verb, known)
            step = replace(step, key=place.name, facts=dict(known), place=str(place))
            if not self.force and settled and is_finished(step.verb, place):
                return self._over(self._as_before(_with_outcome(step, place)), State.STORED, begin)
            step = self._with_reason(step, settled)
            if self.dry:
                self._over(step, State.PENDING, begin)
                return None
            with explained(), locked(place, on_event):
                if self.force or not settled or not is_finished(step.verb, place):
                    step = replace(step, made_by=make(place, on_event))
        except DeviceError as error:
            if self._own.elsewhere:
                raise
            self.failed(step, error, begin)
            return None
        except EdgetfError as error:
            self.failed(step, error, begin)
            return None
        return self._over(_with_outcome(step, place), State.DONE, begin)

    @contextmanager
    def elsewhere_unless(self, last: bool) -> Iterator[None]:
        """While a step may run on another device if this one fails."""
        self._own.elsewhere = not last
        try:
            yield
        finally:
            self._own.elsewhere = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the progress of a step is shown: its line is reported below it, when it is over."""
        self._own.held = True
        try:
            yield
        finally:
            self._own.held = False

    def send(self) -> None:
        """Report the steps that are over."""
        while self._own.unreported:
            self.report(self._own.unreported.pop(0))

    def is_stored(self, verb: Verb, facts: Callable[[], Facts]) -> bool:
        """Whether the result of these facts is in the store."""
        try:
            return not self.force and is_finished(verb, place_of(verb, facts()))
        except EdgetfError:
            return False

    def derived(self, step: StepRecord, facts: Facts, made: Path, make: Callable[[Path], None]) -> Path | None:
        """The same for a file in the folder of results, such as a report: it is made again if its facts change."""
        begin = perf_counter()
        step = replace(step, facts=dict(facts), place=str(made))
        try:
            before = self._before(step)
            known = before is not None and before.state is not State.FAILED and before.facts == step.facts
            if not self.force and made.exists() and known:
                return self._over(step, State.STORED, begin)
            step = self._with_reason(step, settled=True)
            if self.dry:
                self._over(step, State.PENDING, begin)
                return None
            with explained():
                made.parent.mkdir(parents=True, exist_ok=True)
                make(made)
        except EdgetfError as error:
            self.failed(step, error, begin)
            return None
        return self._over(step, State.DONE, begin)

    def pending(self, step: StepRecord) -> None:
        """Record a step that would run after others, whose results it depends on."""
        self._over(replace(step, because=Because.EARLIER), State.PENDING, perf_counter())

    def skipped(self, step: StepRecord) -> None:
        """Record a step that stands on one that failed."""
        self._over(step, State.SKIPPED, perf_counter())

    def not_needed(self, step: StepRecord) -> None:
        """Record a step without which the plan has its answer."""
        self._over(step, State.NOT_NEEDED, perf_counter())

    def after(self, needed: list[Path | None], step: StepRecord) -> bool:
        """Whether all results that a step needs are there. If not, it is recorded as pending or skipped."""
        if all(place is not None for place in needed):
            return True
        (self.pending if self.dry and not self._has_failed(step.model) else self.skipped)(step)
        return False

    def is_open(self, model: str, device: str) -> bool:
        """Whether a step of this model on this device would run: its answer may be another one then."""
        return any((one.model, one.device, one.state) == (model, device, State.PENDING) for one in self.done)

    def _has_failed(self, model: str) -> bool:
        return any(one.model == model and one.state is State.FAILED for one in self.done)

    def failed(self, step: StepRecord, error: EdgetfError, begin: float | None = None) -> None:
        """Record a step that failed."""
        begin = perf_counter() if begin is None else begin
        cause = error.cause if isinstance(error, DeviceError) else None
        code = ExitCode(error.exit_code)
        step = replace(step, exit_code=code, cause=cause, error=error.message, hint=error.hint)
        self._over(step, State.FAILED, begin)

    def _over(self, step: StepRecord, state: State, begin: float) -> Path | None:
        step = replace(step, state=state, seconds=round(perf_counter() - begin, 2))
        self.done.append(step)
        self._own.unreported.append(step)
        if not self._own.held:
            self.send()
        return None if step.place is None else Path(step.place)

    def _with_reason(self, step: StepRecord, settled: bool) -> StepRecord:
        before = self._before(step)
        if self.force:
            return replace(step, because=Because.FORCED)
        if not settled:
            return replace(step, because=Because.UNSETTLED)
        if before is not None and before.state is State.FAILED:
            return replace(step, because=Because.FAILED)
        if before is None or not before.facts:
            return replace(step, because=Because.NEW)
        names = {*before.facts, *step.facts}
        changed = tuple(sorted(name for name in names if before.facts.get(name) != step.facts.get(name)))
        return replace(step, because=Because.CHANGED if changed else Because.LOST, changed=changed)

    def _as_before(self, step: StepRecord) -> StepRecord:
        """A step whose result is in the store, with who made it, if that was the last run."""
        before = self._before(step)
        return replace(step, made_by=before.made_by) if before is not None and before.key == step.key else step

    def _before(self, step: StepRecord) -> StepRecord | None:
        return self.earlier.step(step.verb, step.model, step.device) if self.earlier else None


def _with_outcome(step: StepRecord, place: Path) -> StepRecord:
    """A step whose result is at `place`, with what a tuning found."""
    if step.verb is Verb.TUNE:
        with suppress(EdgetfError):  # it only informs
            return replace(step, outcome=answer(read_tuning(place)))
    return step


def new(verb: Verb, model: str, device: str | None = None) -> StepRecord:
    """A step that has not run."""
    return StepRecord(verb, model, device, State.PENDING)
