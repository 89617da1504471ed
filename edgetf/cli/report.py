"""`edgetf report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, print_lines


@click.command()
@click.argument("bench", type=PATH)
@click.option("-o", "--out", type=PATH, metavar="FILE.html", help="The file to write.")
@click.option("--tensorboard", type=PATH, metavar="LOGDIR", help="Also write the results as HParams for TensorBoard.")
@click.option("--reference", type=PATH, help="The reference of the benchmark. [default: searched beside BENCH]")
@force_option
@json_option
def report(
    bench: Path, out: Path | None, tensorboard: Path | None, reference: Path | None, force: bool, as_json: bool
) -> None:
    """Print the results of the benchmark in the folder BENCH again, or write a self-contained HTML file with -o.

    The file also shows the results of `edgetf explain`, and the worst samples if the reference and the samples still
    exist.

    \b
    Example:
      edgetf report bench
      edgetf report bench -o report.html
      edgetf report bench --tensorboard logs && tensorboard --logdir logs
    """
    if out is None and tensorboard is None:
        _print(bench, as_json)
        return
    from edgetf.api.share import report as run
    from edgetf.files import is_stream

    found = run(bench, out, tensorboard=tensorboard, reference=reference, force=force)
    if as_json:
        reports = [str(path) for path in found if path != tensorboard]
        named = {"report": reports[0] if len(reports) == 1 else reports} if reports else {}
        click.echo(json.dumps({**named, **({"tensorboard": str(tensorboard)} if tensorboard else {})}))
        return
    listed = [str(path) for path in found if not is_stream(path)]
    if listed:
        print_lines(f"Written to {escape(' and '.join(listed))}")


def _print(bench: Path, as_json: bool) -> None:
    """The tables of `edgetf benchmark`, or its document, of each device."""
    from edgetf.api.results import Bench
    from edgetf.files import to_plain, to_text

    found = Bench.read(bench)
    documents = list(found.documents.values())
    if not as_json:
        found.show()
    elif len(documents) == 1:
        click.echo(to_text(documents[0]), nl=False)
    else:
        click.echo(json.dumps([to_plain(document) for document in documents], indent=1))
