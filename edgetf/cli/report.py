"""`edgetf report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, force_option, print_lines


@click.command()
@click.argument("bench", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE.html", help="The file to write.")
@force_option
def report(bench: Path, out: Path, force: bool) -> None:
    """Make one self-contained HTML file of what `edgetf benchmark` wrote at BENCH.

    \b
    Example:
      edgetf report bench -o report.html
    """
    from edgetf.benchmarks.report import write_report

    write_report(bench, out, force)
    print_lines(f"Written to {escape(str(out))}")
