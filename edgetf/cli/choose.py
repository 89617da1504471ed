"""`edgetf choose`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.budgets import allow_changed_option, budget_options
from edgetf.cli.console import PATH, json_option
from edgetf.defaults import OBJECTIVE


@click.command()
@click.argument("bench", type=PATH)
@click.option(
    "--for",
    "objective",
    type=click.Choice(["both", "latency", "size", "memory"]),
    default=OBJECTIVE,
    show_default=True,
    help="What to minimize; both: latency times bytes.",
)
@budget_options
@allow_changed_option
@json_option
def choose(
    bench: Path,
    objective: str,
    max_drop: float | None,
    max_metric_drop: float | None,
    max_latency_ms: float | None,
    max_bytes: int | None,
    allow_changed: bool,
    as_json: bool,
) -> int:
    """Choose the variant to ship from the benchmark in the folder BENCH, and explain why not the others.

    Only a variant that passes the budgets is chosen: the one with the lowest product of latency and bytes, or the
    lowest value of what --for names. Variants that are not measurably better are equivalent (peak memory: within 1 %).
    Of those, the smallest one on the Pareto front is chosen, and the others are listed. If times do not count, as on an
    emulated device, the smallest variant is chosen.

    With several devices in BENCH, a variant is chosen for each. Exit code: 0 chosen, 3 no variant passes, 4 no variant
    passes, but one might with more samples, 5 no variant ran.

    \b
    Example:
      edgetf choose bench
      edgetf choose bench --for size --max-drop 0.5 --max-latency-ms 5
    """
    from edgetf.api.judge import choose as run
    from edgetf.api.results import Bench
    from edgetf.api.tables.benchmark import show_stale
    from edgetf.api.tables.checks import send_warnings
    from edgetf.api.tables.choices import show_choices
    from edgetf.benchmarks.judging.choose_words import answer
    from edgetf.files import to_plain

    measured = Bench.read(bench)
    found = run(
        measured,
        objective=objective,
        max_drop=max_drop,
        max_metric_drop=max_metric_drop,
        max_latency_ms=max_latency_ms,
        max_bytes=max_bytes,
        allow_changed=allow_changed,
    )
    send_warnings(found.warnings)
    for document in measured.documents.values():
        show_stale(document)
    if as_json:
        rows = [{"answer": answer(choice), **to_plain(choice)} for _, choice in found.choices]
        click.echo(json.dumps({"exit_code": int(found.exit_code), "choices": rows}, indent=1))
    else:
        show_choices(found.choices)
    return found.exit_code
