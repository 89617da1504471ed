"""What a tuning tried and found, for people."""

from __future__ import annotations

from edgetf.benchmarks.judging.covered import pieces_in_words
from edgetf.console.printing import escape, print_lines, print_table
from edgetf.recipes import Aim, Ending, Stand, Tried, Tuning
from edgetf.verdicts import Verdict

_STYLES = {
    Stand.CHOSEN: "[bold green]chosen[/]",
    Stand.PASSES: "[green]passes[/]",
    Stand.FAILS: "[red]fails[/]",
    Stand.OPEN: "[yellow]open[/]",
    Stand.USELESS: "useless",
    Stand.BEYOND: "[yellow]beyond[/]",
    Stand.REFUSED: "[red]refused[/]",
    Stand.LEFT: "not needed",
}
_MOST_LOSSES = 6


def show_tuning(tuning: Tuning) -> None:
    """The candidates, what is wrong, and what became of it."""
    samples = f"at most {tuning.searched_on.n:,} samples"
    title = f"{len(tuning.candidates)} candidates, {tuning.evaluations} evaluated on {samples}"
    columns = ["candidate", "", "bytes", "dB", "predicted", "ms", "XNNPACK took", "what"]
    shown = [one for one in tuning.candidates if one.stand is not Stand.USELESS or one.plain]
    rows = [_row(one, tuning.winner is not None) for one in sorted(shown, key=lambda one: one.bytes)]
    print_table(
        escape(title), columns, rows, right=columns[2:6], optional=["predicted", "XNNPACK took", "ms"], long=["what"]
    )
    if useless := len(tuning.candidates) - len(shown):
        print_lines(f"{useless} mixtures are useless: others cost no more and are nearer to float32 (tuning.json)")
    for name, why in tuning.left_out.items():
        print_lines(f"[cyan]{escape(name)}[/] is left out: {escape(why)}")
    for fault in tuning.faults:
        described = f"{fault.kind} alone has {fault.db:.1f} dB, all others together {fault.rest_db:.1f}"
        described = f"{described}, rounding its inputs and outputs {fault.rounding_db:.1f}"
        print_lines(f"[red]a fault of the converter or of a kernel in {escape(fault.variant)}:[/] {escape(described)}")
    for warning in tuning.warnings:
        print_lines(f"[yellow]warning:[/] {escape(warning)}")
    print_lines(f"[bold]{escape(answer(tuning))}[/]")
    if tuning.ending in (Ending.NOTHING_PASSES, Ending.UNDECIDED):
        if tuning.winner is not None:
            print_lines("It passed the search, and is kept as best.tflite, without a proof.")
        _show_losses(tuning)


def answer(tuning: Tuning) -> str:
    """The result, in a sentence."""
    winner = tuning.candidate(tuning.winner)
    of = f"on {tuning.proven_on.n} samples that the search has not seen"
    if tuning.ending is Ending.PLAIN and winner is not None:
        return f"{winner.name} is the answer; nothing to tune: {winner.bytes:,} bytes, {tuning.reason} {of}"
    if winner is not None and tuning.verdict is not None:
        parts = ", ".join(f"{count} operation{'s' * (count > 1)} from {name}" for name, count in winner.parts.items())
        state = "is proven" if tuning.ending is Ending.TUNED else f"is not proven ({tuning.verdict.label})"
        return f"{winner.name} {state}: {winner.bytes:,} bytes, {parts}; {tuning.reason} {of}"
    word = "nothing passes" if tuning.ending is Ending.NOTHING_PASSES else Verdict.INCONCLUSIVE.words
    return f"{word}: {tuning.reason}"


def _row(one: Tried, passing: bool) -> list[str]:
    latency = "" if one.latency_ms is None else f"{one.latency_ms:.3g}"
    db = "" if one.measured_db is None else f"{one.measured_db:.1f}"
    predicted = "" if one.predicted_db is None else f"{one.predicted_db:.1f}"
    described = one.why if one.stand is Stand.CHOSEN else one.reason or one.why
    stand = "not evaluated" if one.stand is Stand.LEFT and not passing else _STYLES[one.stand]
    return [escape(one.name), stand, f"{one.bytes:,}", db, predicted, latency, _taken(one), escape(described)]


def _taken(one: Tried) -> str:
    """What XNNPACK took here, such as "55 of 65 in 11 pieces"; empty if it is unknown."""
    if one.delegated is None or one.partitions is None:
        return ""
    of = f"{one.delegated} of {one.operations}"
    return f"{of} in {pieces_in_words(one.partitions)}" if one.partitions else of


def _show_losses(tuning: Tuning) -> None:
    for layers in (False, True):
        losses = [loss for loss in tuning.losses if (loss.layer is not None) is layers][:_MOST_LOSSES]
        if losses:
            described = [f"{loss.layer or loss.kind} in {loss.variant} {loss.db:.1f} dB" for loss in losses]
            what = "layer" if layers else "kind of operation"
            print_lines(f"By {what}, each alone: {escape(', '.join(described))}")
    if tuning.advice:
        print_lines(f"What else would help: {escape('; '.join(tuning.advice))}")
    if tuning.plain is not None:
        least = "smallest" if tuning.aim is Aim.SIZE else "fastest"
        print_lines(f"The {least} of the given variants that passes: [bold]{escape(tuning.plain)}[/]")
