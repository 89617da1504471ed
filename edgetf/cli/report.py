"""`edgetf report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, print_lines


@click.command()
@click.argument("bench", type=PATH)
@click.option("-o", "--out", type=PATH, metavar="FILE.html", help="The file to write.")
@click.option(
    "--tensorboard", type=PATH, metavar="LOGDIR", help="Write the results as HParams for TensorBoard as well."
)
@click.option("--reference", type=PATH, help="What the benchmark was compared with. [default: looked for beside BENCH]")
@force_option
@json_option
def report(
    bench: Path, out: Path | None, tensorboard: Path | None, reference: Path | None, force: bool, as_json: bool
) -> None:
    """Make one self-contained HTML file of what `edgetf benchmark` wrote at BENCH.

    It shows what `edgetf check --ladder --layers` found, too, and the worst samples, where the reference and the
    samples are still there.

    \b
    Example:
      edgetf report bench -o report.html
      edgetf report bench --tensorboard logs && tensorboard --logdir logs
    """
    if out is None and tensorboard is None:
        raise click.UsageError("say what to write: -o FILE.html, --tensorboard LOGDIR, or both")
    if out is not None:
        from edgetf.benchmarks.report import write_report

        write_report(bench, out, force, reference)
    if tensorboard is not None:
        from edgetf.models.tensorboard import write_hparams
        from edgetf.results import read_benchmark

        write_hparams(read_benchmark(bench), tensorboard)
    written = {"report": out, "tensorboard": tensorboard}
    told = {name: str(path) for name, path in written.items() if path is not None}
    if as_json:
        click.echo(json.dumps(told))
        return
    print_lines(f"Written to {escape(' and '.join(told.values()))}")
