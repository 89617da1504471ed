"""`edgetf gate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.budgets import EXIT_CODES
from edgetf.cli.console import PATH, json_option


@click.command(
    help=f"""Judge benchmarks of one or several devices against the budgets in a file, for releases and CI.

    BENCH may be the folder of a benchmark on several devices. All variants that the file names must have been measured;
    with --variants, every file there, and unchanged since. Verdicts are computed again from the figures.
    {EXIT_CODES}

    \b
    Example of a file:
      variants = ["int8"]
      [budgets]
      max_drop = 1.0
      max_bytes = 500_000
      max_latency_ms = {{ local = 5.0, pi = 20.0 }}
      [budgets.of.int8]
      max_drop = 0.5

    \b
    Example:
      edgetf gate budget.toml bench bench_pi --variants out --junit gate.xml
    """
)
@click.argument("budget", type=PATH, metavar="BUDGET.toml")
@click.argument("benches", nargs=-1, required=True, type=PATH, metavar="BENCH...")
@click.option("--variants", type=PATH, multiple=True, help="The .tflite files to release: each must be measured.")
@click.option("--junit", type=PATH, metavar="FILE", help="Write the verdicts as JUnit XML.")
@click.option("--summary", type=PATH, metavar="FILE", help="Append the verdicts to a Markdown file.")
@json_option
def gate(
    budget: Path,
    benches: tuple[Path, ...],
    variants: tuple[Path, ...],
    junit: Path | None,
    summary: Path | None,
    as_json: bool,
) -> int:
    from edgetf.api.judge import gate as run
    from edgetf.api.tables.checks import send_warnings, show_checked
    from edgetf.files import to_plain

    found = run(budget, benches, variants=variants, junit=junit, summary=summary)
    send_warnings(found.warnings)
    if as_json:
        click.echo(json.dumps({"exit_code": int(found.exit_code), "checked": to_plain(list(found.checked))}, indent=1))
    else:
        show_checked(found.checked, f"Budgets of {budget}")
    return found.exit_code
