"""`edgetf models list | train | export`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetf.cli.console import (
    PATH,
    Integer,
    Number,
    escape,
    force_option,
    json_option,
    nan_option,
    print_lines,
    print_note,
    print_table,
    progress,
    trust_option,
)
from edgetf.defaults import FINE_TUNING_EPOCHS

if TYPE_CHECKING:
    from edgetf.models.hardware import Hardware

_HARDWARE = (
    click.option("--gpu", type=Integer(-1), metavar="N", help="Use only GPU N, from 0; -1 uses none."),
    click.option("--memory-growth", is_flag=True, help="Allocate a GPU's memory as needed, not all at once."),
    click.option(
        "--memory-limit",
        type=Integer(1),
        metavar="MB",
        help="Memory limit of a logical GPU; needed to split one.",
    ),
    click.option("--logical-devices", type=Integer(1), metavar="N", help="Split the GPU, or the CPU, into N."),
    click.option("--strategy", type=click.Choice(["mirrored", "multiworker", "tpu"]), help="Distributed training."),
)


def _hardware_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `tf.config` and `tf.distribute`, which the command receives as one `hardware`."""

    @wraps(command)
    def packed(
        gpu: int | None,
        memory_growth: bool,
        memory_limit: int | None,
        logical_devices: int | None,
        strategy: str | None,
        **others: Any,
    ) -> Any:
        from edgetf.models.hardware import Hardware, StrategyName

        chosen = StrategyName(strategy) if strategy else None
        return command(hardware=Hardware(gpu, memory_growth, memory_limit, logical_devices, chosen), **others)

    for option in reversed(_HARDWARE):
        packed = option(packed)
    return packed


@click.group()
def models() -> None:
    """The zoo: models to train here, on data that needs no download.

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
    print_table(
        "Models",
        ["name", "what it shows", "data"],
        [[m.name, m.summary, m.data] for m in ZOO.values()],
        long=["what it shows", "data"],
    )


@models.command()
@click.argument("model", metavar="NAME_OR_FILE")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for the model and its samples.")
@click.option("--qat", is_flag=True, help="Quantization-aware training, with int8 arithmetic.")
@click.option(
    "--prune",
    type=Number(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Set this share of each layer's weights to zero.",
)
@click.option(
    "--cluster",
    type=Integer(2, 256),
    metavar="N",
    help="Cluster each layer's weights into N distinct values, such as 16.",
)
@click.option(
    "--epochs",
    type=Integer(1),
    help=f"Epochs of each of these three (default: {FINE_TUNING_EPOCHS}), or of a shorter training.",
)
@click.option("--samples", metavar="SOURCE", help="Labelled training samples, for your own file.")
@click.option("--test", metavar="SOURCE", help="Labelled test samples, for your own file.")
@click.option(
    "--tensorboard/--no-tensorboard",
    default=True,
    help="Write scalars and the graph to OUT/logs (default); not with --qat, --prune, --cluster.",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Also write a profile of the first batches to OUT/logs (not for linear, dqn, keras_pipeline).",
)
@_hardware_options
@nan_option
@trust_option
@force_option
@json_option
def train(
    model: str,
    out: Path,
    qat: bool,
    prune: float | None,
    cluster: int | None,
    epochs: int | None,
    samples: str | None,
    test: str | None,
    tensorboard: bool,
    profile: bool,
    hardware: Hardware,
    allow_nan: bool,
    trust: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Train a model of the zoo, or compress a trained model with tfmot.

    Writes the model, calibration samples (train.npz), test samples (test.npz) and training.json. With --qat, --prune or
    --cluster (or several), the trained model is compressed by tfmot, and saved_model/ is the model to convert. Then
    NAME_OR_FILE may also be your own .keras or .h5 file, or module:function, which returns a model.

    After each epoch the state of the training is saved to OUT/checkpoints, which is removed at the end. After an
    interruption, the same command resumes from there and reaches the same weights; --force starts over. With --strategy
    multiworker, run it on every machine, with TF_CONFIG set, on a shared folder.

    \b
    Example:
      edgetf models train cnn -o cnn
      edgetf models train cnn --strategy mirrored --logical-devices 2 -o cnn
      edgetf models train mobilenet --qat -o qat
      edgetf models train model.keras --prune 0.5 --samples train.npz --test test.npz -o pruned
    """
    from edgetf.files import to_text
    from edgetf.models.compression import Compression, train_compressed
    from edgetf.models.hardware import Hardware as Plain
    from edgetf.models.hardware import configure
    from edgetf.models.run import Run
    from edgetf.models.training import in_words, refuse_mistakes, train_resumable
    from edgetf.models.zoo import ZOO

    compressed = qat or prune is not None or cluster is not None
    if compressed and (profile or not tensorboard or hardware != Plain()):
        raise click.UsageError(
            "--qat, --prune and --cluster choose their own hardware, and have no logs and no profile"
        )
    if model in ZOO and (samples or test or allow_nan):
        raise click.UsageError(f"--samples, --test and --allow-nan are for your own file: {model} has its own data")
    with progress("Training") as on_event:
        if compressed:
            compression = Compression(qat, prune, cluster, epochs or FINE_TUNING_EPOCHS)
            training = train_compressed(
                model,
                out,
                compression,
                on_event,
                samples=samples,
                test=test,
                allow_nan=allow_nan,
                trust=trust,
                force=force,
            )
        else:
            refuse_mistakes(model, out, force)
            strategy, chosen = configure(hardware)
            run = Run(on_event, profile=profile, strategy=strategy, epochs=epochs, hardware=chosen)
            training = train_resumable(model, out, force, run, logs=tensorboard or profile)
    if as_json:
        click.echo(to_text(training), nl=False)
        return
    where = f" {training.hardware}" if training.hardware else ""
    print_lines(f"Trained {escape(model)} in {training.seconds:.0f} s{where}: {in_words(training)}.")
    print_lines(f"Written to {escape(str(out))}.")


