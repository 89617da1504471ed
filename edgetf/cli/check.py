"""`edgetf check`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.budgets import EXIT_CODES, allow_changed_option, budget_options
from edgetf.cli.console import PATH, json_option
from edgetf.verdicts import Verdict


@click.command(
    help=f"""Judge the benchmark in the folder BENCH against budgets.

    A verdict is {Verdict.PASS.label} or {Verdict.FAIL.label} only if the whole 95 % interval is on one side of the
    budget. {EXIT_CODES} A variant whose file has changed since it was measured fails. `edgetf explain` shows why a
    variant fails.

    \b
    Example:
      edgetf check bench --variant int8 --max-drop 1 --max-latency-ms 5
    """
)
@click.argument("bench", type=PATH)
@budget_options
@click.option("--variant", multiple=True, metavar="NAME", help="Only this variant. May be repeated. [default: all]")
@allow_changed_option
@json_option
def check(
    bench: Path,
    max_drop: float | None,
    max_metric_drop: float | None,
    max_latency_ms: float | None,
    max_bytes: int | None,
    variant: tuple[str, ...],
    allow_changed: bool,
    as_json: bool,
) -> int:
    from edgetf.api.judge import check as run
    from edgetf.api.results import Bench
    from edgetf.api.tables.benchmark import show_stale
    from edgetf.api.tables.checks import send_warnings, show_checked, show_classes
    from edgetf.benchmarks.judging.check import select
    from edgetf.benchmarks.judging.verdict import Budgets
    from edgetf.files import to_plain

    measured = Bench.read(bench)
    found = run(
        measured,
        variant=variant,
        max_drop=max_drop,
        max_metric_drop=max_metric_drop,
        max_latency_ms=max_latency_ms,
        max_bytes=max_bytes,
        allow_changed=allow_changed,
    )
    documents = [select(document, variant) for document in measured.documents.values()]
    for document in documents:
        show_stale(document)
    send_warnings(found.warnings)
    if as_json:
        click.echo(json.dumps({"exit_code": int(found.exit_code), "checked": to_plain(list(found.checked))}, indent=1))
    else:
        show_checked(found.checked, f"Budgets against {bench}")
        for document in documents:
            show_classes(document, Budgets())
    return found.exit_code
