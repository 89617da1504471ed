"""SavedModels that tests write, and change as a hostile file would be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from edgetf.conversion.effects import Effect, find_effects

X = tf.TensorSpec([None, 3], tf.float32, name="x")


def save(call: Callable[[Any], Any], out: Path, spec: Any = X, **parts: Any) -> Path:
    """Save a module with `parts` whose signature calls `call`."""
    module = tf.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    module.call = tf.function(lambda x: {"y": call(x)}).get_concrete_function(spec)
    tf.saved_model.save(module, str(out), signatures={"serving_default": module.call})
    return out


def vocabulary(folder: Path) -> Path:
    """A model with a table that its file, an asset, fills."""
    (folder / "vocabulary.txt").write_text("a\nb\n")
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    first = tf.lookup.TextFileInitializer(str(folder / "vocabulary.txt"), tf.string, whole, tf.int64, number)
    table = tf.lookup.StaticVocabularyTable(first, 2)
    return save(table.lookup, folder / "model", tf.TensorSpec([None], tf.string, name="x"), table=table)


def changed(model: Path, out: Path, change: Callable[[Any], None]) -> tuple[Effect, ...]:
    """The effects in a copy of `model` whose protocol buffer was changed."""
    shutil.copytree(model, out)
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((out / "saved_model.pb").read_bytes())
    change(proto)
    (out / "saved_model.pb").write_bytes(proto.SerializeToString())
    return find_effects(out)
