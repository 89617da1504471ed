"""`edgetf check`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetf.cli.console import PATH, escape, json_option, print_lines, print_table, progress, verdict_mark

if TYPE_CHECKING:
    from edgetf.benchmarks.blame import Layer
    from edgetf.benchmarks.check import Checked
    from edgetf.benchmarks.ladder import Ladder, LadderOptions

_MOST_LAYERS = 12


@click.command()
@click.argument("bench", type=PATH)
@click.option(
    "--max-drop", type=click.FloatRange(0), metavar="POINTS", help="Points of accuracy that may be lost. [default: 1]"
)
@click.option(
    "--max-metric-drop", type=click.FloatRange(0), metavar="X", help="What a --metric may lose. [default: 0.01]"
)
@click.option("--max-latency-ms", type=click.FloatRange(0), metavar="MS", help="The most that the median may be.")
@click.option("--max-bytes", type=click.IntRange(0), metavar="N", help="The most that the file may have.")
@click.option(
    "--variant", "variants", multiple=True, metavar="NAME", help="Only this variant; may be repeated. [default: all]"
)
@click.option("--ladder", is_flag=True, help="Say which step of the one --variant's road broke; see below.")
@click.option("--layers", is_flag=True, help="With --ladder: the layers that cost most, too.")
@click.option("--node-data", type=PATH, metavar="FILE", help="With --layers: write them for Model Explorer.")
@click.option("--reference", type=PATH, help="For --ladder: what the benchmark was compared with.")
@click.option("--variants", "places", type=PATH, multiple=True, help="For --ladder: where the .tflite files are.")
@click.option("--samples", metavar="SOURCE", help="For --ladder: the samples. [default: those of the reference]")
@click.option("--keras", type=PATH, help="For --ladder: the Keras file, to see whether the export broke it.")
@json_option
def check(
    bench: Path,
    max_drop: float | None,
    max_metric_drop: float | None,
    max_latency_ms: float | None,
    max_bytes: int | None,
    variants: tuple[str, ...],
    ladder: bool,
    layers: bool,
    node_data: Path | None,
    reference: Path | None,
    places: tuple[Path, ...],
    samples: str | None,
    keras: Path | None,
    as_json: bool,
) -> int:
    """Judge what `edgetf benchmark` wrote at BENCH against budgets.

    PASS and FAIL are said only when the 95 % interval lies on one side of the budget. Exit code: 0 all passed,
    3 a budget was missed, 4 not enough data to tell, 5 a run had failed.

    With --ladder, one variant is followed from (Keras and) the SavedModel over float32 and the quantized file on this
    machine to the device, and the first step that broke is named, with the share of the error that each adds. What was
    found is kept beside BENCH, where `edgetf report` shows it.

    \b
    Example:
      edgetf check bench --variant int8 --max-drop 1 --max-latency-ms 5
      edgetf check bench --variant int8 --ladder --layers --variants out --reference ref
    """
    from edgetf.benchmarks.verdict import Budgets

    given = {"--layers": layers, "--node-data": node_data, "--reference": reference, "--variants": places}
    alone = [name for name, value in {**given, "--samples": samples, "--keras": keras}.items() if value]
    if alone and not ladder:
        raise click.UsageError(f"{alone[0]} is for --ladder")
    if ladder:
        if len(variants) != 1 or not places or reference is None:
            raise click.UsageError("--ladder needs one --variant, --variants and --reference")
        from edgetf.benchmarks.ladder import LadderOptions

        if (max_latency_ms, max_bytes, max_metric_drop) != (None, None, None):
            raise click.UsageError("--ladder judges the steps' outputs: of the budgets, it takes --max-drop alone")
        budgets = Budgets(max_drop=Budgets.max_drop if max_drop is None else max_drop)
        asked = LadderOptions(variants[0], places, reference, samples, keras, budgets)
        climbed = _climb(bench, asked, as_json)
        found = _show_layers(bench, asked, node_data, as_json) if layers or node_data else []
        _keep(bench, climbed, found)
        return _code_of(climbed)
    from edgetf.benchmarks.check import check as run
    from edgetf.benchmarks.check import exit_code, select
    from edgetf.files import to_plain
    from edgetf.results import read_benchmark

    drop = Budgets.max_drop if max_drop is None else max_drop
    budgets = Budgets(drop, max_metric_drop, max_latency_ms=max_latency_ms, max_bytes=max_bytes)
    checked = run(select(read_benchmark(bench), variants), budgets, explicit_drop=max_drop is not None)
    code = exit_code(checked)
    if as_json:
        click.echo(json.dumps({"exit_code": int(code), "checked": to_plain(checked)}, indent=1))
        return code
    show_checked(checked, f"Budgets against {bench}")
    return code


def _climb(bench: Path, asked: LadderOptions, as_json: bool) -> Ladder:
    from edgetf.benchmarks.ladder import climb
    from edgetf.files import to_text
    from edgetf.results import Verdict

    with progress("Climbing") as on_event:
        ladder = climb(bench, asked, on_event)
    if as_json:
        click.echo(to_text(ladder), nl=False)
    else:
        rows = [
            [escape(r.name), verdict_mark(r.verdict.value), f"{r.share:.1%}", f"{r.max_abs:.2g}", escape(r.reason)]
            for r in ladder.rungs
        ]
        title = f"{ladder.variant} on {ladder.device}, {ladder.n} samples, each step against the one before"
        columns = ["step", "verdict", "adds of the error", "largest", "because"]
        print_table(escape(title), columns, rows, right=columns[2:4])
        undecided = [rung.name for rung in ladder.rungs if rung.verdict is Verdict.INCONCLUSIVE]
        broke = f"Broken by: {ladder.broken}." if ladder.broken else "No step is shown to have broken it."
        open_ = f" Undecided: {', '.join(undecided)}." if undecided else ""
        print_lines(f"[bold]{escape(broke + open_)}[/]")
        print_lines(f"The whole way: {verdict_mark(ladder.whole.value)}: {escape(ladder.because)}")
    return ladder


def _keep(bench: Path, ladder: Ladder, layers: Sequence[Layer]) -> None:
    """For the report. A benchmark that cannot be written to has its verdict all the same."""
    from edgetf.benchmarks.ladder import keep
    from edgetf.errors import EdgetfError

    try:
        keep(bench, ladder, layers)
    except EdgetfError as error:
        click.echo(f"Not kept for the report: {error.message}", err=True)


def _code_of(ladder: Ladder) -> int:
    from edgetf.errors import ExitCode
    from edgetf.results import Verdict

    verdicts = {ladder.whole, *(rung.verdict for rung in ladder.rungs)}
    if Verdict.FAIL in verdicts:
        return ExitCode.BUDGET_MISSED
    return ExitCode.NOT_ENOUGH_DATA if Verdict.INCONCLUSIVE in verdicts else ExitCode.DONE


def _show_layers(bench: Path, asked: LadderOptions, node_data: Path | None, as_json: bool) -> list[Layer]:
    """The layers that cost most by themselves; as JSON, a second document."""
    from edgetf.benchmarks.blame import to_node_data
    from edgetf.benchmarks.ladder import find_layers
    from edgetf.files import to_plain, write_whole

    found = find_layers(bench, asked)
    if node_data is not None:
        write_whole(node_data, json.dumps(to_node_data(found), indent=1).encode())
    if as_json:
        click.echo(json.dumps([to_plain(layer) for layer in found]))
        return found
    rows = [
        [
            escape(layer.layer),
            layer.op,
            "" if layer.local_db is None else f"{layer.local_db:.1f}",
            f"{layer.accumulated_db:.1f}",
            escape(f"{layer.cause}: {layer.remedy}" if layer.cause else ""),
        ]
        for layer in found[:_MOST_LAYERS]
    ]
    columns = ["layer", "op", "local dB", "accumulated dB", "likely cause, and what to try"]
    print_table("Layers, those that cost most by themselves first", columns, rows, right=columns[2:4])
    return found


def show_checked(checked: Sequence[Checked], title: str) -> None:
    """A table of verdicts; the device is told where there are several."""
    several = len({one.device for one in checked}) > 1
    rows = []
    for one in checked:
        for k, (what, judged) in enumerate(one.parts.items()):
            name = [escape(one.variant), escape(one.device) if several else ""] if k == 0 else ["", ""]
            rows.append([*name, escape(what), verdict_mark(judged.verdict.value), escape(judged.reason)])
    print_table(escape(title), ["variant", "device", "what", "verdict", "because"], rows)
