"""A SavedModel's signature: its choice, its inputs and outputs, and a copy of the SavedModel with fixed shapes.

The batch axis is fixed at 1 by default. Then the converter knows all shapes, the graph loses its SHAPE / STRIDED_SLICE
/ PACK ops, recurrent networks can be converted, and delegates that reject dynamic shapes accept the model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetf.backend import load_tensorflow
from edgetf.conversion.digest import digest_of
from edgetf.conversion.messages import NeedsTensorFlowError, dtype_name, messages
from edgetf.errors import EdgetfError, clean, nearest
from edgetf.files import read_bytes
from edgetf.reading import parsing
from edgetf.results import Source, TensorSpec
from edgetf.samples import Samples

_DEFAULT = "serving_default"
_PROTO = "saved_model.pb"
_MOST_AXIS = (1 << 31) - 1
_LARGEST = (1 << 31) - 1  # bytes: the maximum size of a protocol buffer


def read_source(saved_model: Path, signature: str | None, pure: bool = False) -> Source:
    """The chosen signature (by default `serving_default`, or the only one), and the digest of its computation.

    TensorFlow is not loaded, except for rare models; if `pure`, these raise NeedsTensorFlowError. Raises EdgetfError
    for a folder that is not a SavedModel and for a signature that is missing or ambiguous.
    """
    with _needing_tensorflow(), parsing(saved_model, "a SavedModel", "export it again"):
        graph = read_graph(saved_model)
        source = _choose_source(saved_model, graph, signature, pure)
        return replace(source, digest=digest_of(saved_model, graph, source.signature, pure))


def read_signature(saved_model: Path, signature: str | None) -> Source:
    """Like `read_source` if `pure`, but without the digest: the weights are not read."""
    with _needing_tensorflow(), parsing(saved_model, "a SavedModel", "export it again"):
        return _choose_source(saved_model, read_graph(saved_model), signature, pure=True)


@contextmanager
def _needing_tensorflow() -> Iterator[None]:
    """Raise a NeedsTensorFlowError as it is, not as the error of a damaged model."""
    try:
        yield
    except EdgetfError as error:
        if isinstance(error.__cause__, NeedsTensorFlowError):
            raise error.__cause__ from None
        raise


def _choose_source(saved_model: Path, graph: Any, signature: str | None, pure: bool) -> Source:
    """The chosen signature, without a digest."""
    signatures = _signatures_of(graph)
    key = _choose(saved_model, signatures, signature)
    chosen = signatures[key]
    for name, info in chosen.inputs.items():
        if info.tensor_shape.unknown_rank:
            hint = "export it with an input_signature that lists the axes, with None for those of any length"
            raise EdgetfError(f"{saved_model}: the input {name!r} has an unknown number of axes", hint)
    inputs = tuple(_spec(name, info, pure) for name, info in sorted(chosen.inputs.items()))
    outputs = tuple(_spec(name, info, pure) for name, info in sorted(chosen.outputs.items()))
    return Source(str(saved_model), "", key, inputs, outputs)


def is_trained_for_int8(saved_model: Path) -> bool:
    """Whether the graph has fake quantization with learned ranges, from quantization-aware training."""
    proto = saved_model / _PROTO
    return proto.is_file() and b"FakeQuantWithMinMaxVars" in read_bytes(proto, "export it again", _LARGEST)


def compute_dtype(source: Source) -> str:
    """The floating-point types in the model's graph, as "float32" or "float16 and float32"."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((Path(source.path) / _PROTO).read_bytes())
    graph = _serving_graph(Path(source.path), proto).graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    names = {types_pb2.DT_HALF: "float16", types_pb2.DT_BFLOAT16: "bfloat16", types_pb2.DT_DOUBLE: "float64"}
    found = {names[node.attr["T"].type] for node in (*graph.node, *nodes) if node.attr["T"].type in names}
    return " and ".join([*sorted(found), "float32"])


def ask_shapes(source: Source, shapes: Mapping[str, Sequence[int]]) -> Source:
    """`source` with the shapes that `shapes` gives by input name.

    Raises EdgetfError for an unknown input, and for a shape that the model does not accept.
    """
    known = [spec.name for spec in source.inputs]
    for name in shapes:
        if name not in known:
            raise EdgetfError(f"{source.path} has no input {name!r}", nearest(name, known))
    return replace(source, inputs=tuple(_ask(spec, shapes.get(spec.name)) for spec in source.inputs))


def fix_shapes(source: Source, shapes: Mapping[str, Sequence[int]], samples: Samples | None = None) -> Source:
    """`source` with the shapes to convert: those given by input name; any other free batch axis is 1.

    An input without a batch axis has the lengths of `samples`. Raises EdgetfError as `ask_shapes` does, and if it is
    ambiguous whether the only axis of the inputs is a batch axis.
    """
    source = ask_shapes(source, shapes)
    if samples is None:
        _refuse_unknown_lengths(source)
        return replace(source, inputs=tuple(replace(spec, shape=_one(spec.shape)) for spec in source.inputs))
    inputs = []
    for spec in samples.mark(source.inputs):
        own = samples.inputs[spec.name].shape[1:]
        inputs.append(replace(spec, shape=_one(spec.shape) if spec.batched else own))
    return replace(source, inputs=tuple(inputs))


