"""A SavedModel's signature: which one, its inputs and outputs; and a copy of it for inference one sample at a time.

The copy has its batch axis fixed at 1: shapes are then known to the converter, the graph loses its
SHAPE / STRIDED_SLICE / PACK ops, and delegates that refuse dynamic shapes take it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetf.convert.backend import load_tensorflow
from edgetf.errors import EdgetfError, nearest
from edgetf.files import sha256_tree
from edgetf.results import Source, TensorSpec

_DEFAULT = "serving_default"


def read_source(saved_model: Path, signature: str | None) -> Source:
    """The SavedModel's digest and the chosen signature (by default `serving_default`, or the only one).

    Raises EdgetfError for what is not a SavedModel and for a signature that is missing or not clear.
    """
    load_tensorflow()
    signatures = _read_signatures(saved_model)
    key = _choose(saved_model, signatures, signature)
    chosen = signatures[key]
    inputs = tuple(_spec(name, info) for name, info in sorted(chosen.inputs.items()))
    outputs = tuple(_spec(name, info) for name, info in sorted(chosen.outputs.items()))
    return Source(str(saved_model), sha256_tree(saved_model), key, inputs, outputs)


def save_for_single_samples(source: Source, out: Path) -> Path:
    """Write a SavedModel at `out` that has `source`'s signature with every free batch axis fixed at 1.

    Returns `out`, or the source itself when no batch axis is free.
    """
    saved_model = Path(source.path)
    if not any(spec.shape and spec.shape[0] is None for spec in source.inputs):
        return saved_model
    tf = load_tensorflow()
    model = tf.saved_model.load(str(saved_model))
    function = model.signatures[source.signature]
    specs = {
        spec.name: tf.TensorSpec(spec.shape and (spec.shape[0] or 1, *spec.shape[1:]), spec.dtype, name=spec.name)
        for spec in source.inputs
    }
    wrapper = tf.Module()
    wrapper.model = model  # keeps the variables that the function reads
    single = tf.function(lambda **inputs: function(**inputs)).get_concrete_function(**specs)
    tf.saved_model.save(wrapper, str(out), signatures={source.signature: single})
    return out


def _read_signatures(saved_model: Path) -> dict[str, Any]:
    """SignatureDefs by name, read from `saved_model.pb` without loading the graph."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    hint = "export one with: model.export('saved_model')"
    file = saved_model / "saved_model.pb"
    if not saved_model.exists():
        raise EdgetfError(f"{saved_model} does not exist", hint)
    if saved_model.is_dir() and not any(saved_model.iterdir()):
        raise EdgetfError(f"{saved_model} is an empty folder, not a SavedModel", hint)
    if not file.is_file():
        raise EdgetfError(f"{saved_model} is not a SavedModel: it has no saved_model.pb", hint)
    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise EdgetfError(f"{file} is damaged: it is not a SavedModel protocol buffer", "export it again") from error
    graphs = [graph for graph in proto.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not graphs:
        raise EdgetfError(f"{saved_model} has no graph tagged 'serve'", "export it for serving")
    internal = ("__saved_model_init_op", "__saved_model_train_op")
    return {name: d for name, d in graphs[0].signature_def.items() if d.inputs and name not in internal}


def _choose(saved_model: Path, signatures: dict[str, Any], asked: str | None) -> str:
    if not signatures:
        hint = "save it with: tf.saved_model.save(module, path, signatures=module.call.get_concrete_function(...))"
        raise EdgetfError(f"{saved_model} has no signature with inputs", hint)
    if asked is not None and asked not in signatures:
        raise EdgetfError(f"{saved_model} has no signature {asked!r}", nearest(asked, sorted(signatures)))
    if asked is not None:
        return asked
    if _DEFAULT in signatures:
        return _DEFAULT
    if len(signatures) > 1:
        known = ", ".join(sorted(signatures))
        raise EdgetfError(f"{saved_model} has several signatures: {known}", "choose one with --signature NAME")
    return next(iter(signatures))


def _spec(name: str, info: Any) -> TensorSpec:
    tf = load_tensorflow()
    shape = tuple(None if axis.size < 0 else int(axis.size) for axis in info.tensor_shape.dim)
    return TensorSpec(name, shape, tf.dtypes.as_dtype(info.dtype).name)
