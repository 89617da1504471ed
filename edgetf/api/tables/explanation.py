"""The steps of an explanation, and its layers, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from edgetf.benchmarks.diagnosis.ladder import Ladder
from edgetf.benchmarks.diagnosis.layers import Layer
from edgetf.console.printing import escape, print_lines, print_table, verdict_mark
from edgetf.results import Verdict

_MOST_LAYERS = 12


def show_ladder(ladder: Ladder) -> None:
    """Print each step compared with the one before, and the first that failed."""
    rows = [
        [escape(r.name), verdict_mark(r.verdict.value), f"{r.share:.1%}", f"{r.max_abs:.2g}", escape(r.reason)]
        for r in ladder.rungs
    ]
    title = f"{ladder.variant} on {ladder.device}, {ladder.n} samples, each step compared with the one before"
    columns = ["step", "verdict", "adds of the error", "largest", "because"]
    print_table(escape(title), columns, rows, right=columns[2:4], optional=[columns[3]], long=columns[4:])
    undecided = [rung.name for rung in ladder.rungs if rung.verdict is Verdict.INCONCLUSIVE]
    broke = f"Broken by: {ladder.broken}." if ladder.broken else "No step has been shown to break it."
    open_ = f" Undecided: {', '.join(undecided)}." if undecided else ""
    print_lines(f"[bold]{escape(broke + open_)}[/]")
    print_lines(f"All steps together: {verdict_mark(ladder.whole.value)}: {escape(ladder.because)}")


def show_layers(layers: Sequence[Layer]) -> None:
    """Print the layers, those with the largest errors of their own first, and those that were not measured."""
    if not layers:
        return
    rows = [
        [
            escape(layer.layer),
            escape(layer.op),
            "" if layer.local_db is None else f"{layer.local_db:.1f}",
            "" if layer.accumulated_db is None else f"{layer.accumulated_db:.1f}",
            "" if layer.time_share is None else f"{layer.time_share:.0%}",
            escape(layer.ran_on),
            escape(f"{layer.cause}: {layer.remedy}" if layer.cause else ""),
        ]
        for layer in [one for one in layers if not one.not_measured][:_MOST_LAYERS]
    ]
    columns = ["layer", "op", "local dB", "accumulated dB", "time", "ran on", "likely cause, and what to try"]
    title = "Layers, those with the largest errors of their own first"
    right, optional = columns[2:5], [columns[5], columns[4]]
    print_table(title, columns, rows, right=right, optional=optional, long=columns[6:])
    for layer in layers:
        if layer.not_measured:
            print_lines(
                f"[yellow]Not measured:[/] {escape(layer.op)} {escape(layer.layer)}: {escape(layer.not_measured)}"
            )
