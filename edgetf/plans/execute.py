"""Run a plan: every step of every model on every device, nothing twice. In: a Plan. Out: `run.json` and its files.

    convert ─┬─> benchmark on each device ─> tune, where the variants do not give the answer ─> report, bundle
    reference┘

A step that fails stops those that stand on it, and no others. Results of steps are in the store; the folder of the
plan has links to them, and what is to be shipped: the chosen file, its bundle and its report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import edgetf
from edgetf import __version__, files
from edgetf.api.verdicts import Tuned
from edgetf.benchmarks.judging import choose as choosing
from edgetf.benchmarks.judging.choose import Choice, Standing
from edgetf.benchmarks.judging.gate import judge_result, warnings_of
from edgetf.benchmarks.timing.targets import find_targets
from edgetf.errors import DeviceError, EdgetfError, ExitCode, MissingExtraError
from edgetf.events import Note, OnEvent
from edgetf.plans import call
from edgetf.plans.call import Call
from edgetf.plans.engine import ABSENT, Engine, Result, Seat
from edgetf.plans.facts import Depends, aim_of, is_settled
from edgetf.plans.plan import Plan, PlannedModel, When
from edgetf.plans.record import RUN_SCHEMA, Answer, RunRecord, State, StepRecord, Verb
from edgetf.plans.ship import Measured, Shipper, Watch
from edgetf.plans.steps import Steps, new
from edgetf.recipes import TUNED, Ending
from edgetf.results import Benchmark, Verdict, read_benchmark
from edgetf.schemes import SCHEMES
from edgetf.system import explained

_CLEARLY = 0.99  # of the chosen variant's cost: what costs more than this would be no gain


class Executor:
    """Runs the steps of `plan` in order; `watch` shows their progress."""

    def __init__(self, plan: Plan, steps: Steps, watch: Watch, wait: bool, engine: Engine) -> None:
        if find_spec("scipy") is None:  # before the first step, not in the middle of a plan
            raise MissingExtraError("scipy", "report")
        self._plan, self._steps, self._watch, self._wait, self._engine = plan, steps, watch, wait, engine
        self._depends = Depends(plan)
        self._shipper = Shipper(plan, steps, watch, wait, engine.exclusive)

    def run(self, path: Path | None) -> RunRecord:
        """The record of all steps and answers; its `seconds` are those of whoever calls this."""
        begun = list[tuple[PlannedModel, str, Result[Answer | None]]]()
        for model in self._plan.models:
            made = self._engine.begin(None, partial(self._prepare, model))
            for device in model.devices:
                begun.append((model, device, self._engine.begin(device, partial(self._safely, model, device, made))))
        answers = [(model.name, device, result()) for model, device, result in begun]
        return RunRecord(
            schema=RUN_SCHEMA,
            edgetf=__version__,
            created=files.now(),
            plan=None if path is None else str(path),
            seconds=0.0,
            steps=tuple(self._in_order()),
            answers=tuple(one for model, device, one in answers if one and not self._steps.is_open(model, device)),
        )

    def _in_order(self) -> list[StepRecord]:
        """The steps in the order of the plan, whatever ended first."""
        models = {model.name: (k, model.devices) for k, model in enumerate(self._plan.models)}

        def place(step: StepRecord) -> tuple[int, int]:
            number, devices = models[step.model]
            return number, -1 if step.device is None else devices.index(step.device)

        return sorted(self._steps.done, key=place)

    # steps ------------------------------------------------------------------------------------------------------------

    def _prepare(self, model: PlannedModel) -> tuple[Path | None, Path | None]:
        """The folders of a model's variants and of its reference."""
        return self._convert(model), self._reference(model)

    def _convert(self, model: PlannedModel) -> Path | None:
        seat = self._seat(Verb.CONVERT, None)
        made = call.conversion(model, self._plan.options)
        step, settled = new(Verb.CONVERT, model.name), is_settled(model, model.samples)
        return self._stored(step, lambda: self._depends.conversion(model, seat().host), settled, made, seat)

    def _reference(self, model: PlannedModel) -> Path | None:
        seat = self._seat(Verb.REFERENCE, None)
        made = call.reference(model, self._plan.options)
        step, settled = new(Verb.REFERENCE, model.name), is_settled(model, model.test, on=self._plan.options.on)
        return self._stored(step, lambda: self._depends.reference(model, seat().host), settled, made, seat)

    def _seat(self, verb: Verb, device: str | None) -> Callable[[], Seat]:
        """The seat for a step, chosen when it is first needed, and once: its facts are those of what makes it."""
        return cache(lambda: self._engine.seat(verb, device))

    def _safely(self, model: PlannedModel, device: str, made: Result[tuple[Path | None, Path | None]]) -> Answer | None:
        """The answer for a model on a device; an error there does not end the run for the others."""
        try:
            with explained():
                return self._on_device(model, device, *made())
        except EdgetfError as error:
            self._steps.failed(new(Verb.REPORT, model.name, device), error)
            return None

    def _on_device(
        self, model: PlannedModel, device: str, variants: Path | None, reference: Path | None
    ) -> Answer | None:
        step = new(Verb.BENCHMARK, model.name, device)
        if variants is None or reference is None:
            self._steps.after([variants, reference], step)
            self._none(model, device)
            return None
        measured = self._benchmark(step, model, variants, reference)
        if measured is None:
            self._none(model, device)
            return None
        choice, warnings = self._choose(read_benchmark(measured.bench))
        tuned = self._tune(model, device, measured, choice)
        better = None if tuned is None else self._of_tuning(tuned, choice)
        found = self._shipper.ship(model, device, measured, better or choice, None if better is None else tuned)
        return replace(found, warnings=warnings)

    def _none(self, model: PlannedModel, device: str) -> None:
        """Record the steps that stand on a benchmark that is not there."""
        for verb in (Verb.TUNE, Verb.REPORT, Verb.BUNDLE):
            if verb is Verb.TUNE and self._plan.tuning.when is When.NEVER:
                self._steps.not_needed(new(verb, model.name, device))
            else:
                self._steps.after([None], new(verb, model.name, device))

    def _benchmark(self, step: StepRecord, model: PlannedModel, variants: Path, reference: Path) -> Measured | None:
        """The benchmark on a device, or on any one of its class: a stored one, else the first that can be reached."""
        assert step.device is not None
        members, made = self._plan.members(step.device), (variants, reference)

        def facts(member: str, seat: Callable[[], Seat]) -> Callable[[], dict[str, str]]:
            return lambda: self._depends.benchmark(model, member, made, seat().host)

        def order(member: str) -> tuple[bool, int]:
            """Stored first, then those that have the least to do."""
            eagerness, seat = self._engine.eagerness(member), self._seat(Verb.BENCHMARK, member)
            there = eagerness < ABSENT and self._steps.is_stored(Verb.BENCHMARK, facts(member, seat))
            return not there, eagerness

        ordered = sorted(members, key=order) if len(members) > 1 else members
        for number, member in enumerate(ordered):
            seat, is_last = self._seat(Verb.BENCHMARK, member), number == len(ordered) - 1
            asked = call.benchmark(model, member, made, self._plan.options)
            try:
                with self._steps.elsewhere_unless(is_last):
                    place = self._stored(step, facts(member, seat), True, asked, seat, is_last)
                return None if place is None else Measured(member, place, variants, reference)
            except DeviceError as error:  # any other of the class will do
                with self._watch(step.name) as on_event:
                    on_event(Note(f"{step.name}: not on {member}: {error.message}"))
        return None

    def _tune(self, model: PlannedModel, device: str, measured: Measured, choice: Choice) -> Tuned | None:
        """The tuned variants, if they can be better than the choice among those that were given."""
        step = new(Verb.TUNE, model.name, device)
        when = self._plan.tuning.when
        if self._steps.dry and when is not When.NEVER and self._steps.is_open(model.name, device):
            self._steps.pending(step)
            return None
        if when is When.NEVER or (when is When.AUTO and not may_gain(choice, read_benchmark(measured.bench))):
            self._steps.not_needed(step)
            return None
        step = replace(step, why=_why(when, choice))
        made, member = (measured.variants, measured.reference), measured.ran_on
        seat = self._seat(Verb.TUNE, member)

        def facts() -> dict[str, str]:
            return self._depends.tuning(model, member, made, seat().host)

        asked = call.tuning(model, member, made, self._plan, aim_of(self._plan.objective).value)
        place = self._stored(step, facts, is_settled(model, model.samples), asked, seat)
        if place is None:
            return None
        found = edgetf.load(place)
        assert isinstance(found, Tuned)
        return found

    def _stored(
        self,
        step: StepRecord,
        facts: Callable[[], dict[str, str]],
        settled: bool,
        asked: Call,
        seat: Callable[[], Seat],
        is_last: bool = True,
    ) -> Path | None:
        def make(place: Path, on_event: OnEvent) -> str:
            if asked.verb is Verb.BENCHMARK:
                refuse_failing(asked)
            fresh = replace(asked, is_fresh=self._steps.force or not settled)
            seat().make(fresh, place, self._wait and is_last, on_event)
            return seat().name

        try:
            with self._steps.held(), self._watch(step.name) as on_event:
                return self._steps.stored(step, facts, settled, make, on_event)
        finally:
            self._steps.send()

    def _of_tuning(self, tuned: Tuned, choice: Choice) -> Choice | None:
        """The proven answer of a tuning, if it passes the plan's budgets and there is none as good without it.

        What passes on the samples of the proof without having been asked for does not count, as in `edgetf tune`.
        """
        ending, document = tuned.document.ending, read_benchmark(tuned.folder / "bench")
        if ending is not Ending.TUNED and (ending is not Ending.PLAIN or choice.variant is not None):
            return None
        name = TUNED if ending is Ending.TUNED else tuned.document.winner
        found, _ = self._choose(document)
        while found.variant not in (None, name) and len(document.results) > 1:
            document = replace(document, results=tuple(one for one in document.results if one.variant != found.variant))
            found, _ = self._choose(document)
        return found if found.variant == name else None

    def _choose(self, document: Benchmark) -> tuple[Choice, tuple[str, ...]]:
        """The choice among the measured variants, each judged by its own budgets, and warnings about these."""
        gate, compared = self._plan.budgets, document.reference is not None
        checked = [judge_result(gate.for_variant(one.variant), one, compared) for one in document.results]
        [choice] = choosing.rank(document, checked, self._plan.objective, gate.budgets)
        return choice, tuple(warnings_of(checked))


