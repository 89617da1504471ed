"""A benchmark as a table for people."""

from __future__ import annotations

from edgetf.cli.console import escape, print_lines, print_table, verdict_mark
from edgetf.results import Benchmark, Result, Status

_COLUMNS = [
    "variant",
    "size",
    "median ms",
    "p99",
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
    threads = {result.threads for result in document.results}
    title = f"Measured on {machine} with {', '.join(str(t) for t in sorted(threads))} thread(s), {document.inputs}"
    if any(result.emulated for result in document.results):
        print_lines("[yellow]The device is emulated: its times are not those of the hardware.[/]")
    print_table(escape(title), _COLUMNS, [_row(result) for result in document.results], right=_COLUMNS[1:-1])
    if document.reference is not None:
        latency, batch = document.reference.latency_ms.median, document.reference.batch_alone
        of = "a sample" if batch == 1 else f"a batch of {batch}"
        print_lines(f"Compared with {escape(document.reference.device.sentence)}: {latency:.3g} ms {of}.")
    for result in document.results:
        name = escape(result.variant)
        if result.error:
            print_lines(f"[red]{name}[/]: {escape(result.error.message)}")
        elif result.parity and result.parity.verdict != "pass":
            print_lines(f"{name}: {verdict_mark(result.parity.verdict.value)}: {escape(result.parity.reason)}")
        if result.stable is False:
            print_lines(f"[yellow]{name}: unstable timing:[/] {escape(result.stable_reason)}")


def _row(result: Result) -> list[str]:
    name, size = escape(result.variant), human_bytes(result.bytes) if result.bytes else ""
    if result.status is Status.FAILED and result.latency_ms is None:
        return [name, size, *[""] * 7, "[red]FAILED[/]"]
    latency, memory = result.latency_ms, result.peak_rss_bytes
    cells = [name, size]
    cells += [f"{x:.3g}" for x in (latency.median, latency.p99)] if latency else ["", ""]
    cells.append(human_bytes(memory) if memory else "")
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
    return [*cells, accuracy, escape(drop), agreement, sqnr, mark]


def human_bytes(size: int) -> str:
    """Bytes in decimal units, as disks and downloads count."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 999.5 * factor else f"{size / factor:.0f} {unit}"
    return f"{size} B"
