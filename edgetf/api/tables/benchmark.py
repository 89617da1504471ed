"""A benchmark as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from edgetf.benchmarks.judging.covered import coverages_in_words, culprits_in_words
from edgetf.benchmarks.report.words import (
    energy_in_words,
    how_it_ran,
    is_untimed,
    same_speed,
    sustained_in_words,
    unused_labels_of,
)
from edgetf.benchmarks.timing.fixed import has_changed
from edgetf.console.printing import escape, print_lines, print_table, verdict_mark
from edgetf.results import Accuracy, Benchmark, MetricParity, MetricState, OutputParity, Parity, Result, Status
from edgetf.texts import printable
from edgetf.units import human_bytes


def show_benchmark(document: Benchmark) -> None:
    """Print the results, the reference, and the reasons of verdicts other than PASS."""
    machine = document.machine.get("model") or document.machine.get("cpu", "unknown machine")
    title = f"Measured on {machine} {how_it_ran(document.results)}, {document.inputs}"
    if any(result.emulated for result in document.results):
        print_lines("[yellow]The device is emulated: its times differ from those of the hardware.[/]")
    if is_untimed(document.results):
        print_lines("[yellow]By the interpreter for microcontrollers, on this host: parity and memory, no times.[/]")
    rows = [_row(result) for result in document.results]
    figures = [one.name for one in _COLUMNS if not one.is_text]
    print_table(escape(title), _NAMES, rows, right=figures, optional=_optional_columns(rows))
    if document.reference is not None:
        latency, batch = document.reference.latency_ms.median, document.reference.batch_alone
        of = "a sample" if batch == 1 else f"a batch of {batch}"
        print_lines(f"Compared with {escape(document.reference.device.sentence)}: {latency:.3g} ms {of}.")
    for warning in document.warnings:
        print_lines(f"[yellow]warning:[/] {escape(warning)}")
    pairs = same_speed(document.results)
    if pairs:
        print_lines(f"No measurable difference in speed: {escape('; '.join(pairs))}.")
    print_lines(*(f"{escape(words)}." for words in coverages_in_words(document.results)))
    print_lines(*(f"[yellow]{escape(words)}.[/]" for words in culprits_in_words(document.results)))
    print_lines(*(f"[yellow]warning:[/] {escape(unused)}" for unused in unused_labels_of(document.results)))
    for result in document.results:
        _show_words(result)
    if document.results and all(result.stable for result in document.results):
        print_lines("All timings were stable.")


def show_stale(document: Benchmark) -> None:
    """Print a note on standard error for each variant whose source has changed since; verdicts do not depend on it."""
    from edgetf.conversion.origin import stale_warnings

    sources = {result.variant: result.source for result in document.results if result.source is not None}
    if document.reference is not None:
        sources["the reference"] = document.reference.source
    changed = [one for one in document.results if has_changed(one)]
    files = [f"{one.variant}: {one.path} has changed since it was measured" for one in changed]
    for warning in [*stale_warnings(sources), *files]:
        click.echo(f"{click.style('stale:', fg='yellow')} {printable(warning)}", err=True)


def _show_words(result: Result) -> None:
    """Print the remarks on a result that are not in its row."""
    name = escape(result.variant)
    if result.error:
        print_lines(f"[red]{name}[/]: {escape(result.error.message)}")
    elif result.parity and result.parity.verdict != "pass" and not result.parity.metrics:
        for words in _reasons(result.parity):
            print_lines(f"{name}: {verdict_mark(result.parity.verdict.value)}: {escape(words)}")
    for metric in result.parity.metrics if result.parity else ():
        print_lines(f"{name}: {escape(_metric(metric))}: {verdict_mark(metric.verdict.value)}")
    if result.stable is False and not result.emulated:
        print_lines(f"[yellow]{name}: unstable timing:[/] {escape(result.stable_reason)}")
    if result.energy:
        print_lines(f"{name}: {escape(energy_in_words(result.energy))}")
    if result.sustained:
        _show_sustained(result)


def _reasons(parity: Parity) -> list[str]:
    """The reasons why the verdict is not PASS; with several outputs, with their names."""
    if len(parity.outputs) < 2:
        return [parity.reason]
    worst = [f"{one.name}: {one.reason}" for one in parity.outputs if one.verdict is parity.verdict]
    return worst or [parity.reason]


def _show_sustained(result: Result) -> None:
    """Print the median of each minute, and the slowdown."""
    assert result.sustained is not None
    print_lines(f"{escape(result.variant)}: {sustained_in_words(result.sustained)}")
    rows = [
        [str(k), f"{m.median_ms:.3g}", f"{m.runs:,}", _known(m.temperature_c), _known(m.frequency_mhz)]
        for k, m in enumerate(result.sustained.minutes, 1)
    ]
    print_table("", ["minute", "median ms", "runs", "°C", "MHz"], rows, right=["median ms", "runs", "°C", "MHz"])


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _metric(metric: MetricParity) -> str:
    if metric.state is MetricState.FAILED:
        return metric.reason
    less, what = (" (less is better)", "rise") if metric.less_is_better else ("", "drop")
    lost = f"{what} {metric.drop:+.3g} [{metric.low:+.3g}, {metric.high:+.3g}]"
    return f"{metric.name}{less}: {metric.variant:.4g}, the reference {metric.reference:.4g}, {lost}"


def _bytes(size: int | None) -> str:
    return human_bytes(size) if size else ""


# the columns ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """A column of results: its name and its cell, with markup and a line break before an interval.

    Figures are aligned to the right. A narrow terminal leaves out optional columns, the last one first.
    """

    name: str
    cell: Callable[[Result], str]
    is_text: bool = False
    is_optional: bool = False
    of_failed: bool = False  # also known of a variant that did not run


def _verdict(result: Result) -> str:
    if result.error or result.status is Status.FAILED:
        return "[red]FAILED[/]"
    return verdict_mark(result.parity.verdict.value) if result.parity else ""


def _latency(result: Result) -> str:
    found = result.latency_ms
    return _with_interval(f"{found.median:.3g}", f"{found.low:.3g}", f"{found.high:.3g}") if found else ""


def _drop(result: Result) -> str:
    worst = _worst(result)
    return _with_interval(f"{worst.drop_points:+.2f}", f"{worst.low:+.2f}", f"{worst.high:+.2f}") if worst else ""


def _accuracy(result: Result) -> str:
    worst = _worst(result)
    return f"{worst.variant:.2%}" if worst else ""


def _agreement(result: Result) -> str:
    """The lowest agreement of the outputs without accuracy."""
    shares = [one.agreement.share for one in _outputs(result) if one.agreement and not one.accuracy]
    return f"{min(shares):.2%}" if shares else ""


def _sqnr(result: Result) -> str:
    decibels = [_decibels(one) for one in _outputs(result) if one.sqnr_db is not None]
    return f"{min(decibels):.1f}" if decibels else "∞" if result.parity else ""


def _p99(result: Result) -> str:
    p99 = result.latency_ms.p99 if result.latency_ms else None
    return "" if p99 is None else f"{p99:.3g}"


def _memory(result: Result) -> str:
    if result.arena_bytes is not None:
        return f"{result.arena_bytes:,} B arena"
    added = f" (+{human_bytes(result.added_rss_bytes)})" if result.added_rss_bytes is not None else ""
    return f"{_bytes(result.peak_rss_bytes)}{added}".strip()


def _with_interval(figure: str, low: str, high: str) -> str:
    return f"{figure}\n{escape(f'[{low}, {high}]')}"


def _outputs(result: Result) -> tuple[OutputParity, ...]:
    return result.parity.outputs if result.parity else ()


def _worst(result: Result) -> Accuracy | None:
    known = [output.accuracy for output in _outputs(result) if output.accuracy]
    return max(known, key=lambda accuracy: accuracy.drop_points, default=None)


def _decibels(output: OutputParity) -> float:
    """The SQNR that is judged: about the mean, of an output or of its worst columns if that is lower."""
    lowest = output.lowest().centred_db
    return lowest if lowest is not None else output.sqnr_db if output.sqnr_db is not None else math.inf


_COLUMNS = (
    _Column("variant", lambda result: escape(result.variant), is_text=True, of_failed=True),
    _Column("verdict", _verdict, is_text=True, of_failed=True),
    _Column("median ms", _latency),
    _Column("drop, points", _drop),
    _Column("size", lambda result: _bytes(result.bytes), of_failed=True),
    _Column("accuracy", _accuracy, is_optional=True),
    _Column("agreement", _agreement, is_optional=True),
    _Column("SQNR dB", _sqnr, is_optional=True),
    _Column("end to end", lambda one: f"{one.end_to_end_ms.median:.3g}" if one.end_to_end_ms else "", is_optional=True),
    _Column("p99", _p99, is_optional=True),
    _Column("memory", _memory, is_optional=True),
)
_NAMES = [one.name for one in _COLUMNS]
_SAME = ("drop, points", "agreement", "SQNR dB")  # distance from the reference, the most informative first


def _row(result: Result) -> list[str]:
    """The cells of _COLUMNS."""
    ran = result.status is not Status.FAILED or result.latency_ms is not None
    return [column.cell(result) if ran or column.of_failed else "" for column in _COLUMNS]


def _optional_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The columns that may be left out; if no row has a drop, the figure that replaces it is kept."""
    stays = next((name for name in _SAME if any(row[_NAMES.index(name)] for row in rows)), "")
    return [one.name for one in reversed(_COLUMNS) if one.is_optional and one.name != stays]
