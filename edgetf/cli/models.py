"""`edgetf models list | train | export`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, print_lines, print_table, progress


@click.group()
def models() -> None:
    """The zoo: models that are trained here, on data that needs no download.

    \b
    Example:
      edgetf models train cnn -o cnn
      edgetf models export cnn/model.keras -o saved_model
    """


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List the models of the zoo.

    \b
    Example:
      edgetf models list
    """
    from edgetf.models.zoo import ZOO

    if as_json:
        click.echo(json.dumps([{"name": m.name, "summary": m.summary, "data": m.data} for m in ZOO.values()], indent=1))
        return
    print_table("Models", ["name", "what it shows", "data"], [[m.name, m.summary, m.data] for m in ZOO.values()])


@models.command()
@click.argument("name")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for model.keras, train.npz, test.npz.")
@force_option
@json_option
def train(name: str, out: Path, force: bool, as_json: bool) -> None:
    """Train the model NAME of the zoo.

    Writes the model, the samples to calibrate on (train.npz) and to judge on (test.npz), and training.json.

    \b
    Example:
      edgetf models train cnn -o cnn
    """
    from edgetf.files import to_text
    from edgetf.models.training import train as run

    with progress("Training") as on_event:
        training = run(name, out, force, on_event)
    if as_json:
        click.echo(to_text(training), nl=False)
        return
    told = ", ".join(f"{metric} {value:.4g}" for metric, value in training.metrics.items())
    print_lines(f"Trained {name} in {training.seconds:.0f} s: {told}. Written to {escape(str(out))}.")


@models.command()
@click.argument("name_or_file")
@click.option("-o", "--out", type=PATH, required=True, metavar="SAVED_MODEL", help="Folder for the SavedModel.")
@force_option
@json_option
def export(name_or_file: str, out: Path, force: bool, as_json: bool) -> None:
    """Export a .keras or .h5 file, or a model of the zoo (which is trained first), to a SavedModel.

    \b
    Example:
      edgetf models export cnn/model.keras -o saved_model
      edgetf models export linear -o linear_model
    """
    from edgetf.convert import keras_file
    from edgetf.models.export import export_file, export_trained

    file = Path(name_or_file)
    with progress("Exporting") as on_event:
        if keras_file.is_keras_file(file):
            export_file(file, out, force, on_event)
        else:
            export_trained(name_or_file, out, force, on_event)
    if as_json:
        click.echo(json.dumps({"saved_model": str(out)}))
        return
    print_lines(f"Exported to {escape(str(out))}.")
