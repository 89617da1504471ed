"""The tables of `edgetf run`: a line for each step, and the answers."""

from __future__ import annotations

import click

from edgetf.console.printing import escape, print_lines
from edgetf.plans.record import Because, RunRecord, State, StepRecord, Verb
from edgetf.texts import shown
from edgetf.units import human_bytes

_WIDTH = 34  # of the name of a step
_OTHERS = 12  # variants that are shown with the reason against them
_STATES = {
    State.DONE: "done",
    State.STORED: "unchanged",
    State.FAILED: "failed",
    State.SKIPPED: "skipped: it needs a step that failed",
    State.NOT_NEEDED: "not needed",
    State.PENDING: "would run",
}
_REASONS = {
    Because.NEW: "it is new",
    Because.EARLIER: "a step before it runs",
    Because.LOST: "its result is no longer in the cache",
    Because.FAILED: "it failed the last time",
    Because.FORCED: "everything is made again",
    Because.UNSETTLED: "its samples or its model are not files that can be compared",
}


def step_in_words(step: StepRecord) -> str:
    """A line on a step that is over."""
    words = _STATES[step.state]
    if (step.verb, step.state) == (Verb.BUNDLE, State.NOT_NEEDED):
        words = "nothing to bundle"
    if step.state is State.DONE:
        words += f" in {step.seconds:.1f} s"
    if step.state is State.FAILED:
        words += f": {step.error}" + (f" ({step.hint})" if step.hint else "")
    if step.state in (State.DONE, State.PENDING) and step.because is not None:
        words += f": {', since '.join(filter(None, (reason(step), step.why)))}"
    if step.outcome:
        words += f"; {step.outcome}"
    return f"{step.name.ljust(_WIDTH)} {words}"


def reason(step: StepRecord) -> str:
    """Why a step runs, in words."""
    if step.because is Because.CHANGED:
        return f"changed: {', '.join(step.changed)}"
    return _REASONS[step.because] if step.because else ""


def print_step(step: StepRecord) -> None:
    """Print a line on a step that is over, on standard error."""
    click.echo(shown(step_in_words(step)), err=True)


def show_answers(record: RunRecord) -> None:
    """Print what to ship of each model on each device, and what failed."""
    pending = sum(step.state is State.PENDING for step in record.steps)
    for one in record.answers:
        style = one.verdict.look.terminal if one.verdict else "red"
        where = f" on {one.device}" + (f" ({one.ran_on})" if one.ran_on != one.device else "")
        print_lines(f"[bold]{escape(one.model)}{escape(where)}[/]: [{style}]{escape(one.sentence)}[/]")
        for name, why in list(one.others.items())[:_OTHERS]:
            print_lines(f"  {escape(name)}: {escape(why)}")
        for name, place in (("file", one.file), ("bundle", one.bundle), ("report", one.report)):
            if place is not None:
                size = f", {human_bytes(one.bytes)}" if name == "file" and one.bytes else ""
                print_lines(f"  {name.ljust(6)} {escape(place)}{size}")
        print_lines(*(f"  [yellow]warning:[/] {escape(text)}" for text in one.warnings))
    for model, device in record.targets:
        failed = record.failure(model, device)
        if failed is not None:
            print_lines(f"[bold]{escape(model)} on {escape(device)}[/]: [red]{escape(failed.error)}[/]")
    if pending:
        print_lines(f"{pending} {'step' if pending == 1 else 'steps'} would run.")
    elif record.summary:
        print_lines(f"{record.summary}.")
