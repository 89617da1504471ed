"""A benchmark as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import click

from edgetf.benchmarks.report.words import (
    energy_in_words,
    how_it_ran,
    same_speed,
    sustained_in_words,
    unused_labels_of,
)
from edgetf.benchmarks.timing.fixed import has_changed
from edgetf.console.printing import escape, print_lines, print_table, verdict_mark
from edgetf.results import Benchmark, MetricParity, MetricState, OutputParity, Parity, Result, Status
from edgetf.texts import printable
from edgetf.units import human_bytes

_COLUMNS = (
    "variant",
    "verdict",
    "median ms",
    "drop, points",
    "size",
    "accuracy",
    "agreement",
    "SQNR dB",
    "end to end",
    "p99",
    "memory",
)
_OPTIONAL = _COLUMNS[:4:-1]  # the columns that a narrow terminal leaves out, in this order


def show_benchmark(document: Benchmark) -> None:
    """Print the results, the reference, and the reasons of verdicts other than PASS."""
    machine = document.machine.get("model") or document.machine.get("cpu", "unknown machine")
    title = f"Measured on {machine} {how_it_ran(document.results)}, {document.inputs}"
    if any(result.emulated for result in document.results):
        print_lines("[yellow]The device is emulated: its times differ from those of the hardware.[/]")
    rows = [_row(result) for result in document.results]
    print_table(escape(title), _COLUMNS, rows, right=_COLUMNS[2:], optional=_optional_columns(rows))
    if document.reference is not None:
        latency, batch = document.reference.latency_ms.median, document.reference.batch_alone
        of = "a sample" if batch == 1 else f"a batch of {batch}"
        print_lines(f"Compared with {escape(document.reference.device.sentence)}: {latency:.3g} ms {of}.")
    for warning in document.warnings:
        print_lines(f"[yellow]warning:[/] {escape(warning)}")
    pairs = same_speed(document.results)
    if pairs:
        print_lines(f"No measurable difference in speed: {escape('; '.join(pairs))}.")
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
    if result.stable is False:
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


def _optional_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The columns that may be left out; if no row has a drop, the figure that replaces it is kept."""
    stays = next((name for name in _SAME if any(row[_COLUMNS.index(name)] for row in rows)), "")
    return [name for name in _OPTIONAL if name != stays]


def _metric(metric: MetricParity) -> str:
    if metric.state is MetricState.FAILED:
        return metric.reason
    less, what = (" (less is better)", "rise") if metric.less_is_better else ("", "drop")
    lost = f"{what} {metric.drop:+.3g} [{metric.low:+.3g}, {metric.high:+.3g}]"
    return f"{metric.name}{less}: {metric.variant:.4g}, the reference {metric.reference:.4g}, {lost}"


_SAME = ("drop, points", "agreement", "SQNR dB")  # distance from the reference, the most informative first


def _row(result: Result) -> list[str]:
    """The cells of _COLUMNS; a line break comes before an interval."""
    latency = result.latency_ms
    if result.status is Status.FAILED and latency is None:
        known = [escape(result.variant), "[red]FAILED[/]", "", "", _bytes(result.bytes)]
        return known + [""] * (len(_COLUMNS) - len(known))
    mark = verdict_mark(result.parity.verdict.value) if result.parity else ""
    added = f" (+{human_bytes(result.added_rss_bytes)})" if result.added_rss_bytes is not None else ""
    drop, accuracy, agreement, sqnr = _sameness(result.parity)
    cells = [
        f"{latency.median:.3g}\n[{latency.low:.3g}, {latency.high:.3g}]" if latency else "",
        drop,
        _bytes(result.bytes),
        accuracy,
        agreement,
        sqnr,
        f"{result.end_to_end_ms.median:.3g}" if result.end_to_end_ms else "",
        f"{latency.p99:.3g}" if latency and latency.p99 is not None else "",
        f"{_bytes(result.peak_rss_bytes)}{added}".strip(),
    ]
    return [
        escape(result.variant),
        "[red]FAILED[/]" if result.error else mark,
        *("\n".join(map(escape, cell.split("\n"))) for cell in cells),
    ]


def _sameness(parity: Parity | None) -> tuple[str, str, str, str]:
    """Drop, accuracy, agreement and SQNR, each of the output with the worst value."""
    outputs = parity.outputs if parity else ()
    known = [output.accuracy for output in outputs if output.accuracy]
    worst = max(known, key=lambda accuracy: accuracy.drop_points, default=None)
    drop = f"{worst.drop_points:+.2f}\n[{worst.low:+.2f}, {worst.high:+.2f}]" if worst else ""
    shares = [output.agreement.share for output in outputs if output.agreement and not output.accuracy]
    decibels = [_decibels(output) for output in outputs if output.sqnr_db is not None]
    return (
        drop,
        f"{worst.variant:.2%}" if worst else "",
        f"{min(shares):.2%}" if shares else "",
        f"{min(decibels):.1f}" if decibels else "∞" if parity else "",
    )


def _bytes(size: int | None) -> str:
    return human_bytes(size) if size else ""


def _decibels(output: OutputParity) -> float:
    """The SQNR that is judged: about the mean, of an output or of its worst columns if that is lower."""
    lowest = output.lowest().centred_db
    return lowest if lowest is not None else output.sqnr_db if output.sqnr_db is not None else math.inf
