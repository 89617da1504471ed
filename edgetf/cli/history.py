"""`edgetf history list | add | compare | trend | export`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetf.cli.console import (
    PATH,
    Integer,
    escape,
    force_option,
    json_option,
    print_lines,
    print_note,
    print_table,
    verdict_mark,
)
from edgetf.defaults import DEVICE, LISTED
from edgetf.errors import ExitCode

if TYPE_CHECKING:
    from edgetf.benchmarks.history.changes import Change
    from edgetf.benchmarks.history.store import Row

history_option = click.option(
    "--history", "place", type=PATH, metavar="FILE", help="The SQLite file. [default: $EDGETF_HISTORY, or the user's]"
)


model_option = click.option("--model", metavar="NAME", help="Only this model, as in `edgetf history list`.")
_TABLE = 1000  # rows; longer lists are written as plain lines, which is faster


@click.group()
def history() -> None:
    """Earlier results: every `edgetf benchmark` is stored with the commit of its model.

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
@click.option(
    "--last",
    type=Integer(0),
    default=LISTED,
    show_default=True,
    metavar="N",
    help="Number of entries; 0 lists all.",
)
@json_option
def list_(place: Path | None, variant: str | None, device: str | None, last: int, as_json: bool) -> None:
    """List the stored results, oldest first. With --json, with all details.

    \b
    Example:
      edgetf history list --variant int8
    """
    from edgetf.benchmarks.history.store import count, default_place

    where = place or default_place()
    older = max(count(where, variant, device) - last, 0) if last else 0
    if as_json:
        _list_json(where, variant, device, last or None)
    else:
        _list(where, variant, device, last or None)
    if older:
        (print_note if as_json else print_lines)(f"{older:,} older entries: --last 0 lists all.")


def _list(place: Path, variant: str | None, device: str | None, last: int | None) -> None:
    from edgetf.benchmarks.history.store import rows

    found = map(_listed, rows(place, variant, device, last=last))
    first = list(islice(found, _TABLE + 1))
    if len(first) > _TABLE:
        _print_plainly(chain(first, found))
        return
    columns = ["measured", "commit", "model", "variant", "device", "median ms", "verdict"]
    cells = [[*(escape(cell) for cell in row[:-1]), verdict_mark(row[-1]) if row[-1] else ""] for row in first]
    print_table("History", columns, cells, optional=["model", "device", "measured"])


def _print_plainly(rows: Iterable[Sequence[str]]) -> None:
    from edgetf.texts import printable

    waiting = iter(rows)
    while some := list(islice(waiting, _TABLE)):
        click.echo("\n".join("\t".join(map(printable, row)) for row in some))


def _list_json(place: Path, variant: str | None, device: str | None, last: int | None) -> None:
    """Print the entries as they are read: all of them together may be larger than the memory."""
    from edgetf.benchmarks.history.store import each_entry, entries
    from edgetf.files import to_plain

    found = each_entry(place, variant, device) if last is None else iter(entries(place, variant, device, last=last))
    before = "["
    for one in found:
        plain = {**{k: getattr(one, k) for k in _TEXTS}, "result": to_plain(one.result)}
        click.echo(f"{before}\n{json.dumps(plain, indent=1)}", nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


_TEXTS = ("digest", "created", "commit", "name", "model", "variant", "device", "machine", "settings", "samples")


def _listed(one: Row) -> list[str]:
    glance = one.glance
    latency = "{:.3g}\n[{:.3g}, {:.3g}]".format(*glance.latency_ms) if glance.latency_ms else "failed"
    verdict = glance.verdict.value if glance.verdict else ""
    return [one.created[:16], one.commit[:13], one.name, one.variant, one.device, latency, verdict]


@history.command()
@click.argument("bench", type=PATH)
@history_option
@click.option("--commit", metavar="NAME", help="The commit of the model. [default: that of BENCH's repository]")
@json_option
def add(bench: Path, place: Path | None, commit: str | None, as_json: bool) -> None:
    """Add a benchmark that was made elsewhere.

    \b
    Example:
      edgetf history add bench --commit 1a2b3c
    """
    from edgetf.api.history import history as find

    kept = find(place)
    new = kept.add(bench, commit=commit)
    if as_json:
        click.echo(json.dumps({"history": str(kept.path), "new": new}))
        return
    print_lines(f"{new} new results in {escape(str(kept.path))}.")


@history.command()
@click.argument("old")
@click.argument("new")
@model_option
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(["gone", "parity", "samples", "runtime", "latency"]),
    help="Allow this kind of change. May be repeated.",
)
@history_option
@json_option
def compare(old: str, new: str, model: str | None, allow: tuple[str, ...], place: Path | None, as_json: bool) -> int:
    """Report what changed between two commits, for each variant on each device, with its significance.

    OLD and NEW are commits, prefixes of their names, or git references (HEAD, main, v1.0). A change is reported only if
    it is significant (5 %, over all comparisons); latencies are compared by all sessions of a commit, and by how much
    sessions of one file differ. Exit code: 3 if a figure became worse, or if a variant cannot be
    compared: it is gone, it has no parity or no latency any more, it fails on other samples, or it ran in another
    runtime. --allow permits each of these.

    \b
    Example:
      edgetf history compare v1.0 HEAD
      edgetf history compare v1.0 HEAD --allow runtime
    """
    from edgetf.api.history import history as find
    from edgetf.benchmarks.history.changes import ChangeKind, is_failure
    from edgetf.files import to_plain

    allowed = {ChangeKind(one) for one in allow}
    changes = find(place).compare(old, new, model=model, allow=allow)
    if as_json:
        click.echo(json.dumps([to_plain(one) for one in changes], indent=1))
    else:
        columns = ["variant", "device", "what", "before", "after", "change", "p", "that is"]
        if len(changes) > _TABLE:
            _print_plainly(_cells(one) for one in changes)
        else:
            rows = [_coloured(one) for one in changes]
            print_table(escape(f"{old} to {new}"), columns, rows, right=columns[3:7], optional=["p"], long=["that is"])
        if line := _sessions_line(changes):
            print_lines(line)
    failures = [one for one in changes if is_failure(one, allowed)]
    may = dict.fromkeys(f"--allow {one.kind.value}" for one in failures if one.kind is not ChangeKind.FIGURE)
    if may and not as_json:
        print_lines(f"If this is intended: {' '.join(may)}")
    return ExitCode.BUDGET_MISSED if failures else ExitCode.DONE


