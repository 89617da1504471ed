"""`edgetf demo`: a model of the zoo, trained, and taken through all steps of `edgetf run`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, no_wait_option, print_lines, progress

_GAMES = 20  # games that each variant of dqn plays


@click.command()
@click.option("--model", "name", default="cnn", show_default=True, help="A model of `edgetf models list`.")
@click.option("-o", "--out", type=PATH, default=Path("demo"), show_default=True, help="Folder for all files.")
@no_wait_option
@force_option
@json_option
def demo(name: str, out: Path, no_wait: bool, force: bool, as_json: bool) -> int:
    """Train a model of the zoo, and take it through all steps: convert, compare, measure, tune, report, bundle.

    The folder then has the model, its samples, a plan (edgetf.toml) that `edgetf run` repeats, the file to ship with
    its bundle, and report.html. For your own model: edgetf run MODEL --samples TRAIN --test TEST.

    \b
    Example:
      edgetf demo -o demo
      edgetf demo --model gru -o gru
    """
    from edgetf.errors import EdgetfError
    from edgetf.files import to_plain
    from edgetf.models.run import Run
    from edgetf.models.training import in_words, train_and_export
    from edgetf.models.zoo import find_zoo_model
    from edgetf.plans.page import PAGE
    from edgetf.plans.run import run

    if Path(name).exists():
        raise EdgetfError(
            f"{name} is not a model of the zoo", f"edgetf run {name} --samples TRAIN --test TEST -o {out}"
        )
    find_zoo_model(name)  # before anything is written
    with progress("Training") as on_event:
        training = train_and_export(name, out / "model", out / "saved_model", force, Run(on_event))
    if not as_json:
        print_lines(f"Trained {escape(name)} on {training.train_samples:,} samples: {escape(in_words(training))}.")
    train, test = (out / "model" / f"{part}.npz" for part in ("train", "test"))
    found = run(out / "saved_model", out, samples=train, test=test, no_wait=no_wait, force=force)
    if as_json:
        click.echo(json.dumps({"exit_code": int(found.exit_code), **to_plain(found.document)}, indent=1))
        return found.exit_code
    if name == "dqn":
        _show_games([found.folder / one.model / one.device for one in found.values()])
    found.show()
    print_lines(f"Open {escape(str(out / PAGE))} in a browser; run it again, also with other budgets: edgetf run {out}")
    return found.exit_code


def _show_games(places: list[Path]) -> None:
    """Print the returns of games that the variants play in the runner's interpreter."""
    from edgetf.device.greedy import greedy_policy
    from edgetf.models.cartpole import INPUT, play

    for file in sorted(path for place in places for path in place.glob("variants/*.tflite")):
        returns, _ = play(greedy_policy(file, INPUT, (4,)), _GAMES, seed=0)
        mean, least = returns.mean(), returns.min()
        print_lines(f"{escape(file.stem)}: mean return {mean:.0f} over {_GAMES} games, minimum {least:.0f}.")
