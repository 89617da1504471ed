"""`edgetf history list | add | compare | trend | export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, print_lines, print_table, verdict_mark
from edgetf.errors import EdgetfError, ExitCode

if TYPE_CHECKING:
    from edgetf.benchmarks.history import Change
    from edgetf.results import Benchmark

history_option = click.option(
    "--history", "place", type=PATH, metavar="FILE", help="The SQLite file. [default: $EDGETF_HISTORY, or the user's]"
)


model_option = click.option("--model", metavar="NAME", help="Only this model: see `edgetf history list`.")
_WORSE, _BETTER = ("slower", "less accurate", "fails now", "worse"), ("faster", "more accurate", "better")


def keep_history(document: Benchmark, model: Path, place: Path | None, commit: str | None, mlflow: str | None) -> None:
    """Keep a benchmark, and send it where that was asked for. What was measured is never lost by a history that fails.

    `model` lies in the repository whose commit counts, where none is named.
    """
    from edgetf.benchmarks.history import commit_of, default_place, keep, name_of

    named = commit if commit is not None else commit_of(model)
    try:
        keep(document, named, name_of(document, model), place or default_place())
    except EdgetfError as error:
        click.echo(f"not kept: {error.message}; {error.hint}", err=True)
    if mlflow is not None:
        from edgetf.benchmarks.mlflow_export import export as send

        send(document, named, mlflow)


@click.group()
def history() -> None:
    """What was measured before: every `edgetf benchmark` is kept, with the commit of its model.

    \b
    Example:
      edgetf history list
      edgetf history compare 1a2b3c HEAD
      edgetf history trend --device pi -o trend.svg
    """


@history.command("list")
@history_option
@click.option("--variant", metavar="NAME", help="Only this variant.")
@click.option("--device", metavar="NAME", help="Only this device.")
@json_option
def list_(place: Path | None, variant: str | None, device: str | None, as_json: bool) -> None:
    """List what is kept, oldest first.

    \b
    Example:
      edgetf history list --variant int8
    """
    from edgetf.benchmarks.history import default_place, entries
    from edgetf.files import to_plain

    found = entries(place or default_place(), variant, device)
    if as_json:
        click.echo(json.dumps([to_plain(one) for one in found], indent=1))
        return
    rows = []
    for one in found:
        times, parity = one.result.latency_ms, one.result.parity
        told = f"{times.median:.3g} [{times.low:.3g}, {times.high:.3g}]" if times else "failed"
        verdict = verdict_mark(parity.verdict.value) if parity else ""
        rows.append(
            [
                one.created[:16],
                escape(one.commit[:13]),
                escape(one.name),
                escape(one.variant),
                escape(one.device),
                told,
                verdict,
            ]
        )
    print_table("History", ["measured", "commit", "model", "variant", "device", "median ms", "verdict"], rows)


@history.command()
@click.argument("bench", type=PATH)
@history_option
@click.option("--commit", metavar="NAME", help="The commit of the model. [default: that of BENCH's repository]")
def add(bench: Path, place: Path | None, commit: str | None) -> None:
    """Keep a benchmark that was made elsewhere.

    \b
    Example:
      edgetf history add bench --commit 1a2b3c
    """
    from edgetf.benchmarks.history import commit_of, default_place, keep, name_of
    from edgetf.results import read_benchmark

    where, document = place or default_place(), read_benchmark(bench)
    new = keep(document, commit if commit is not None else commit_of(bench), name_of(document, bench), where)
    print_lines(f"{new} new results in {escape(str(where))}.")


@history.command()
@click.argument("old")
@click.argument("new")
@model_option
@history_option
@json_option
def compare(old: str, new: str, model: str | None, place: Path | None, as_json: bool) -> int:
    """Say what changed between two commits, for each variant on each device, and how surely.

    OLD and NEW are commits, beginnings of their names, or what git calls them (HEAD, main, v1.0). A change is told only
    where it is significant (5 %, over all that is compared). Exit code: 3 where something became worse.

    \b
    Example:
      edgetf history compare v1.0 HEAD
    """
    from edgetf.benchmarks.history import compare as run
    from edgetf.benchmarks.history import default_place, entries
    from edgetf.files import to_plain

    changes = run(entries(place or default_place(), name=model), old, new)
    if as_json:
        click.echo(json.dumps([to_plain(one) for one in changes], indent=1))
    else:
        columns = ["variant", "device", "what", "before", "after", "change", "p", ""]
        rows = [_row(one) for one in changes]
        print_table(escape(f"{old} to {new}"), columns, rows, right=columns[3:7])
    worse = any(one.told.startswith(_WORSE) for one in changes)
    return ExitCode.BUDGET_MISSED if worse else ExitCode.DONE


def _row(one: Change) -> list[str]:
    digits = ",.0f" if one.what == "bytes" else ".4g"
    change = ""
    if one.low is not None and one.high is not None:
        change = (
            f"×[{one.low:.3f}, {one.high:.3f}]" if one.what == "median ms" else f"[{one.low:+.2f}, {one.high:+.2f}]"
        )
    colour = "red" if one.told.startswith(_WORSE) else "green" if one.told.startswith(_BETTER) else ""
    mark = f"[{colour}]{escape(one.told)}[/]" if colour else escape(one.told)
    figures = ["" if value is None else format(value, digits) for value in (one.old, one.new)]
    cells = [one.variant, one.device, one.what, *figures, change]
    return [*(escape(cell) for cell in cells), "" if one.p is None else f"{one.p:.2g}", mark]


@history.command()
@click.option("--device", default="local", show_default=True, metavar="NAME", help="The device.")
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE.svg", help="The picture to write.")
@model_option
@history_option
@force_option
def trend(device: str, out: Path, model: str | None, place: Path | None, force: bool) -> None:
    """Draw latency and accuracy drop of all variants over time.

    \b
    Example:
      edgetf history trend --device pi -o trend.svg
    """
    from edgetf.benchmarks.history import default_place, entries
    from edgetf.benchmarks.trend import draw_trend
    from edgetf.files import write_whole

    if out.exists() and not force:
        raise EdgetfError(f"{out} already exists", "give another file with -o, or --force to replace it")
    write_whole(out, draw_trend(entries(place or default_place(), name=model), device).encode())
    print_lines(f"Written to {escape(str(out))}; open it in a browser.")


@history.command()
@click.argument("bench", type=PATH)
@click.option("--mlflow", "uri", required=True, metavar="URI", help="Such as http://127.0.0.1:5000.")
@click.option("--commit", metavar="NAME", help="The commit of the model. [default: that of BENCH's repository]")
def export(bench: Path, uri: str, commit: str | None) -> None:
    """Send a benchmark to MLflow: a run for each variant.

    \b
    Example:
      edgetf history export bench --mlflow http://127.0.0.1:5000
    """
    from edgetf.benchmarks.history import commit_of
    from edgetf.benchmarks.mlflow_export import EXPERIMENT
    from edgetf.benchmarks.mlflow_export import export as run
    from edgetf.results import read_benchmark

    sent = run(read_benchmark(bench), commit if commit is not None else commit_of(bench), uri)
    print_lines(f"{sent} runs in the experiment {EXPERIMENT} at {escape(uri)}.")