@models.command()
@click.argument("name_or_file")
@click.option("-o", "--out", type=PATH, metavar="SAVED_MODEL", help="Folder for the SavedModel.")
@click.option("--serving", type=PATH, metavar="MODELS_DIR", help="Export to MODELS_DIR/NAME/N for TensorFlow Serving.")
@click.option("--name", help="For --serving: the model's name. [default: that of the file]")
@click.option("--version", type=Integer(1), help="For --serving: the version. [default: the next free one]")
@trust_option
@force_option
@json_option
def export(
    name_or_file: str,
    out: Path | None,
    serving: Path | None,
    name: str | None,
    version: int | None,
    trust: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Export a .keras or .h5 file, or a model of the zoo (which is trained first), to a SavedModel.

    --serving exports to a folder of versions that a running server watches. It also accepts a SavedModel.

    \b
    Example:
      edgetf models export cnn/model.keras -o saved_model
      edgetf models export linear -o linear_model
      edgetf models export cnn/model.keras --serving served --name digits
    """
    if (out is None) == (serving is None) or (serving is None and (name or version)):
        raise click.UsageError("give either -o, or --serving (and optionally --name and --version)")
    if serving is not None:
        from edgetf.models.serving import export_for_serving

        base = serving / (name or Path(name_or_file).stem)
        with progress("Exporting") as on_event:
            out = export_for_serving(name_or_file, base, version, force, on_event, trust=trust)
        _print_exported(out, as_json)
        return
    assert out is not None
    from edgetf.conversion import keras_file
    from edgetf.models.export import export_file, export_trained

    file = Path(name_or_file)
    with progress("Exporting") as on_event:
        if keras_file.is_keras_file(file):
            notes = export_file(file, out, force, on_event, trust=trust)
            for note in notes:
                print_note(f"{file}: {note}")
        else:
            export_trained(name_or_file, out, force, on_event)
    _print_exported(out, as_json)


def _print_exported(out: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"saved_model": str(out)}))
        return
    print_lines(f"Exported to {escape(str(out))}.")
