"""Models as a user has them. In: a live model or a path. Out: the path of a SavedModel or Keras file.

A live Keras model is saved to the cache as `.keras`. If its classes exist only in this process, it is exported to a
SavedModel instead. Its weights, optimizer and training flags do not change.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgetf.api.cache import store
from edgetf.api.samples import Inputs
from edgetf.conversion import keras_file
from edgetf.conversion.early import read_inputs
from edgetf.conversion.hub import find_model
from edgetf.conversion.keras_export import export_model
from edgetf.conversion.source_child import read_source_safely
from edgetf.errors import EdgetfError
from edgetf.results import TensorSpec

_LIBRARIES = ("keras", "tf_keras")


def path_of_model(model: Any) -> Path:
    """The path of `model`: a path, `hub:...`, a Keras model (Keras 3 or tf_keras), or a tf.Module with a signature.

    Raises EdgetfError for anything else, and for a model whose input shapes are not known.
    """
    if isinstance(model, (str, os.PathLike)):
        return find_model(os.fspath(model))
    if _is_keras(model):
        return _save_keras(model)
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(model, tensorflow.Module):
        return _save_module(tensorflow, model)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    hint = "give a Keras model, a tf.Module with a signature, or the path of a SavedModel, .keras or .h5 file"
    raise EdgetfError(f"an object of {kind} is not a model", hint)


def inputs_of(model: Any, path: Path, signature: str | None, trust: bool) -> Inputs:
    """The inputs of `model`, whose path is `path`; read when they are first needed."""

    def ask() -> Sequence[TensorSpec]:
        known = getattr(model, "inputs", None) if _is_keras(model) else None
        if known:
            return [TensorSpec(one.name.partition(":")[0], tuple(one.shape), _dtype(one)) for one in known]
        return read_inputs(path, signature, trust, lambda event: None)

    return ask


def _dtype(tensor: Any) -> str:
    return getattr(tensor.dtype, "name", None) or str(tensor.dtype)


def _is_keras(model: Any) -> bool:
    names = {(cls.__module__.partition(".")[0], cls.__name__) for cls in type(model).__mro__}
    return any((library, "Model") in names for library in _LIBRARIES)


def _save_keras(model: Any) -> Path:
    """Save the model as a file; as a SavedModel if a file could be loaded only with the user's code."""
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in str(model.name))
    if not model.built:
        hint = "call it once on real data, or give its first layer an Input"
        raise EdgetfError(f"the input shapes of the model {name!r} are not known", hint)
    if not _has_own_code(model):
        file = store("models", f"{name}.keras", model.save, keras_file.read_digest)
        if not keras_file.read_header(file).findings:
            return file
    return store("models", name, lambda place: export_model(model, place), _digest)


def _has_own_code(model: Any) -> bool:
    """Whether the class of a layer, including nested layers, belongs to neither Keras nor TensorFlow."""
    layers = model._flatten_layers(include_self=True, recursive=True)
    return any(type(layer).__module__.partition(".")[0] not in _LIBRARIES for layer in layers)


def _save_module(tensorflow: Any, module: Any) -> Path:
    """Save a tf.Module as a SavedModel. Its signature is that of `__call__`, or of the only function with one."""
    values = {name: getattr(module, name, None) for name in {*dir(type(module)), *vars(module)}}
    functions = {name: value for name, value in values.items() if getattr(value, "input_signature", None) is not None}
    chosen = functions.get("__call__") or (next(iter(functions.values())) if len(functions) == 1 else None)
    if chosen is None:
        found = ", ".join(sorted(functions)) or "none"
        hint = "decorate __call__ with tf.function(input_signature=[...]), or save the module and give its path"
        raise EdgetfError(f"the signature of the module is ambiguous: functions with one are {found}", hint)

    def write(place: Path) -> None:
        tensorflow.saved_model.save(module, str(place), signatures=chosen)

    return store("models", type(module).__name__, write, _digest)


def _digest(saved_model: Path) -> str:
    """The digest of the graph and the weights: the bytes of two exports differ."""
    return read_source_safely(saved_model, None).digest
