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
@click.argument("model", metavar="NAME_OR_FILE")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for the model and its samples.")
@click.option("--qat", is_flag=True, help="Train with the arithmetic of int8 (quantization-aware training).")
@click.option("--prune", type=float, metavar="SHARE", help="Make this share of each layer's weights zero: 0.5 is half.")
@click.option("--cluster", type=int, metavar="N", help="Leave each layer N distinct weights: 16 is usual.")
@click.option("--epochs", type=int, default=5, show_default=True, help="Epochs of each of these three.")
@click.option("--samples", metavar="SOURCE", help="Labelled samples to train on, for a file of your own.")
@click.option("--test", metavar="SOURCE", help="Labelled samples to judge on, for a file of your own.")
@force_option
@json_option
def train(
    model: str,
    out: Path,
    qat: bool,
    prune: float | None,
    cluster: int | None,
    epochs: int,
    samples: str | None,
    test: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Train a model of the zoo, or make a trained one fit for the edge with tfmot.

    Writes the model, the samples to calibrate on (train.npz) and to judge on (test.npz), and training.json. With --qat,
    --prune or --cluster (or several) the trained model goes on with tfmot, and saved_model/ is what to convert. Then
    NAME_OR_FILE may also be a .keras or .h5 file of yours, or module:function, which returns a model.

    \b
    Example:
      edgetf models train cnn -o cnn
      edgetf models train mobilenet --qat -o qat
      edgetf models train model.keras --prune 0.5 --samples train.npz --test test.npz -o pruned
    """
    from edgetf.files import to_text
    from edgetf.models.compression import Compression, train_compressed
    from edgetf.models.run import Run
    from edgetf.models.training import train as run

    with progress("Training") as on_event:
        if qat or prune is not None or cluster is not None:
            compression = Compression(qat, prune, cluster, epochs)
            training = train_compressed(model, out, compression, on_event, samples=samples, test=test, force=force)
        else:
            training = run(model, out, force, Run(on_event))
    if as_json:
        click.echo(to_text(training), nl=False)
        return
    told = ", ".join(f"{metric} {value:.4g}" for metric, value in training.metrics.items())
    print_lines(f"Trained {escape(model)} in {training.seconds:.0f} s: {told}. Written to {escape(str(out))}.")


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
