"""`edgetf samples show | convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetf.cli.console import (
    PATH,
    Integer,
    escape,
    json_option,
    nan_option,
    print_lines,
    print_table,
    progress,
    trust_option,
)

if TYPE_CHECKING:
    from edgetf.results import TensorSpec

_model_option = click.option("--model", metavar="MODEL", help="The model for samples that edgetf did not write.")
_signature_option = click.option("--signature", metavar="NAME", help="The model's signature. [default: as for convert]")


@click.group()
def samples() -> None:
    """Show samples, or convert them to another format.

    \b
    In all commands, SOURCE is one of:
      samples.npz                          arrays by the model's input names, labels under `labels`,
                                           those of one output under `labels_OUTPUT`
      samples.tfrecord[.gz]                a TFRecord file, or the shards samples-00000-of-00004.tfrecord
      'shards/train-*.tfrecord', folder    a pattern, or a folder with one set of shards
      'folder:PATH?scale=1/255'            images, with a subfolder for each class
      'tfds:NAME?split=test&data_dir=PATH' a prepared data set of TensorFlow Datasets
      module:function                      returns a dict of arrays, or (dict, labels)

    \b
    Example:
      edgetf samples show test.npz
      edgetf samples convert test.npz test.tfrecord.gz --shards 4
    """


@samples.command()
@click.argument("source")
@_model_option
@_signature_option
@nan_option
@trust_option
@json_option
def show(source: str, model: str | None, signature: str | None, allow_nan: bool, trust: bool, as_json: bool) -> None:
    """Show the content of SOURCE: names, types, shapes, classes, digest.

    \b
    Example:
      edgetf samples show train.npz
      edgetf samples show 'folder:photos?scale=1/255' --model saved_model
    """
    from edgetf.samples import count_classes, load_samples, make_samples, read_arrays, split_arrays

    inputs = _inputs(model, signature, trust)
    if inputs is None:
        found = make_samples(source, *split_arrays(read_arrays(source, None)), allow_nan=allow_nan)
    else:
        found = load_samples(source, inputs, allow_nan)
    everything = found.arrays()
    classes = count_classes(found)
    if as_json:
        described = {name: {"dtype": a.dtype.name, "shape": list(a.shape)} for name, a in everything.items()}
        document = {"source": source, "n": len(found), "digest": found.digest, "arrays": described, "classes": classes}
        click.echo(json.dumps(document, indent=1))
        return
    rows = [[escape(name), a.dtype.name, str(list(a.shape[1:]))] for name, a in everything.items()]
    print_table(escape(f"{len(found)} samples of {source}"), ["name", "type", "one sample"], rows)
    if classes:
        print_lines(f"{len(classes)} classes: {escape(', '.join(f'{name} ({n})' for name, n in classes.items()))}")
    print_lines(f"digest {found.digest}")


@samples.command()
@click.argument("source")
@click.argument("out", type=PATH)
@click.option("--shards", type=Integer(1, 99999), default=1, show_default=True, help="Files of a TFRecord set.")
@_model_option
@_signature_option
@nan_option
@trust_option
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
def convert(
    source: str,
    out: Path,
    shards: int,
    model: str | None,
    signature: str | None,
    allow_nan: bool,
    trust: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write the samples of SOURCE to OUT, in the format of its suffix: .npz, .tfrecord or .tfrecord.gz.

    A .json file beside TFRecords describes their content. Images, data sets, and records that edgetf did not write need
    --model, whose signature defines the inputs.

    \b
    Example:
      edgetf samples convert train.npz train.tfrecord.gz --shards 4
      edgetf samples convert train.tfrecord.gz again.npz
    """
    from edgetf.samples import load_samples, read_arrays, write_arrays

    inputs = _inputs(model, signature, trust)
    arrays = read_arrays(source, None) if inputs is None else load_samples(source, inputs, allow_nan).arrays()
    written = write_arrays(out, arrays, shards, force, allow_nan)
    if as_json:
        click.echo(json.dumps({"samples": str(out), "n": written.n, "digest": written.digest}))
        return
    print_lines(f"{written.n} samples written to {escape(str(out))}, digest {written.digest[:12]}")


def _inputs(model: str | None, signature: str | None, trust: bool) -> Sequence[TensorSpec] | None:
    if model is None:
        return None
    from edgetf.conversion.early import read_inputs
    from edgetf.conversion.hub import find_model

    with progress("Model") as on_event:
        return read_inputs(find_model(model), signature, trust, on_event)