def save_with_shapes(source: Source, out: Path) -> Path:
    """Write a copy of `source`'s SavedModel to `out`, with the shapes of `source.inputs`.

    Only the shapes in `saved_model.pb` are rewritten, and the other files are linked. The converter infers the
    remaining shapes. (Loading, tracing and saving the model took 3.6 s for MobileNetV2, this takes 0.02 s. A retraced
    function also keeps the unknown shapes of the functions that it calls.)
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
        node.attr.pop("_output_shapes", None)  # inferred from the old shapes
    (out / _PROTO).write_bytes(proto.SerializeToString())
    return out


def freeze_variables(source: Source, out: Path) -> Path:
    """Write a SavedModel with `source`'s signature to `out`, with constants for the variables that it only reads.

    Variables that it writes stay variables, with their current values. (TensorFlow 2.21 distinguishes the two for its
    automatic control dependencies; its public function freezes all variables or none.)
    """
    from tensorflow.python.framework import convert_to_constants as constants
    from tensorflow.python.framework.auto_control_deps_utils import get_read_only_resource_input_indices_graph

    tf = load_tensorflow()
    model = tf.saved_model.load(source.path)  # must stay alive: it owns the variables
    function = model.signatures[source.signature]
    graph = function.graph
    read_only = set(get_read_only_resource_input_indices_graph(graph))
    handles = {id(variable.handle): variable for variable in graph.variables}
    inside = {tensor.name: k for k, tensor in enumerate(graph.inputs)}
    written = {
        name.name: handles[id(handle)]
        for handle, name in graph.captures
        if id(handle) in handles and inside[name.name] not in read_only
    }
    data = constants._FunctionConverterDataInEager(
        func=function,
        lower_control_flow=False,  # lowered loops are those of TensorFlow 1, which the converter rejects
        aggressive_inlining=False,
        variable_names_denylist={name.split(":")[0] for name in written},
    )
    frozen = constants._construct_concrete_function(function, *constants._replace_variables_by_constants(data))
    names = sorted(function.structured_outputs)
    specs = {
        name: tf.TensorSpec(s.shape, s.dtype, name=name) for name, s in function.structured_input_signature[1].items()
    }
    module = tf.Module()
    module.state = list(written.values())

    def call(**inputs: Any) -> dict[str, Any]:
        fed = [written[t.name].handle if t.name in written else inputs[t.name.split(":")[0]] for t in frozen.inputs]
        return dict(zip(names, frozen(*fed), strict=True))

    module.call = tf.function(call).get_concrete_function(**specs)
    if out.exists():
        shutil.rmtree(out)
    tf.saved_model.save(module, str(out), signatures={source.signature: module.call})
    return out


def _one(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """A free batch axis as 1."""
    return (1, *shape[1:]) if shape[:1] == (None,) else shape


def _refuse_unknown_lengths(source: Source) -> None:
    """Raise EdgetfError if an input's only axis is free: it may be a batch or one sample, such as a waveform."""
    if any(len(spec.shape) > 1 for spec in source.inputs):
        return
    for spec in source.inputs:
        if spec.shape == (None,) and spec.dtype != "string":
            message = f"input {spec.name!r} takes {spec.describe()}: is this the length of one sample, or a batch?"
            hint = f"give --samples, or --shape {spec.name}=LENGTH (1 for one number at a time)"
            raise EdgetfError(message, hint)


def _ask(spec: TensorSpec, asked: Sequence[int] | None) -> TensorSpec:
    if asked is None:
        return spec
    fits = len(asked) == len(spec.shape) and all(old in (None, new) for old, new in zip(spec.shape, asked, strict=True))
    if not fits or min(asked, default=1) < 1:
        shape = ",".join(str(axis) for axis in asked)
        raise EdgetfError(f"input {spec.name!r} cannot have the shape {shape}", f"it takes {spec.describe()}")
    return replace(spec, shape=tuple(asked))


def read_graph(saved_model: Path) -> Any:
    """The meta graph for serving, read from `saved_model.pb` without loading it."""
    return _serving_graph(saved_model, read_proto(saved_model))


def read_proto(saved_model: Path) -> Any:
    """The protocol buffer of `saved_model.pb`, not loaded. Raises EdgetfError if it is not a SavedModel."""
    hint = "give a SavedModel folder, or convert a .keras or .h5 file"
    file = saved_model / _PROTO
    if not saved_model.exists():
        raise EdgetfError(f"{saved_model} does not exist", hint)
    if saved_model.is_dir() and not any(saved_model.iterdir()):
        raise EdgetfError(f"{saved_model} is an empty folder, not a SavedModel", hint)
    if not file.is_file():
        raise EdgetfError(f"{saved_model} is not a SavedModel: it has no saved_model.pb", hint)
    proto = messages().SavedModel()  # first: it reports that TensorFlow is not installed
    from google.protobuf.message import DecodeError

    try:
        proto.ParseFromString(read_bytes(file, "export it again", _LARGEST))
    except DecodeError as error:
        raise EdgetfError(f"{file} is damaged: it is not a SavedModel protocol buffer", "export it again") from error
    return proto


def _signatures_of(graph: Any) -> dict[str, Any]:
    internal = ("__saved_model_init_op", "__saved_model_train_op")
    return {name: d for name, d in graph.signature_def.items() if d.inputs and name not in internal}


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


def _spec(name: str, info: Any, pure: bool) -> TensorSpec:
    shape = tuple(None if axis.size < 0 else int(axis.size) for axis in info.tensor_shape.dim)
    if clean(name) != name or any(axis is not None and axis > _MOST_AXIS for axis in shape):
        raise ValueError(f"the signature names an invalid tensor: {name!r} {shape}")
    return TensorSpec(name, shape, dtype_name(info.dtype, pure))
