"""`edgetf gate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.check import show_checked
from edgetf.cli.console import PATH, json_option


@click.command()
@click.argument("budget", type=PATH, metavar="BUDGET.toml")
@click.argument("benches", nargs=-1, required=True, type=PATH, metavar="BENCH...")
@click.option("--junit", type=PATH, metavar="FILE", help="Write the verdicts as JUnit XML.")
@click.option("--summary", type=PATH, metavar="FILE", help="Append them to a Markdown file.")
@json_option
def gate(budget: Path, benches: tuple[Path, ...], junit: Path | None, summary: Path | None, as_json: bool) -> int:
    """Judge benchmarks, of one device or of several, against the budgets in a file: for releases and CI.

    What the file names must have been measured. Exit code: 0 all passed, 3 a budget was missed, 4 not enough data to
    tell, 5 a run had failed.

    \b
    Example of a file:
      variants = ["int8"]
      [budgets]
      max_drop = 1.0
      max_bytes = 500_000
      max_latency_ms = { local = 5.0, pi = 20.0 }
      [budgets.of.int8]
      max_drop = 0.5

    \b
    Example:
      edgetf gate budget.toml bench bench_pi --junit gate.xml
    """
    from edgetf.benchmarks.check import exit_code
    from edgetf.benchmarks.gate import judge, load_gate, write_reports
    from edgetf.files import to_plain
    from edgetf.results import read_benchmark

    checked = judge(load_gate(budget), [read_benchmark(bench) for bench in benches])
    code = exit_code(checked)
    write_reports(checked, junit, summary)
    if as_json:
        click.echo(json.dumps({"exit_code": int(code), "checked": to_plain(checked)}, indent=1))
    else:
        show_checked(checked, f"Budgets of {budget}")
    return code
