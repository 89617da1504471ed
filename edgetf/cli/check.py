"""`edgetf check`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetf.cli.console import PATH, escape, json_option, print_table, verdict_mark

if TYPE_CHECKING:
    from edgetf.benchmarks.check import Checked


@click.command()
@click.argument("bench", type=PATH)
@click.option(
    "--max-drop", type=click.FloatRange(0), metavar="POINTS", help="Points of accuracy that may be lost. [default: 1]"
)
@click.option("--max-latency-ms", type=click.FloatRange(0), metavar="MS", help="The most that the median may be.")
@click.option("--max-bytes", type=click.IntRange(0), metavar="N", help="The most that the file may have.")
@click.option(
    "--variant", "variants", multiple=True, metavar="NAME", help="Only this variant; may be repeated. [default: all]"
)
@json_option
def check(
    bench: Path,
    max_drop: float | None,
    max_latency_ms: float | None,
    max_bytes: int | None,
    variants: tuple[str, ...],
    as_json: bool,
) -> int:
    """Judge what `edgetf benchmark` wrote at BENCH against budgets.

    PASS and FAIL are said only when the 95 % interval lies on one side of the budget. Exit code: 0 all passed,
    3 a budget was missed, 4 not enough data to tell, 5 a run had failed.

    \b
    Example:
      edgetf check bench --variant int8 --max-drop 1 --max-latency-ms 5
    """
    from edgetf.benchmarks.check import check as run
    from edgetf.benchmarks.check import exit_code, select
    from edgetf.benchmarks.verdict import Budgets
    from edgetf.files import to_plain
    from edgetf.results import read_benchmark

    drop = Budgets.max_drop if max_drop is None else max_drop
    budgets = Budgets(max_drop=drop, max_latency_ms=max_latency_ms, max_bytes=max_bytes)
    checked = run(select(read_benchmark(bench), variants), budgets, explicit_drop=max_drop is not None)
    code = exit_code(checked)
    if as_json:
        click.echo(json.dumps({"exit_code": int(code), "checked": to_plain(checked)}, indent=1))
        return code
    show_checked(checked, f"Budgets against {bench}")
    return code


def show_checked(checked: Sequence[Checked], title: str) -> None:
    """A table of verdicts; the device is told where there are several."""
    several = len({one.device for one in checked}) > 1
    rows = []
    for one in checked:
        for k, (what, judged) in enumerate(one.parts.items()):
            name = [escape(one.variant), escape(one.device) if several else ""] if k == 0 else ["", ""]
            rows.append([*name, escape(what), verdict_mark(judged.verdict.value), escape(judged.reason)])
    print_table(escape(title), ["variant", "device", "what", "verdict", "because"], rows)
