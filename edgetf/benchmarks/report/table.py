"""The table of results in the report: a row for each output of each variant, and columns in readable units.

Empty columns are left out, and the most informative come first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgetf.benchmarks.report.stories import Story
from edgetf.results import MetricFigures, MetricState, OutputParity, Parity
from edgetf.units import human_bytes, human_ms
from edgetf.verdicts import LOOKS

_NONE = 1e9  # sorts outputs without any error after every SQNR
_ACCURACY, _SAME, _SQNR = "accuracy change, points", "same decisions", "SQNR, dB"
_FIRST, _REST = ("variant", "verdict", "median"), ("size", "p99", "end to end", "memory", "accuracy")


@dataclass(frozen=True)
class Cell:
    """The text of a cell, small print below it, and its value for sorting. `mark` colours a verdict."""

    text: str = ""
    small: str = ""
    value: float | str = ""
    mark: str = ""


@dataclass(frozen=True)
class Body:
    """The rows of one variant, one for each output; the first cell names it."""

    verdict: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    bodies: tuple[Body, ...]


def build_table(stories: Sequence[Story]) -> Table:
    """The table of all variants."""
    named = [_rows_of(story) for story in stories]
    metrics = {_column_of(metric) for story in stories for metric in _metrics(story.result.parity)}
    order = _order(named, metrics)
    used = [name for name in order if any(name in row for rows in named for row in rows)]
    bodies = tuple(
        Body(story.verdict, tuple(tuple(row.get(name, Cell()) for name in used) for row in rows))
        for story, rows in zip(stories, named, strict=True)
    )
    return Table(tuple(used), bodies)


def _metrics(parity: Parity | None) -> Sequence[MetricFigures]:
    return parity.metrics if parity else ()


def _column_of(metric: MetricFigures) -> str:
    return f"{metric.name} change"


def _order(named: Sequence[Sequence[dict[str, Cell]]], metrics: Collection[str]) -> list[str]:
    """All columns in order; the best figure of the distance from the reference is fourth."""
    seen = dict.fromkeys(name for rows in named for row in rows for name in row)
    near = [*(name for name in seen if name in metrics), *(k for k in (_ACCURACY, _SAME, _SQNR) if k in seen)]
    return [*_FIRST, *near[:1], *_REST, *near[1:], "largest error"]


def _rows_of(story: Story) -> list[dict[str, Cell]]:
    """The cells by their column, without empty ones."""
    parity = story.result.parity
    outputs: Sequence[OutputParity | None] = parity.outputs if parity and parity.outputs else [None]
    rows = []
    for k, output in enumerate(outputs):
        name = f"{story.name} · {output.name}" if output and len(outputs) > 1 else story.name
        row = {"variant": Cell(name, value=story.name), "verdict": _verdict(story, output, len(outputs), k == 0)}
        row |= _of_variant(story) if k == 0 else {}
        row |= _of_metrics(parity, output.name, k == 0) if parity and output else {}
        row |= _of_output(output) if output else {}
        rows.append(row)
    return rows


def _verdict(story: Story, output: OutputParity | None, outputs: int, first: bool) -> Cell:
    verdict = output.verdict.value if output is not None and outputs > 1 else story.verdict
    text = "FAILED" if story.result.error else LOOKS[verdict].label
    return Cell(text, story.remark if first else "", LOOKS[story.verdict].severity, verdict)


def _of_variant(story: Story) -> dict[str, Cell]:
    result, cells = story.result, {}
    if result.latency_ms:
        found = result.latency_ms
        interval = human_ms(found.low, found.high, like=found.median)
        cells["median"] = Cell(human_ms(found.median), interval, found.median)
        if found.p99 is not None:
            cells["p99"] = Cell(human_ms(found.p99), value=found.p99)
    if result.bytes is not None:
        cells["size"] = Cell(human_bytes(result.bytes), value=result.bytes)
    if result.end_to_end_ms:
        cells["end to end"] = Cell(human_ms(result.end_to_end_ms.median), value=result.end_to_end_ms.median)
    if result.arena_bytes is not None:
        cells["memory"] = Cell(f"{result.arena_bytes:,} B", "arena", result.arena_bytes)
    elif result.peak_rss_bytes:
        added = result.added_rss_bytes
        small = "" if added is None else f"+{human_bytes(added)}"
        cells["memory"] = Cell(human_bytes(result.peak_rss_bytes), small, result.peak_rss_bytes)
    return cells


def _of_metrics(parity: Parity, output: str, first: bool) -> dict[str, Cell]:
    """The metrics of one output; those of all outputs are in the first row."""
    own = [metric for metric in parity.metrics if metric.output == output or (first and metric.output is None)]
    known = [metric for metric in own if metric.state is MetricState.MEASURED]
    return {_column_of(metric): change(metric.drop, metric.low, metric.high, ".3g") for metric in known}


def _of_output(output: OutputParity) -> dict[str, Cell]:
    cells = {"largest error": Cell(f"{output.max_abs:.2g}", value=output.max_abs)}
    if output.accuracy:
        found = output.accuracy
        small = f"ref. {100 * found.reference:.2f} %"
        cells["accuracy"] = Cell(f"{100 * found.variant:.2f} %", small, found.variant)
        cells[_ACCURACY] = change(found.drop_points, found.low, found.high, ".2f")
    if output.agreement:
        same = output.agreement
        small = f"{100 * same.low:.2f} to {100 * same.high:.2f}"
        cells[_SAME] = Cell(f"{100 * same.share:.2f} %", small, same.share)
    if output.sqnr_db is not None:
        lowest = output.lowest().centred_db
        what = "worst column" if lowest != output.centred_db else "centred"
        small = "" if lowest is None else f"{lowest:.1f} {what}"
        cells[_SQNR] = Cell(f"{output.sqnr_db:.1f}", small, output.sqnr_db)
    elif output.max_abs == 0:
        cells[_SQNR] = Cell("no error", value=_NONE)
    return cells


def change(drop: float, low: float, high: float, form: str) -> Cell:
    """The loss or gain in words, with its interval."""
    if f"{-low:{form}}" == f"{high:{form}}":
        small = f"±{high:{form}}"
    elif float(f"{low:{form}}") >= 0:
        small = f"{low:{form}} to {high:{form}} lost"
    elif float(f"{high:{form}}") <= 0:
        small = f"{-high:{form}} to {-low:{form}} gained"
    else:
        small = f"{-low:{form}} gained to {high:{form}} lost"
    shown = f"{abs(drop):{form}}"
    text = "unchanged" if float(shown) == 0 else f"{shown} {'lost' if drop > 0 else 'gained'}"
    return Cell(text, small, drop)
