"""A `.keras` or `.h5` file, exported to a SavedModel by the Keras generation that wrote it.

Keras 3 and Keras 2 (`tf_keras`) cannot share a process: TF_USE_LEGACY_KERAS must be set before TensorFlow is
imported. `keras_generation` tells which is needed, without loading either.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgetf.convert.backend import load_tensorflow
from edgetf.errors import EdgetfError, MissingExtraError

SUFFIXES = (".keras", ".h5", ".hdf5")
_RESAVE = "save the whole model again with: model.save('model.keras')"


def is_keras_file(path: Path) -> bool:
    """Whether the name says that this is a Keras file and not a SavedModel."""
    return path.suffix in SUFFIXES and not path.is_dir()


def keras_generation(path: Path) -> int:
    """2 or 3: the Keras generation that wrote the file.

    Raises EdgetfError for a file that is missing, damaged, or holds weights only.
    """
    if not path.is_file():
        raise EdgetfError(f"{path} does not exist", "give a SavedModel folder, a .keras or an .h5 file")
    version = _version_in_zip(path) if path.suffix == ".keras" else _version_in_h5(path)
    return 2 if version.startswith("2") else 3


def is_trained_for_int8(path: Path) -> bool:
    """Whether the file holds tfmot's wrappers for quantization-aware training (which load from `.h5` only)."""
    return path.suffix != ".keras" and b"QuantizeWrapper" in _config_in_h5(path)


def environment(generation: int) -> dict[str, str]:
    """Environment variables for the process that is to load a file of this generation."""
    return {"TF_USE_LEGACY_KERAS": "1" if generation == 2 else "0"}


def register_classes(modules: Sequence[str]) -> None:
    """Import the modules whose Keras classes a file may name, so that Keras finds them."""
    load_tensorflow()
    for module in modules:
        importlib.import_module(module)


def export_keras_file(path: Path, out: Path, trust: bool = False) -> None:
    """Load `path` and export it to the SavedModel `out`. The process must have the file's `environment`.

    A file that brings code (a marshalled Lambda) is refused unless `trust`: loading it would run that code.
    """
    load_tensorflow()
    name = "tf_keras" if os.environ.get("TF_USE_LEGACY_KERAS") == "1" else "keras"
    export_model(load_keras_file(path, name, trust), out)


def load_keras_file(path: Path, module: str, trust: bool = False) -> Any:
    """The model in the file `path`, loaded by `module`: "keras" or "tf_keras"."""
    try:
        keras = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(module.replace("_", "-"), "convert") from error
    try:
        with _tfmot_scope(path):
            return keras.models.load_model(path, compile=False, safe_mode=not trust)
    except (ValueError, TypeError, OSError, ImportError, AttributeError) as error:
        if "unsafe" in str(error).lower() or "safe_mode" in str(error):
            hint = "if you trust where it comes from, give --trust; it can do whatever you can"
            raise EdgetfError(f"{path} brings code of its own (a Lambda), which loading it would run", hint) from error
        reason = str(error).strip().split("\n")[0].split(". ")[0][:200]
        hint = "export it where its classes are defined (a model of the zoo: edgetf models export), and convert that"
        raise EdgetfError(f"{path} does not load in {module}: {reason}", hint) from error


@contextlib.contextmanager
def _tfmot_scope(path: Path) -> Iterator[None]:
    """Make tfmot's wrappers known while a file that was trained for int8 with them is loaded."""
    if not is_trained_for_int8(path):
        yield
        return
    try:
        import tensorflow_model_optimization as tfmot
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorflow-model-optimization", "tfmot") from error
    registered = importlib.import_module("tf_keras").utils.get_custom_objects()
    # the wrappers (tfmot 0.8.1) keep the bare name of a class that was registered as package>name
    with tfmot.quantization.keras.quantize_scope({name.rpartition(">")[2]: cls for name, cls in registered.items()}):
        yield


def export_model(model: Any, out: Path) -> None:
    """Export a Keras model to the SavedModel `out`. Raises EdgetfError for a model whose input shape is not known."""
    if any(cls.__module__.startswith("tf_keras") for cls in type(model).__mro__):
        model.export(str(out))
        return
    _call_once(model)
    model.export(str(out), format="tf_saved_model", verbose=False)


def _call_once(model: Any) -> None:
    """Call a subclassed Keras 3 model on zeros of the shape that it was built for.

    Keras 3.15 exports such a model only after a call, and a model that was loaded from a file has had none.
    """
    import keras

    if getattr(model, "inputs", None):  # functional and sequential models know their inputs
        return
    shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if not isinstance(shape, (list, tuple)) or not all(axis is None or isinstance(axis, int) for axis in shape):
        raise EdgetfError(
            "the input shape of the model is not known", "call it once on real data, then save or export it"
        )
    model(keras.ops.zeros([1, *(axis or 1 for axis in shape[1:])], dtype=model.input_dtype))


def _version_in_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise EdgetfError(f"{path} is not a .keras file", _RESAVE) from error


def _config_in_h5(path: Path) -> bytes:
    import h5py

    with h5py.File(path, "r") as file:
        config = file.attrs["model_config"]
        return config if isinstance(config, bytes) else str(config).encode()


def _version_in_h5(path: Path) -> str:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtraError("h5py", "convert") from error
    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise EdgetfError(f"{path} holds weights only, not a model", _RESAVE)
            version = file.attrs.get("keras_version", b"2")
            return version.decode() if isinstance(version, bytes) else str(version)
    except OSError as error:
        raise EdgetfError(f"{path} is not an HDF5 file", _RESAVE) from error