def _sessions_line(changes: Sequence[Change]) -> str:
    """What the intervals of latencies include."""
    spreads = [one.spread for one in changes if one.spread is not None]
    if not spreads:
        return ""
    differ = _range(f"{end(one.deviation for one in spreads):.1%}" for end in (min, max))
    repeats = _range(str(end(one.repeats for one in spreads)) for end in (min, max))
    by = (
        "assumed: no file was measured again" if repeats == "0" else f"by {repeats} repeated sessions and an assumption"
    )
    what = f"Intervals of latencies include what differs between sessions of one file, {differ} ({by})."
    return f"{what} More sessions of a commit narrow them."


def _range(ends: Iterable[str]) -> str:
    """Two texts as a range; one if they are equal."""
    return " to ".join(dict.fromkeys(ends))


def _cells(one: Change) -> list[str]:
    from edgetf.benchmarks.history.changes import Unit

    digits = ",.0f" if one.unit is Unit.BYTES else ".4g"
    change = ""
    if one.low is not None and one.high is not None:
        change = (
            f"×[{one.low:.3f}, {one.high:.3f}]"
            if one.unit is Unit.MILLISECONDS
            else f"[{one.low:+.2f}, {one.high:+.2f}]"
        )
    figures = ["" if value is None else format(value, digits) for value in (one.old, one.new)]
    p = "" if one.p is None else f"{one.p:.2g}"
    return [one.variant, one.device, one.what, *figures, change, p, one.summary]


def _coloured(one: Change) -> list[str]:
    *cells, summary = map(escape, _cells(one))
    colour = {"worse": "red", "better": "green"}.get(one.effect.value, "")
    return [*cells, f"[{colour}]{summary}[/]" if colour else summary]


@history.command()
@click.option("--device", default=DEVICE, show_default=True, metavar="NAME", help="The device.")
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE.svg", help="The picture to write.")
@model_option
@click.option("--variant", metavar="NAME", help="Only this variant.")
@history_option
@force_option
@json_option
def trend(
    device: str, out: Path, model: str | None, variant: str | None, place: Path | None, force: bool, as_json: bool
) -> None:
    """Plot latency and accuracy drop of all variants over time.

    \b
    Example:
      edgetf history trend --device pi -o trend.svg
    """
    from edgetf.api.history import draw
    from edgetf.benchmarks.history.store import default_place, rows
    from edgetf.files import is_stream

    left_out = draw(rows(place or default_place(), variant, device, model), device, out, force)
    if as_json:
        click.echo(json.dumps({"trend": str(out), **({"left_out": left_out} if left_out else {})}))
        return
    if left_out:
        print_note(f"{len(left_out):,} variants with older results are not drawn: choose one with --variant")
    if not is_stream(out):
        print_lines(f"Written to {escape(str(out))}; open it in a browser.")


@history.command()
@click.argument("bench", type=PATH)
@click.option("--mlflow", "uri", required=True, metavar="URI", help="Such as http://127.0.0.1:5000.")
@click.option("--commit", metavar="NAME", help="The commit of the model. [default: that of BENCH's repository]")
@json_option
def export(bench: Path, uri: str, commit: str | None, as_json: bool) -> None:
    """Send a benchmark to MLflow: a run for each variant.

    \b
    Example:
      edgetf history export bench --mlflow http://127.0.0.1:5000
    """
    from edgetf.benchmarks.history.mlflow import EXPERIMENT
    from edgetf.benchmarks.history.mlflow import export as run
    from edgetf.benchmarks.history.store import commit_of
    from edgetf.results import read_benchmark
    from edgetf.texts import without_secrets

    sent = run(read_benchmark(bench), commit if commit is not None else commit_of(bench), uri)
    if as_json:
        click.echo(json.dumps({"experiment": EXPERIMENT, "mlflow": without_secrets(uri), "runs": sent}))
        return
    print_lines(f"{sent} runs in the experiment {EXPERIMENT} at {escape(without_secrets(uri))}.")