def refuse_failing(asked: Call) -> None:
    """Raise EdgetfError for a metric that fails on the reference's own outputs: no variant could be judged by it."""
    given = asked.arguments
    if given["metric"]:
        from edgetf.benchmarks.judging.ground import prepare, with_metrics  # a finished plan needs none of it

        targets = [one for one in find_targets([Path(given["variants"])]) if one.failed is None]
        prepared = prepare(targets, Path(given["reference"]), None, None)
        for metric in with_metrics(prepared, given["metric"], given["metric_less_is_better"]).metrics:
            if metric.failed:
                raise EdgetfError(f"the metric {metric.name} fails: {metric.failed}", "correct it")


def _why(when: When, choice: Choice) -> str:
    """What a model is tuned for."""
    if when is When.ALWAYS:
        return "the plan always tunes"
    if choice.variant is None:
        return "no given variant passes"
    return f"a variant that would be better than {choice.variant} does not pass"


def may_gain(choice: Choice, document: Benchmark) -> bool:
    """Whether a mixture may be better than the chosen variant: one that would be better does not pass."""
    schemes = {result.variant: result.scheme for result in document.results if result.error is None}
    mixable = [one for one in choice.candidates if _can_be_mixed(schemes.get(one.variant))]
    if choice.variant is None:
        return len(mixable) > 1
    chosen = choice.candidates[0]
    better = [one for one in mixable if one.standing in (Standing.FAILS, Standing.UNDECIDED)]
    return any(_cost(one, choice) < _CLEARLY * _cost(chosen, choice) for one in better)


