"""`edgetf tune`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.budgets import budget_options, metric_options
from edgetf.cli.console import PATH, Integer, escape, force_option, json_option, no_wait_option, print_lines


@click.command()
@click.argument("variants", type=PATH, metavar="OUT")
@click.option("--reference", type=PATH, required=True, help="What `edgetf reference` wrote, to compare with.")
@click.option("--samples", metavar="SOURCE", help="Samples to rank operations on. [default: those calibrated on]")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for the tuned variant and its proof.")
@click.option(
    "--for",
    "objective",
    type=click.Choice(["size", "latency"]),
    default="size",
    show_default=True,
    help="What is to be least.",
)
@budget_options
@metric_options
@click.option("--device", default="local", show_default=True, metavar="NAME", help="Where to time, and to prove it.")
@click.option("--devices", type=PATH, help="The file that names devices. [default: devices.toml here, or the user's]")
@click.option("--runtime", metavar="NAME==VERSION", help="What must load it: tflite-runtime==2.14, or a device's name.")
@click.option("--evaluations", type=Integer(1), default=6, show_default=True, help="Candidates to evaluate, at most.")
@click.option(
    "--keep-float",
    multiple=True,
    metavar="LAYER",
    help="A Keras layer, or a pattern, to keep in float16 or float32; may be repeated.",
)
@click.option("--verdict", metavar="SOURCE", help="Samples to prove it on. [default: half of the reference's]")
@no_wait_option
@force_option
@json_option
def tune(
    variants: Path,
    reference: Path,
    samples: str | None,
    out: Path,
    objective: str,
    max_drop: float | None,
    max_metric_drop: float | None,
    max_latency_ms: float | None,
    max_bytes: int | None,
    metrics: tuple[str, ...],
    metric_less_is_better: bool,
    device: str,
    devices: Path | None,
    runtime: str | None,
    evaluations: int,
    keep_float: tuple[str, ...],
    verdict: str | None,
    no_wait: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Mix the schemes that `edgetf convert` wrote into OUT, operation by operation, into the best file that is proven.

    Operations are ranked by what each alone costs, without labels; mixtures that are smaller (or faster) or nearer to
    float32 than all others are candidates; bisection evaluates few of them on half of the reference's samples. The
    winner is then proven once, on the other half or on --verdict, by a normal benchmark on the device: only that
    counts. After it was killed, it resumes.

    Writes to the folder of -o: tuned.tflite, a variant with its conversion.json; tuning.json with every candidate; and
    bench, which `edgetf choose` and `edgetf report` read. Exit code: 0 proven (or one of the given variants is, and
    nothing is better), 3 nothing passes, 4 more samples would decide.

    \b
    Example:
      edgetf tune out --reference ref --samples train.npz -o tuned
      edgetf tune out --reference ref --samples train.npz -o fast --for latency --max-drop 0.5 --device pi
    """
    import json

    from edgetf.api.tables.checks import send_warnings
    from edgetf.api.tables.choices import show_choices
    from edgetf.api.tables.tuning import show_tuning
    from edgetf.api.tune import tune as run
    from edgetf.files import to_plain

    if metric_less_is_better and not metrics:
        raise click.UsageError("--metric-less-is-better is for --metric")
    tuned = run(
        variants,
        reference,
        out,
        samples=samples,
        objective=objective,
        max_drop=max_drop,
        metric=metrics,
        metric_less_is_better=metric_less_is_better,
        max_metric_drop=max_metric_drop,
        max_bytes=max_bytes,
        max_latency_ms=max_latency_ms,
        device=device,
        devices=devices,
        runtime=runtime,
        evaluations=evaluations,
        keep_float=keep_float,
        verdict=verdict,
        no_wait=no_wait,
        force=force,
    )
    send_warnings(tuned.warnings)
    if as_json:
        click.echo(json.dumps({"exit_code": int(tuned.exit_code), **to_plain(tuned.document)}, indent=1))
        return tuned.exit_code
    show_tuning(tuned.document)
    if tuned.path is not None:
        print_lines("")
        show_choices(tuned.choices.choices)
        print_lines(f"Written to {escape(str(tuned.path))}")
    return tuned.exit_code
