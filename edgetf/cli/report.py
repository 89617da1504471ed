"""`edgetf report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, print_lines


@click.command()
@click.argument("bench", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE.html", help="The file to write.")
@click.option("--reference", type=PATH, help="What the benchmark was compared with. [default: looked for beside BENCH]")
@force_option
@json_option
def report(bench: Path, out: Path, reference: Path | None, force: bool, as_json: bool) -> None:
    """Make one self-contained HTML file of what `edgetf benchmark` wrote at BENCH.

    It shows what `edgetf check --ladder --layers` found, too, and the worst samples, where the reference and the
    samples are still there.

    \b
    Example:
      edgetf report bench -o report.html
    """
    from edgetf.benchmarks.report import write_report

    write_report(bench, out, force, reference)
    if as_json:
        click.echo(json.dumps({"report": str(out)}))
        return
    print_lines(f"Written to {escape(str(out))}")
