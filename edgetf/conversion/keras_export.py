"""Load a Keras file and export it to a SavedModel for inference: `python -m edgetf.conversion.keras_export`.

In: a request, one JSON object on standard input, in a process of the file's Keras generation. Out: a SavedModel that
computes the same as `model(x, training=False)` (the two are compared), and notes on what the export changed. Keras's
own `model.export` is not used: it traces without `training`, which leaves random augmentation layers in the graph.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.backend import load_tensorflow
from edgetf.conversion import keras_config, keras_file
from edgetf.conversion.effects import refuse_effects
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.events import Answer, OnEvent, Phase, ignore
from edgetf.functions import from_here
from edgetf.process import EventPipe, HungError, leave, reporting, run_child
from edgetf.system import naming, refuse_full

_IDLE_S = 1800.0
_SAMPLES = 4  # generated samples that the export is compared on
_UNLIKE = 1e-3  # of the largest output: above the differences seen for float32 in another order
_HALF = "the model computes in half precision, which TFLite does not support; it was exported in float32"
_UNKNOWN_CLASS = re.compile(r"Could not locate|cannot be imported|Unknown \w+: |No module named")
_AFTER_REASON = re.compile(r"Full object config:|\n\s*(Call a|A)rguments received by ")
_COLORS = re.compile(r"\x1b\[\d*m")
_DEFINE = "export it where its classes are defined, and convert that (for a model of the zoo: edgetf models export)"
_LOAD = "load it where it was saved, with the same versions, and export it there: model.export('saved_model')"

_EXPORT = "export it where it was made, with model.export('saved_model'), and convert that"


@dataclass(frozen=True)
class ExportRequest:
    """The Keras file, the SavedModel to write, and modules whose classes the file may name."""

    model: str
    out: str
    trust: bool
    classes: tuple[str, ...] = ()


def export(path: Path, out: Path, on_event: OnEvent, *, trust: bool = False, classes: Sequence[str] = ()) -> list[str]:
    """Export the Keras file `path` to the SavedModel `out`, in a process of its Keras generation; returns notes.

    A file that contains code is rejected before anything is loaded, unless `trust`. Raises EdgetfError.
    """
    header = keras_file.read_header(path)
    keras_file.refuse_code(path, header, trust, classes)
    notes: list[str] = []

    def receive(answer: Answer) -> None:
        notes.extend(answer.fields["notes"])

    on_event(Phase(f"exporting {path.name}"))
    request = ExportRequest(str(path), str(out), trust, tuple(classes))
    env = {**keras_file.environment(header.generation), "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-m", "edgetf.conversion.keras_export"]
    try:
        ended = run_child(
            command, ignore, on_answer=receive, request=json.dumps(asdict(request)), env=env, idle_s=_IDLE_S
        )
    except HungError as error:
        raise EdgetfError(f"the export of {path} hung: {error}", "export it yourself: model.export(...)") from error
    if ended.code:
        raise EdgetfError(f"the export of {path} {ended.how}", ended.last_line or "it printed nothing")
    return notes


def export_keras_file(path: Path, out: Path, trust: bool = False, classes: Sequence[str] = ()) -> list[str]:
    """Load `path` and export it to the SavedModel `out`; returns notes. This process needs the file's `environment`."""
    model, notes = load_for_inference(path, trust, classes)
    export_model(model, out)
    refuse_effects(out, trust)
    return [*notes, *compare(model, out)]


def load_for_inference(path: Path, trust: bool = False, classes: Sequence[str] = ()) -> tuple[Any, list[str]]:
    """The model in the file `path` as it is exported, and notes on differences: half precision becomes float32."""
    module = "tf_keras" if os.environ.get("TF_USE_LEGACY_KERAS") == "1" else "keras"
    if not keras_config.read_header(path).half:
        return load_keras_file(path, module, trust, classes), []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        keras_config.to_float32(path, copy)
        return load_keras_file(copy, module, trust, classes), [_HALF]


