"""`edgetf demo`: the whole road, from training to the report, with the same verbs that the other commands call."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, print_lines, progress

_GAMES = 20  # that each variant of dqn plays


@click.command()
@click.option("--model", "name", default="cnn", show_default=True, help="Any of: edgetf models list.")
@click.option("-o", "--out", type=PATH, default=Path("demo"), show_default=True, help="Folder for everything.")
@force_option
@json_option
def demo(name: str, out: Path, force: bool, as_json: bool) -> int:
    """Train a model of the zoo and take it all the way: convert, run, compare, report.

    Leaves in the folder: the SavedModel, a .tflite for every scheme that can be made of it, conversion.json,
    reference.json, benchmark.json and report.html.

    \b
    Example:
      edgetf demo -o demo
      edgetf demo --model gru -o gru
    """
    from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
    from edgetf.benchmarks.check import check, exit_code
    from edgetf.benchmarks.reference import ReferenceOptions, make_reference
    from edgetf.benchmarks.report import write_report
    from edgetf.benchmarks.verdict import Budgets
    from edgetf.cli.results import show_benchmark
    from edgetf.convert.convert import ConvertOptions, convert
    from edgetf.device.devices import find_device
    from edgetf.files import to_text
    from edgetf.models.run import Run
    from edgetf.models.training import in_words, train_and_export
    from edgetf.schemes import SCHEMES

    begin = perf_counter()
    model, saved_model, test = out / "model", out / "saved_model", out / "model" / "test.npz"
    with progress("1/5 Training") as on_event:
        training = train_and_export(name, model, saved_model, force, Run(on_event))
    with progress("2/5 Converting", len(SCHEMES)) as on_event:
        convert(saved_model, out, ConvertOptions(samples=model / "train.npz", force=force), on_event)
    with progress("3/5 Reference") as on_event:
        make_reference(saved_model, test, out, ReferenceOptions(force=force), on_event)
    with progress("4/5 Measuring") as on_event:
        document = benchmark([out], find_device("local"), out, BenchmarkOptions(reference=out, force=force), on_event)
    with progress("5/5 Report"):
        write_report(out, out / "report.html", force)
    code = exit_code(check(document, Budgets(), explicit_drop=False))
    if as_json:
        click.echo(to_text(document), nl=False)
        return code
    print_lines(f"Trained {name} on {training.train_samples:,} samples: {in_words(training)}.")
    show_benchmark(document)
    if name == "dqn":
        _show_games(out, [result.variant for result in document.results if result.bytes])
    print_lines(f"Done in {perf_counter() - begin:.0f} s. Open {escape(str(out / 'report.html'))} in a browser.")
    return code


def _show_games(out: Path, variants: list[str]) -> None:
    """What the variants' own play comes to, on the runner's interpreter."""
    from edgetf.device.greedy import greedy_policy
    from edgetf.models.cartpole import INPUT, play

    for variant in variants:
        returns, _ = play(greedy_policy(out / f"{variant}.tflite", INPUT, (4,)), _GAMES, seed=0)
        print_lines(
            f"{escape(variant)}: mean return {returns.mean():.0f} over {_GAMES} games, the least {returns.min():.0f}."
        )