def _can_be_mixed(scheme: str | None) -> bool:
    return scheme in SCHEMES and not SCHEMES[scheme].untuned and not SCHEMES[scheme].tail


def _cost(one: choosing.Candidate, choice: Choice) -> float:
    """What the objective minimizes; unknown figures cost nothing, so that no gain is overlooked."""
    latency, size = one.latency_ms or 0.0, float(one.bytes or 0)
    if choice.objective is choosing.Objective.LATENCY:
        return latency
    return latency * size if choice.objective is choosing.Objective.BOTH else size


def exit_code(record: RunRecord) -> ExitCode:
    """0 if every model has an answer on every device; otherwise the code of the worst step or answer.

    A tuning that is not possible, with too few samples for example, leaves an answer that there is without it.
    """
    passing = {(one.model, one.device) for one in record.answers if one.verdict is Verdict.PASS}
    failed = [one for one in record.steps if one.state is State.FAILED]
    codes = {one.exit_code for one in failed if one.verb is not Verb.TUNE or (one.model, one.device) not in passing}
    codes |= {_CODES[one.verdict] for one in record.answers}
    order = (ExitCode.USER, ExitCode.DEVICE_FAILED, ExitCode.BUDGET_MISSED, ExitCode.NOT_ENOUGH_DATA)
    return next((code for code in order if code in codes), ExitCode.DONE)


_CODES = {
    Verdict.PASS: ExitCode.DONE,
    Verdict.FAIL: ExitCode.BUDGET_MISSED,
    Verdict.INCONCLUSIVE: ExitCode.NOT_ENOUGH_DATA,
    None: ExitCode.DEVICE_FAILED,
}