def load_keras_file(path: Path, module: str, trust: bool = False, classes: Sequence[str] = ()) -> Any:
    """The model in the file `path`, loaded by `module`: "keras" or "tf_keras".

    `classes` are modules whose Keras classes the file may name. Raises EdgetfError for a file that contains code,
    unless `trust`: then the modules that it names are imported, also from the current folder.
    """
    header = keras_config.read_header(path)
    keras_file.refuse_code(path, header, trust, classes)
    load_tensorflow()
    try:
        keras = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(module.replace("_", "-"), "convert") from error
    named = [finding.module for finding in header.findings if finding.module and finding.module != "__main__"]
    try:
        with from_here():
            for one in (*classes, *named):
                importlib.import_module(one)
        with _tfmot_scope(header.int8):
            return keras.models.load_model(path, compile=False, safe_mode=not trust)
    except EdgetfError:
        raise
    except (Exception, SystemExit) as error:  # a layer, its module or TensorFlow can raise any exception
        if "unsafe" in str(error).lower() or "safe_mode" in str(error):
            hint = "if you trust its source, give --trust; the code can do whatever you can"
            raise EdgetfError(f"{path} contains code, which loading it would run", hint) from error
        hint = _DEFINE if _UNKNOWN_CLASS.search(str(error)) else _LOAD
        raise EdgetfError(f"{path} does not load in {module}: {_reason(error)}", hint) from error


def _reason(error: BaseException) -> str:
    """The reason in an error message: Keras puts the context before it and the layer's arguments after it."""
    text = _AFTER_REASON.split(_COLORS.sub("", str(error)))[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1].removeprefix("Exception encountered: ") if lines else type(error).__name__)[:300].rstrip()


@contextlib.contextmanager
def _tfmot_scope(needed: bool) -> Iterator[None]:
    """Register tfmot's wrappers while a file that was trained for int8 with them is loaded."""
    if not needed:
        yield
        return
    try:
        import tensorflow_model_optimization as tfmot
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorflow-model-optimization", "tfmot") from error
    registered = importlib.import_module("tf_keras").utils.get_custom_objects()
    # the wrappers (tfmot 0.8.1) store only the name of a class that was registered as package>name
    with tfmot.quantization.keras.quantize_scope({name.rpartition(">")[2]: cls for name, cls in registered.items()}):
        yield


def export_model(model: Any, out: Path) -> None:
    """Export a Keras model to the SavedModel `out`, for inference and any number of samples at once.

    If its layers do not allow that (a stateful LSTM), with the batch that its inputs have. Raises EdgetfError for a
    model whose input shape is not known, and one that cannot be exported.
    """
    if _is_keras2(model):
        archive, signature = _keras2_endpoint(model)
        _write(model, archive, signature, out)
        return
    import keras

    _call_once(model)
    archive, quiet = keras.export.ExportArchive(), {"verbose": False}
    signature = importlib.import_module("keras.src.export.export_utils").get_input_signature(model)
    batches = {one.name: one.shape[0] for one in getattr(model, "inputs", None) or () if one.shape and one.shape[0]}
    try:
        _write(model, archive, signature, out, **quiet)
    except EdgetfError:
        if not batches:
            raise

        def fixed(spec: Any) -> Any:
            shape = (batches.get(spec.name), *spec.shape[1:])
            return keras.layers.InputSpec(dtype=spec.dtype, shape=shape, name=spec.name)

        _write(model, keras.export.ExportArchive(), keras.tree.map_structure(fixed, signature), out, **quiet)


def _write(model: Any, archive: Any, signature: Any, out: Path, **options: Any) -> None:
    try:
        archive.track(model)
        archive.add_endpoint("serve", lambda *inputs: model(*inputs, training=False), signature)
        archive.write_out(str(out), **options)
    except Exception as error:  # of a layer, of Keras or of TensorFlow
        refuse_full(error)
        raise EdgetfError(f"the model cannot be exported: {_reason(error)}", _EXPORT) from error


def _is_keras2(model: Any) -> bool:
    return any(cls.__module__.startswith("tf_keras") for cls in type(model).__mro__)


