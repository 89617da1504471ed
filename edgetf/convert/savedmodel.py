"""A SavedModel's signature: which one, its inputs and outputs; and a copy of it with fixed shapes.

The batch axis is fixed at 1 unless asked otherwise: shapes are then known to the converter, the graph loses its
SHAPE / STRIDED_SLICE / PACK ops, recurrent networks convert, and delegates that refuse dynamic shapes take it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetf.convert.backend import load_tensorflow
from edgetf.errors import EdgetfError, nearest
from edgetf.files import sha256_tree
from edgetf.results import Source, TensorSpec

_DEFAULT = "serving_default"
_PROTO = "saved_model.pb"


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


def is_trained_for_int8(saved_model: Path) -> bool:
    """Whether the graph fakes its quantization, as quantization-aware training does: its ranges are learned."""
    proto = saved_model / _PROTO
    return proto.is_file() and b"FakeQuantWithMinMaxVars" in proto.read_bytes()


def compute_dtype(source: Source) -> str:
    """The floating-point types that the model's graph computes with, as "float32" or "float16 and float32"."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((Path(source.path) / _PROTO).read_bytes())
    graph = _serving_graph(Path(source.path), proto).graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    names = {types_pb2.DT_HALF: "float16", types_pb2.DT_BFLOAT16: "bfloat16", types_pb2.DT_DOUBLE: "float64"}
    found = {names[node.attr["T"].type] for node in (*graph.node, *nodes) if node.attr["T"].type in names}
    return " and ".join([*sorted(found), "float32"])


def fix_shapes(source: Source, shapes: Mapping[str, Sequence[int]]) -> Source:
    """`source` with the shapes that are to be converted: those given by input name, else a free batch axis is 1.

    Raises EdgetfError for an unknown input, and for a shape that the model does not take.
    """
    known = [spec.name for spec in source.inputs]
    for name in shapes:
        if name not in known:
            raise EdgetfError(f"{source.path} has no input {name!r}", nearest(name, known))
    return replace(source, inputs=tuple(_fix(spec, shapes.get(spec.name)) for spec in source.inputs))


def save_with_shapes(source: Source, out: Path) -> Path:
    """Write a SavedModel at `out` that is the one of `source` with the shapes of `source.inputs`.

    Only the shapes in `saved_model.pb` are rewritten, and the rest is linked: the converter's own shape inference
    follows from there. (Loading, tracing and saving the model took 3.6 s for MobileNetV2, this takes 0.02 s; and a
    retraced function keeps the unknown shapes of the functions that it calls.)
    """
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = Path(source.path)
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    for entry in saved_model.iterdir():
        if entry.name not in (_PROTO, "fingerprint.pb"):
            (out / entry.name).symlink_to(entry.resolve())
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((saved_model / _PROTO).read_bytes())
    graph = _serving_graph(saved_model, proto)
    placeholders = {}
    signature = graph.signature_def[source.signature]
    for spec in source.inputs:
        info = signature.inputs[spec.name]
        for axis, size in zip(info.tensor_shape.dim, spec.shape, strict=True):
            axis.size = -1 if size is None else size
        placeholders[info.name.split(":")[0]] = info.tensor_shape
    for node in graph.graph_def.node:
        if node.name in placeholders:
            node.attr["shape"].shape.CopyFrom(placeholders[node.name])
        node.attr.pop("_output_shapes", None)  # they say what the old shapes led to
    (out / _PROTO).write_bytes(proto.SerializeToString())
    return out


def freeze_variables(source: Source, out: Path) -> Path:
    """Write a SavedModel at `out` that has `source`'s signature with all variables turned into constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    tf = load_tensorflow()
    model = tf.saved_model.load(source.path)  # kept until the end: it owns the variables
    function = model.signatures[source.signature]
    frozen = convert_variables_to_constants_v2(function)
    order = [tensor.name.split(":")[0] for tensor in frozen.inputs]
    names = sorted(function.structured_outputs)
    specs = {
        name: tf.TensorSpec(s.shape, s.dtype, name=name) for name, s in function.structured_input_signature[1].items()
    }
    module = tf.Module()
    module.call = tf.function(
        lambda **inputs: dict(zip(names, frozen(*(inputs[name] for name in order)), strict=True))
    ).get_concrete_function(**specs)
    if out.exists():
        shutil.rmtree(out)
    tf.saved_model.save(module, str(out), signatures={source.signature: module.call})
    return out


def _fix(spec: TensorSpec, asked: Sequence[int] | None) -> TensorSpec:
    if asked is None:
        return replace(spec, shape=tuple(1 if k == 0 and axis is None else axis for k, axis in enumerate(spec.shape)))
    fits = len(asked) == len(spec.shape) and all(old in (None, new) for old, new in zip(spec.shape, asked, strict=True))
    if not fits or min(asked, default=1) < 1:
        told = ",".join(str(axis) for axis in asked)
        raise EdgetfError(f"input {spec.name!r} cannot have the shape {told}", f"it takes {spec.describe()}")
    return replace(spec, shape=tuple(asked))


def _read_signatures(saved_model: Path) -> dict[str, Any]:
    """SignatureDefs by name, read from `saved_model.pb` without loading the graph."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    hint = "give a SavedModel folder; a .keras or .h5 file becomes one by edgetf convert, or edgetf models export"
    file = saved_model / _PROTO
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
    internal = ("__saved_model_init_op", "__saved_model_train_op")
    signatures = _serving_graph(saved_model, proto).signature_def
    return {name: d for name, d in signatures.items() if d.inputs and name not in internal}


def _serving_graph(saved_model: Path, proto: Any) -> Any:
    graphs = [graph for graph in proto.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not graphs:
        raise EdgetfError(f"{saved_model} has no graph tagged 'serve'", "export it for serving")
    return graphs[0]


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
