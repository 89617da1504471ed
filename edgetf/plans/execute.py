"""Run a plan: every step of every model on every device, nothing twice. In: a Plan. Out: `run.json` and its files.

    convert ─┬─> benchmark on each device ─> tune, where the variants do not give the answer ─> report, bundle
    reference┘

A step that fails stops those that stand on it, and no others. Results of steps are in the store; the folder of the
plan has links to them, and what is to be shipped: the chosen file, its bundle and its report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import edgetf
from edgetf import __version__, files
from edgetf.api.verdicts import Tuned
from edgetf.benchmarks.judging import choose as choosing
from edgetf.benchmarks.judging.choose import Choice, Standing
from edgetf.benchmarks.judging.gate import judge_result, warnings_of
from edgetf.benchmarks.judging.ground import prepare, with_metrics
from edgetf.benchmarks.timing.targets import find_targets
from edgetf.errors import DeviceError, EdgetfError, ExitCode
from edgetf.events import Note, OnEvent
from edgetf.plans.facts import Depends, aim_of, is_settled
from edgetf.plans.plan import Plan, PlannedModel, When
from edgetf.plans.record import RUN_SCHEMA, Answer, RunRecord, State, StepRecord, Verb
from edgetf.plans.ship import Measured, Shipper, Watch
from edgetf.plans.steps import Steps, new
from edgetf.recipes import TUNED, Ending
from edgetf.results import Benchmark, LabelUse, Verdict, read_benchmark, read_reference
from edgetf.schemes import SCHEMES
from edgetf.system import explained

_CLEARLY = 0.99  # of the chosen variant's cost: what costs more than this would be no gain


class Executor:
    """Runs the steps of `plan` in order; `watch` shows their progress."""

    def __init__(self, plan: Plan, steps: Steps, watch: Watch, wait: bool) -> None:
        self._plan, self._steps, self._watch, self._wait = plan, steps, watch, wait
        self._depends = Depends(plan)
        self._shipper = Shipper(plan, steps, watch, wait)

    def run(self, path: Path | None) -> RunRecord:
        """The record of all steps and answers."""
        begin, answers = perf_counter(), list[Answer]()
        for model in self._plan.models:
            variants, reference = self._convert(model), self._reference(model)
            for device in model.devices:
                found = self._safely(model, device, variants, reference)
                answers += [found] if found is not None and not self._steps.is_open(model.name, device) else []
        return RunRecord(
            schema=RUN_SCHEMA,
            edgetf=__version__,
            created=files.now(),
            plan=None if path is None else str(path),
            seconds=round(perf_counter() - begin, 2),
            steps=tuple(self._steps.done),
            answers=tuple(answers),
        )

    # steps ------------------------------------------------------------------------------------------------------------

    def _convert(self, model: PlannedModel) -> Path | None:
        def make(place: Path, on_event: OnEvent) -> None:
            edgetf.convert(
                model.path,
                place,
                samples=model.samples,
                schemes=model.schemes,
                calibration=self._plan.options.calibration,
                shapes=model.shapes,
                signature=model.signature,
                select_tf_ops=model.select_tf_ops,
                keep_float=model.keep_float,
                allow_nan=model.allow_nan,
                trust=model.trust,
                force=True,
                on_event=on_event,
            )

        settled = is_settled(model, model.samples)
        return self._stored(new(Verb.CONVERT, model.name), lambda: self._depends.conversion(model), settled, make)

    def _reference(self, model: PlannedModel) -> Path | None:
        def make(place: Path, on_event: OnEvent) -> None:
            edgetf.reference(
                model.path,
                model.test,
                place,
                on=self._plan.options.on,
                signature=model.signature,
                labels_are=model.labels_are,
                allow_nan=model.allow_nan,
                trust=model.trust,
                force=True,
                on_event=on_event,
            )

        settled = is_settled(model, model.test, on=self._plan.options.on)
        return self._stored(new(Verb.REFERENCE, model.name), lambda: self._depends.reference(model), settled, make)

    def _safely(self, model: PlannedModel, device: str, variants: Path | None, reference: Path | None) -> Answer | None:
        """The answer for a model on a device; an error there does not end the run for the others."""
        try:
            with explained():
                return self._on_device(model, device, variants, reference)
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
        members, options = self._plan.members(step.device), self._plan.options

        def make(member: str) -> Callable[[Path, OnEvent], object]:
            return lambda place, on_event: measure(member, place, on_event)

        def measure(member: str, place: Path, on_event: OnEvent) -> None:
            refuse_failing(model, variants, reference)
            edgetf.benchmark(
                variants,
                place,
                reference=reference,
                device=member,
                devices=self._plan.devices_file,
                runtime=options.runtime,
                delegate=options.delegate,
                threads=options.threads,
                blocks=options.blocks,
                sustained=options.sustained,
                metric=model.metric,
                metric_less_is_better=model.metric_less_is_better,
                no_wait=not self._wait or member != members[-1],
                force=True,
                on_event=on_event,
            )

        def facts(member: str) -> Callable[[], dict[str, str]]:
            return lambda: self._depends.benchmark(model, member, variants, reference)

        order = sorted(members, key=lambda member: not self._steps.is_stored(Verb.BENCHMARK, facts(member)))
        for number, member in enumerate(order):
            try:
                with self._steps.elsewhere_unless(number == len(order) - 1):
                    place = self._stored(step, facts(member), True, make(member))
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
        limits, budgets = self._plan.budgets, self._plan.budgets.budgets
        labels = read_reference(measured.reference).labels
        has_classes = any(score.use in (LabelUse.CLASS, LabelUse.POSITIONS) for score in labels)
        is_judged_by_drop = "max_drop" in limits.asked and not model.metric and has_classes

        def make(place: Path, on_event: OnEvent) -> None:
            edgetf.tune(
                measured.variants,
                measured.reference,
                place,
                samples=model.samples,
                objective=aim_of(self._plan.objective).value,
                max_drop=budgets.max_drop if is_judged_by_drop else None,
                max_metric_drop=budgets.max_metric_drop if model.metric else None,
                max_latency_ms=limits.latency_ms.get(measured.ran_on),
                max_bytes=budgets.max_bytes,
                metric=model.metric,
                metric_less_is_better=model.metric_less_is_better,
                device=measured.ran_on,
                devices=self._plan.devices_file,
                evaluations=self._plan.tuning.evaluations,
                keep_float=model.keep_float,
                no_wait=not self._wait,
                force=True,
                on_event=on_event,
            )

        def facts() -> dict[str, str]:
            return self._depends.tuning(model, measured.ran_on, measured.variants, measured.reference)

        place = self._stored(step, facts, is_settled(model, model.samples), make)
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
        make: Callable[[Path, OnEvent], object],
    ) -> Path | None:
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


def refuse_failing(model: PlannedModel, variants: Path, reference: Path) -> None:
    """Raise EdgetfError for a metric that fails on the reference's own outputs: no variant could be judged by it."""
    if model.metric:
        targets = [one for one in find_targets([variants]) if one.failed is None]
        ground = with_metrics(prepare(targets, reference, None, None), model.metric, model.metric_less_is_better)
        for metric in ground.metrics:
            if metric.failed:
                raise EdgetfError(f"the metric {metric.name} fails: {metric.failed}", "correct it")


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
