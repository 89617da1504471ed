"""`edgetf samples show | convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetf.cli.console import PATH, escape, json_option, print_lines, print_table

if TYPE_CHECKING:
    from edgetf.results import TensorSpec

_model_option = click.option("--model", metavar="MODEL", help="The SavedModel that foreign samples are to fit.")
_signature_option = click.option("--signature", metavar="NAME", help="Its signature. [default: as for convert]")


@click.group()
def samples() -> None:
    """Samples: what is in them, and from one format to another.

    \b
    Wherever samples are asked for, SOURCE is one of:
      samples.npz                          arrays by the model's input names, labels under `labels`
      samples.tfrecord[.gz]                a TFRecord file, or the shards samples-00000-of-00004.tfrecord
      'shards/train-*.tfrecord', folder    a pattern, or a folder with one set of shards
      'folder:PATH?scale=1/255'            images, a subfolder for each class
      'tfds:NAME?split=test&data_dir=PATH' a data set of TensorFlow Datasets that is prepared there
      module:function                      returns a dict of arrays, or (dict, labels)
    """


@samples.command()
@click.argument("source")
@_model_option
@_signature_option
@json_option
def show(source: str, model: str | None, signature: str | None, as_json: bool) -> None:
    """Show what SOURCE holds: names, types, shapes, classes, digest.

    \b
    Example:
      edgetf samples show train.npz
      edgetf samples show 'folder:photos?scale=1/255' --model saved_model
    """
    from edgetf.samples import LABELS, count_classes, load_samples, make_samples, read_arrays

    inputs = _inputs(model, signature)
    if inputs is None:
        arrays = read_arrays(source, None)
        labels = arrays.pop(LABELS, None)
        found = make_samples(source, arrays, labels)
    else:
        found = load_samples(source, inputs)
    everything = found.inputs if found.labels is None else {**found.inputs, LABELS: found.labels}
    classes = count_classes(found)
    if as_json:
        told = {name: {"dtype": a.dtype.name, "shape": list(a.shape)} for name, a in everything.items()}
        document = {"source": source, "n": len(found), "digest": found.digest, "arrays": told, "classes": classes}
        click.echo(json.dumps(document, indent=1))
        return
    rows = [[escape(name), a.dtype.name, str(list(a.shape[1:]))] for name, a in everything.items()]
    print_table(escape(f"{len(found)} samples of {source}"), ["name", "type", "one sample"], rows)
    if classes:
        print_lines(f"{len(classes)} classes: {', '.join(f'{name} ({n})' for name, n in classes.items())}")
    print_lines(f"digest {found.digest}")


@samples.command()
@click.argument("source")
@click.argument("out", type=PATH)
@click.option("--shards", type=click.IntRange(1, 99999), default=1, show_default=True, help="Files of a TFRecord set.")
@_model_option
@_signature_option
@click.option("--force", is_flag=True, help="Replace what is there.")
def convert(source: str, out: Path, shards: int, model: str | None, signature: str | None, force: bool) -> None:
    """Write the samples of SOURCE to OUT, whose name says how: .npz, .tfrecord or .tfrecord.gz.

    Beside TFRecords a .json is written that says what they hold. Records of others, images and data sets need
    --model, whose signature says what is an input.

    \b
    Example:
      edgetf samples convert train.npz train.tfrecord.gz --shards 4
      edgetf samples convert train.tfrecord.gz again.npz
    """
    from edgetf.samples import LABELS, load_samples, read_arrays, write_arrays

    inputs = _inputs(model, signature)
    if inputs is None:
        arrays = read_arrays(source, None)
    else:
        found = load_samples(source, inputs)
        arrays = found.inputs if found.labels is None else {**found.inputs, LABELS: found.labels}
    written = write_arrays(out, arrays, shards, force)
    print_lines(f"{written.n} samples written to {escape(str(out))}, digest {written.digest[:12]}")


def _inputs(model: str | None, signature: str | None) -> Sequence[TensorSpec] | None:
    if model is None:
        return None
    from edgetf.convert.hub import find_model
    from edgetf.convert.savedmodel import read_source

    return read_source(find_model(model), signature).inputs
