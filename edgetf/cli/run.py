"""`edgetf run`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.budgets import budget_options, metric_options
from edgetf.cli.console import PATH, SCHEME, force_option, json_option, no_wait_option
from edgetf.cli.fleet import certificates_option, scheduler_option


def _print_schema(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from edgetf.plans.keys import json_schema

    click.echo(json.dumps(json_schema(), indent=1))
    ctx.exit()


@click.command()
@click.argument("what", default="edgetf.toml", metavar="[MODEL | PLAN.toml]")
@click.option("--samples", metavar="SOURCE", help="For a model: samples to calibrate on.")
@click.option("--test", metavar="SOURCE", help="For a model: samples to judge on, with labels if there are any.")
@click.option("-o", "--out", type=PATH, help="Folder for what is to be shipped. [default: the plan's, or ship]")
@click.option(
    "--scheme", "schemes", type=SCHEME, multiple=True, metavar="NAME", help="A scheme; may be repeated. [default: all]"
)
@click.option(
    "--device", "device", multiple=True, metavar="NAME", default=("local",), help="A device; may be repeated."
)
@click.option("--devices", type=PATH, help="The file that names devices. [default: devices.toml here, or the user's]")
@click.option(
    "--for",
    "objective",
    type=click.Choice(["both", "latency", "size", "memory"]),
    default="both",
    show_default=True,
    help="What is to be least; both: latency times bytes.",
)
@budget_options
@metric_options
@scheduler_option
@certificates_option
@click.option("--dry-run", is_flag=True, help="Only print which steps would run, and why.")
@click.option(
    "--schema",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_schema,
    help="Print the JSON Schema of a plan, for editors.",
)
@click.option("--junit", type=PATH, metavar="FILE", help="Write what is shipped as JUnit XML.")
@click.option("--summary", type=PATH, metavar="FILE", help="Append what is shipped to a Markdown file.")
@no_wait_option
@force_option
@json_option
def run(
    what: str,
    samples: str | None,
    test: str | None,
    out: Path | None,
    schemes: tuple[str, ...],
    device: tuple[str, ...],
    devices: Path | None,
    objective: str,
    max_drop: float | None,
    max_metric_drop: float | None,
    max_latency_ms: float | None,
    max_bytes: int | None,
    metrics: tuple[str, ...],
    metric_less_is_better: bool,
    scheduler: str | None,
    certificates: Path | None,
    dry_run: bool,
    junit: Path | None,
    summary: Path | None,
    no_wait: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Go from a model, or a plan of many, to files that are proven on the device: all steps, none of them twice.

    Converts, computes the reference, benchmarks on each device, tunes where no given variant is the answer, and writes
    what to ship: the file, its bundle and its report. Results are kept by the digest of all that they depend on: the
    same command makes only what has changed, and resumes after it was killed. A step that fails stops only those that
    need it.

    Of a model it writes PLAN.toml into the folder of -o. Exit code: 0 every model has a file to ship, 3 nothing passes,
    4 more samples would decide, 5 a device failed.

    \b
    Example:
      edgetf run model.keras --samples train.npz --test test.npz -o ship --max-drop 1 --for size
      edgetf run ship/edgetf.toml --dry-run
    """
    from edgetf.files import to_plain
    from edgetf.plans.run import run as start

    found = start(
        what,
        out,
        samples=samples,
        test=test,
        schemes=schemes,
        device=device[0] if len(device) == 1 else device,
        devices=devices,
        objective=objective,
        max_drop=max_drop,
        max_metric_drop=max_metric_drop,
        max_latency_ms=max_latency_ms,
        max_bytes=max_bytes,
        metric=metrics,
        metric_less_is_better=metric_less_is_better,
        scheduler=scheduler,
        certificates=certificates,
        dry_run=dry_run,
        junit=junit,
        summary=summary,
        no_wait=no_wait,
        force=force,
    )
    if as_json:
        click.echo(json.dumps({"exit_code": int(found.exit_code), **to_plain(found.document)}, indent=1))
    else:
        found.show()
    return found.exit_code
