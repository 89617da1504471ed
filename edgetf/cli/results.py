"""A benchmark as a table for people."""

from __future__ import annotations

from edgetf.benchmarks.words import energy_in_words, how_it_ran, same_speed, sustained_in_words
from edgetf.cli.console import escape, print_lines, print_table, verdict_mark
from edgetf.results import Benchmark, Result, Status

_COLUMNS = [
    "variant",
    "size",
    "median ms",
    "p99",
    "end to end",
    "memory",
    "accuracy",
    "drop, points",
    "agreement",
    "SQNR dB",
    "verdict",
]


def show_benchmark(document: Benchmark) -> None:
    """The results, what they were compared with, and the reasons of verdicts that are not a pass."""
    machine = document.machine.get("model") or document.machine.get("cpu", "unknown machine")
    title = f"Measured on {machine} {how_it_ran(document.results)}, {document.inputs}"
    if any(result.emulated for result in document.results):
        print_lines("[yellow]The device is emulated: its times are not those of the hardware.[/]")
    print_table(escape(title), _COLUMNS, [_row(result) for result in document.results], right=_COLUMNS[1:-1])
    if document.reference is not None:
        latency, batch = document.reference.latency_ms.median, document.reference.batch_alone
        of = "a sample" if batch == 1 else f"a batch of {batch}"
        print_lines(f"Compared with {escape(document.reference.device.sentence)}: {latency:.3g} ms {of}.")
    for warning in document.warnings:
        print_lines(f"[yellow]times:[/] {escape(warning)}")
    pairs = same_speed(document.results)
    if pairs:
        print_lines(f"Not told apart in speed: {escape('; '.join(pairs))}.")
    for result in document.results:
        _show_words(result)
    if document.results and all(result.stable for result in document.results):
        print_lines("All timings were stable.")


def _show_words(result: Result) -> None:
    """What is to be said of a result besides its row."""
    name = escape(result.variant)
    if result.error:
        print_lines(f"[red]{name}[/]: {escape(result.error.message)}")
    elif result.parity and result.parity.verdict != "pass" and not result.parity.metrics:
        print_lines(f"{name}: {verdict_mark(result.parity.verdict.value)}: {escape(result.parity.reason)}")
    for metric in result.parity.metrics if result.parity else ():
        drop = f"drop {metric.drop:+.3g} [{metric.low:+.3g}, {metric.high:+.3g}]"
        told = f"{metric.name}: {metric.variant:.4g}, the reference {metric.reference:.4g}, {drop}"
        print_lines(f"{name}: {escape(told)}: {verdict_mark(metric.verdict.value)}")
    if result.stable is False:
        print_lines(f"[yellow]{name}: unstable timing:[/] {escape(result.stable_reason)}")
    if result.energy:
        print_lines(f"{name}: {escape(energy_in_words(result.energy))}")
    if result.sustained:
        _show_sustained(result)


def _show_sustained(result: Result) -> None:
    """The median minute by minute, and what became of it."""
    assert result.sustained is not None
    print_lines(f"{escape(result.variant)}: {sustained_in_words(result.sustained)}")
    rows = [
        [str(k), f"{m.median_ms:.3g}", f"{m.runs:,}", _known(m.temperature_c), _known(m.frequency_mhz)]
        for k, m in enumerate(result.sustained.minutes, 1)
    ]
    print_table("", ["minute", "median ms", "runs", "°C", "MHz"], rows, right=["median ms", "runs", "°C", "MHz"])


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _row(result: Result) -> list[str]:
    name, size = result.variant, human_bytes(result.bytes) if result.bytes else ""
    if result.status is Status.FAILED and result.latency_ms is None:
        return [escape(name), size, *[""] * 8, "[red]FAILED[/]"]
    latency, memory = result.latency_ms, result.peak_rss_bytes
    cells = [name, size]
    cells += [f"{latency.median:.3g} [{latency.low:.3g}, {latency.high:.3g}]" if latency else ""]
    cells += [f"{latency.p99:.3g}" if latency and latency.p99 is not None else ""]
    cells += [f"{result.end_to_end_ms.median:.3g}" if result.end_to_end_ms else ""]
    added = f" (+{human_bytes(result.added_rss_bytes)})" if result.added_rss_bytes is not None else ""
    cells.append(f"{human_bytes(memory) if memory else ''}{added}".strip())
    accuracy = drop = agreement = sqnr = mark = ""
    for output in result.parity.outputs if result.parity else ():
        if output.accuracy:
            accuracy = f"{output.accuracy.variant:.2%}"
            drop = f"{output.accuracy.drop_points:+.2f} [{output.accuracy.low:+.2f}, {output.accuracy.high:+.2f}]"
        elif output.agreement:
            agreement = f"{output.agreement.share:.2%}"
    if result.parity:
        finite = [output.sqnr_db for output in result.parity.outputs if output.sqnr_db is not None]
        sqnr = f"{min(finite):.1f}" if finite else "∞"
        mark = verdict_mark(result.parity.verdict.value)
    if result.error:
        mark = "[red]FAILED[/]"
    cells = [escape(cell) for cell in cells]
    return [*cells, accuracy, escape(drop), agreement, sqnr, mark]


def human_bytes(size: int) -> str:
    """Bytes in decimal units, as disks and downloads count."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 999.5 * factor else f"{size / factor:.0f} {unit}"
    return f"{size} B"