def _keras2_endpoint(model: Any) -> tuple[Any, Any]:
    """The archive of Keras 2 and the signature that `model.export` (tf_keras 2.21) gives it."""
    import tensorflow as tf

    library = importlib.import_module("tf_keras.src.export.export_lib")
    if getattr(model, "inputs", None) and hasattr(model, "_is_graph_network"):
        signature = tf.nest.map_structure(library._make_tensor_spec, model.inputs)
        if isinstance(signature, list) and len(signature) > 1:
            signature = [signature]
    elif not (saved := model._get_save_spec()):
        raise EdgetfError("the input shape of the model is not known", "call it once on real data, then save it again")
    else:
        signature = [saved]
    return library.ExportArchive(), signature


def _call_once(model: Any) -> None:
    """Call a subclassed Keras 3 model on zeros of the shape that it was built for.

    Keras 3.15 exports such a model only after a call, and loading a model from a file does not call it.
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


# comparing the export with the model ----------------------------------------------------------------------------------


def compare(model: Any, saved_model: Path) -> list[str]:
    """A note if the SavedModel's outputs differ from `model(x, training=False)`, on generated samples."""
    try:
        return _compare(model, saved_model)
    except Exception as error:  # a model may reject generated samples; this check must not cost the export
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        return [f"the export was not compared with the model, which rejected generated samples: {reason}"]


def _compare(model: Any, saved_model: Path) -> list[str]:
    tf = load_tensorflow()
    loaded = tf.saved_model.load(str(saved_model))
    function = loaded.signatures["serving_default"]
    specs = function.structured_input_signature[1]
    inputs = {name: _made(spec) for name, spec in specs.items()}
    names = [getattr(one, "name", "").split(":")[0] for one in getattr(model, "inputs", None) or []]
    ordered = [inputs[name] for name in names] if set(names) == set(inputs) else list(inputs.values())
    fed: Any = ordered[0] if len(ordered) == 1 else inputs if set(names) == set(inputs) else ordered
    before = [np.asarray(value) for value in tf.nest.flatten(model(fed, training=False))]
    again = [np.asarray(value) for value in tf.nest.flatten(model(fed, training=False))]
    found = function(**{name: tf.constant(value) for name, value in inputs.items()})
    after = [np.asarray(value) for value in tf.nest.flatten(found)]
    if any(_apart(a, b) > _UNLIKE for a, b in zip(before, again, strict=True)):
        return ["the outputs differ from call to call (random, or a kept state): the export was not compared"]
    worst = max((min((_apart(a, b) for b in after), default=np.inf) for a in before), default=0.0)
    if worst > _UNLIKE:
        return [f"the exported model differs from model(x, training=False) by {worst:.1%} of its largest output"]
    return []


def _made(spec: Any) -> Any:
    """Samples from 0 to 1, or 0 and 1 for integers, which an embedding or a lookup accepts."""
    shape = [axis or (_SAMPLES if k == 0 else 8) for k, axis in enumerate(spec.shape)]
    random = np.random.default_rng(0)
    dtype = spec.dtype.as_numpy_dtype
    if np.issubdtype(dtype, np.floating):
        return random.uniform(0, 1, shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)


def _apart(one: Any, other: Any) -> float:
    """The largest difference, as a share of the largest value; infinite if the shapes differ."""
    if one.shape != other.shape or not np.issubdtype(one.dtype, np.number):
        return np.inf if one.shape != other.shape else float(np.any(one != other))
    a, b = one.astype(np.float64), other.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    return float(np.abs(a - b).max(initial=0.0) / max(float(np.abs(a).max(initial=0.0)), 1e-6))


def main() -> None:
    pipe = EventPipe()
    fields = json.loads(sys.stdin.read())
    request = ExportRequest(**{**fields, "classes": tuple(fields["classes"])})
    with reporting(pipe), naming(Path(request.out).parent):
        notes = export_keras_file(Path(request.model), Path(request.out), request.trust, request.classes)
        pipe.answer("exported", notes=notes)


if __name__ == "__main__":
    main()
    leave()
