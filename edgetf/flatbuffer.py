"""The contents of a `.tflite` file: ops with their versions, inputs and outputs, weights, signatures.

They are read with the flatbuffer schema in LiteRT's wheel; neither TensorFlow nor an interpreter is loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import EdgetfError, MissingExtraError, clean, nearest
from edgetf.files import read_bytes
from edgetf.pixels import ENTRY, PixelMap, maps_of
from edgetf.reading import parsing
from edgetf.unpacking import listed as listed
from edgetf.unpacking import to_model

_AGAIN = "copy or convert it again"
_LARGEST = 1 << 33  # bytes: buffers of more than 2 GB are stored after the flatbuffer
LARGEST_PACKED = (1 << 31) - 1  # bytes
_LONGEST_ENTRY = 1000  # bytes of metadata that are shown
_LEAST_TABLE = 4  # bytes of the smallest table
_MOST_COMPRESSED = 1 << 23  # bytes that are compressed to learn the size of all
_PIECES = 32  # of a larger file


@dataclass(frozen=True)
class Quantization:
    """Scale and zero point; those of the first channel if there is an `axis` with several `channels`."""

    scale: float
    zero_point: int
    channels: int
    axis: int | None


@dataclass(frozen=True)
class TensorInfo:
    """An input or output. `name` is from the signature; None in `shape` is an axis of any length."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None


@dataclass(frozen=True)
class Op:
    name: str
    version: int
    count: int


@dataclass(frozen=True)
class Contents:
    """A variant's contents.

    `weights` is the size of constant tensors in bytes by dtype, `weight_sparsity` the share of zeros in those of two or
    more axes; `compressed_bytes` is the size after DEFLATE, as in a `.zip`, an `.apk` or a gzipped download: of a file
    of more than 8 MB an estimate by 32 pieces of it, to three digits; `graph` is the index of the graph with these
    `inputs` and `outputs`; `pixels` has the maps of inputs that take pixels.
    """

    path: str
    bytes: int
    sha256: str
    description: str
    min_runtime: str | None
    signatures: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    ops: tuple[Op, ...]
    weights: dict[str, int]
    weight_sparsity: float | None
    compressed_bytes: int
    graph: int = 0
    pixels: dict[str, PixelMap] = field(default_factory=dict)

    @property
    def is_compressed_estimated(self) -> bool:
        """Whether `compressed_bytes` is an estimate."""
        return self.bytes > _MOST_COMPRESSED

    def counts(self) -> dict[str, int]:
        """Number of ops by name, over all versions."""
        counts: Counter[str] = Counter()
        for op in self.ops:
            counts[op.name] += op.count
        return dict(sorted(counts.items()))


def count_ops(content: bytes) -> dict[str, int]:
    """Number of ops by name in a valid flatbuffer."""
    model, schema = unpack(content)
    counts: Counter[str] = Counter()
    for op in _ops(model, schema):
        counts[op.name] += op.count
    return dict(counts)


def weight_types(content: bytes) -> set[str]:
    """The dtypes of the constant tensors in a valid flatbuffer."""
    model, schema = unpack(content)
    return set(_weights(model, names_of(schema.TensorType)))


def builtin_numbers() -> dict[str, int]:
    """The numbers of TFLite's own ops, by their names."""
    return {name: number for number, name in names_of(_schema().BuiltinOperator).items()}


def new_model() -> tuple[Any, Any]:
    """A model without graphs as mutable objects (a `ModelT`), and the schema's module."""
    schema = _schema()
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    return model, schema


def builtin_ops() -> set[str]:
    """The names of TFLite's own ops: others are custom, or TensorFlow's through the Flex delegate."""
    return set(names_of(_schema().BuiltinOperator).values())


def read_contents(path: Path, signature: str | None = None) -> Contents:
    """Read a `.tflite` file; `inputs` and `outputs` are those of `signature`, by default of the first.

    Raises EdgetfError for a file that is missing, not TFLite, damaged, or made for a newer TFLite than is installed.
    """
    content = read_bytes(path, "give a .tflite file", _LARGEST)
    return parse_contents(str(path), content, signature)


def parse_contents(path: str, content: bytes, signature: str | None = None) -> Contents:
    """The contents of the flatbuffer `content`; `path` is for messages. Raises EdgetfError as `read_contents` does."""
    schema = _schema()
    if content[4:8] != b"TFL3":
        raise EdgetfError(f"{path} is not a TFLite file", "make one with: edgetf convert SAVED_MODEL -o OUT")
    with parsing(path, "a TFLite file", _AGAIN):
        root = schema.Model.GetRootAs(content, 0)
        _refuse_amplified(root, len(content) // _LEAST_TABLE)
        model = schema.ModelT.InitFromObj(root)
        if not _is_whole(model, len(content)):
            raise _damaged(path)
        _check_age(path, model, schema)
    return _contents(path, content, model, schema, _graph_of(path, model, signature))


def _refuse_amplified(model: Any, most: int) -> None:
    """Raise ValueError if more tables are named than the file can contain.

    Offsets may all point to the same place, so that a few kilobytes name billions of objects.
    """
    graphs = [model.Subgraphs(k) for k in range(_few(model.SubgraphsLength(), most))]
    signatures = [model.SignatureDefs(k) for k in range(_few(model.SignatureDefsLength(), most))]
    named = len(graphs) + model.BuffersLength() + model.OperatorCodesLength() + model.MetadataLength()
    named += sum(one.InputsLength() + one.OutputsLength() for one in signatures)
    named += sum(graph.TensorsLength() + graph.OperatorsLength() for graph in graphs)
    _few(named, most)
    for graph in graphs:
        for tensor in (graph.Tensors(k) for k in range(graph.TensorsLength())):
            sparsity = tensor.Sparsity()
            named += tensor.VariantTensorsLength() + (0 if sparsity is None else sparsity.DimMetadataLength())
    _few(named, most)


def _few(count: int, most: int) -> int:
    if count > most:
        raise ValueError("it names more parts than it can contain")
    return count


def _damaged(path: str) -> EdgetfError:
    return EdgetfError(f"{path} is damaged or truncated", _AGAIN)


def unpack(content: bytes) -> tuple[Any, Any]:
    """A flatbuffer as mutable objects (a `ModelT`), and the schema's module. Constants are views of `content`."""
    schema = _schema()
    return to_model(content, schema), schema


def pack(model: Any, late: Mapping[int, Callable[[NDArray[np.uint8]], None]] | None = None) -> bytes:
    """The bytes of a `ModelT`, with equal vectors stored once.

    `late` fills in the bytes of large buffers, by their numbers: the buffers themselves have as many zeros.
    """
    packed: bytes = importlib.import_module("edgetf.packing").to_bytes(model, late)
    return packed


def data_of(model: Any, buffer: int) -> NDArray[np.uint8]:
    """The bytes of a buffer, without a copy where they are an array already; none for one without data."""
    data = model.buffers[buffer].data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return np.frombuffer(data, np.uint8)
    return np.asarray(listed(data) if data is None else data, np.uint8)


def builtin_code(model: Any, operator: Any) -> int:
    """The number of an operator's op, as in the schema's BuiltinOperator."""
    return _builtin(model.operatorCodes[operator.opcodeIndex])


def names_of(enumeration: Any) -> dict[int, str]:
    """The names in one of the schema's enumerations, by number."""
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def tensor_name(tensor: Any) -> str:
    return _text(tensor.name)


def signature_names(model: Any) -> list[str]:
    """The keys of a model's signatures."""
    return [_text(one.signatureKey) for one in listed(model.signatureDefs)]


def _schema() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-litert", "litert") from error


def _is_whole(model: Any, length: int) -> bool:
    """Whether everything that the model refers to exists: buffers, tensors, op codes, subgraphs, strings."""
    buffers, codes, graphs = (listed(part) for part in (model.buffers, model.operatorCodes, model.subgraphs))
    if not graphs or any(buffer.offset > 1 and buffer.offset + buffer.size > length for buffer in buffers):
        return False
    for graph in graphs:
        tensors, count = listed(graph.tensors), len(listed(graph.tensors))
        operators = listed(graph.operators)
        used = [*listed(graph.inputs), *listed(graph.outputs)]
        used += [k for op in operators for k in (*listed(op.inputs), *listed(op.outputs))]
        if not all(-1 <= k < count for k in used) or not all(op.opcodeIndex < len(codes) for op in operators):
            return False
        if not all(tensor.buffer < len(buffers) and _is_text(tensor.name) for tensor in tensors):
            return False
        if not all(_is_sound(tensor.quantization) for tensor in tensors):
            return False
        if not all(0 <= k < count for k in (*listed(graph.inputs), *listed(graph.outputs))):
            return False
    named = [*listed(model.metadata), *(m for s in listed(model.signatureDefs) for m in _maps(s))]
    texts = [model.description, *(one.name for one in named), *(code.customCode for code in codes)]
    texts += [one.signatureKey for one in listed(model.signatureDefs)]
    return all(map(_is_text, texts)) and all(one.buffer < len(buffers) for one in listed(model.metadata))


def _is_sound(quantization: Any) -> bool:
    """Whether the numbers of a quantization are valid."""
    scales = [] if quantization is None else listed(quantization.scale)
    return bool(np.isfinite(np.asarray(scales, np.float64)).all())


def _is_text(value: bytes | str | None) -> bool:
    try:
        return _text(value) is not None
    except UnicodeDecodeError:
        return False


def _check_age(path: str, model: Any, schema: Any) -> None:
    """Raise EdgetfError for ops and dtypes that the installed schema does not know."""
    ops, types = names_of(schema.BuiltinOperator), names_of(schema.TensorType)
    unknown = [f"operation {code}" for code in map(_builtin, listed(model.operatorCodes)) if code not in ops]
    found = {int(tensor.type) for graph in model.subgraphs for tensor in listed(graph.tensors)}
    unknown += [f"type {one}" for one in sorted(found) if one not in types]
    if unknown:
        hint = "pip install --upgrade ai-edge-litert; or convert it again, with the TensorFlow that is installed here"
        raise EdgetfError(f"{path} was made for a newer TFLite: {', '.join(unknown)} of its schema is unknown", hint)


def _maps(signature: Any) -> list[Any]:
    return [*listed(signature.inputs), *listed(signature.outputs)]


def _graph_of(path: str, model: Any, signature: str | None) -> int:
    """The index of the graph that a signature runs; 0 for a model without signatures."""
    known = {_text(one.signatureKey): int(one.subgraphIndex) for one in listed(model.signatureDefs)}
    if not known:
        return 0
    signature = next(iter(known)) if signature is None else signature
    if signature not in known:
        raise EdgetfError(f"{path} has no signature {signature!r}", nearest(signature, sorted(known)))
    if known[signature] >= len(model.subgraphs):
        raise _damaged(path)
    return known[signature]


def _contents(path: str, content: bytes, model: Any, schema: Any, graph: int) -> Contents:
    main = model.subgraphs[graph]
    tensors, types = listed(main.tensors), names_of(schema.TensorType)
    signatures = [one for one in listed(model.signatureDefs) if one.subgraphIndex == graph]

    def describe(indices: Any, maps: Iterable[Any]) -> tuple[TensorInfo, ...]:
        named = {one.tensorIndex: _text(one.name) for one in maps}
        return tuple(_tensor(named.get(k, _text(tensors[k].name)), tensors[k], types) for k in listed(indices))

    return Contents(
        path=path,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        description=_text(model.description),
        min_runtime=_metadata(model, "min_runtime_version"),
        signatures=tuple(_text(s.signatureKey) for s in listed(model.signatureDefs)),
        # by their own names: a tensor that passes through is both an input and an output
        inputs=describe(main.inputs, (m for one in signatures for m in listed(one.inputs))),
        outputs=describe(main.outputs, (m for one in signatures for m in listed(one.outputs))),
        ops=_ops(model, schema),
        weights=_weights(model, types),
        weight_sparsity=_sparsity(model, types),
        compressed_bytes=_compressed(content),
        graph=graph,
        pixels=pixel_maps(model),
    )


def _compressed(content: bytes) -> int:
    """The size after DEFLATE; of a large file, which would take a second for each 25 MB, by evenly spaced pieces."""
    if len(content) <= _MOST_COMPRESSED:
        return len(zlib.compress(content))
    length, packer, packed = _MOST_COMPRESSED // _PIECES, zlib.compressobj(), 0
    for k in range(_PIECES):
        begin = k * (len(content) - length) // (_PIECES - 1)
        packed += len(packer.compress(memoryview(content)[begin : begin + length]))
    return int(float(f"{(packed + len(packer.flush())) / _MOST_COMPRESSED * len(content):.3g}"))


def pixel_maps(model: Any) -> dict[str, PixelMap]:
    """What a model does with the pixels that its inputs take. Raises EdgetfError if that metadata is damaged."""
    for entry in listed(model.metadata):
        if _text(entry.name) == ENTRY:
            with parsing(f"the metadata {ENTRY}", "a map of pixels", _AGAIN):
                return maps_of(data_of(model, entry.buffer).tobytes())
    return {}


def _builtin(code: Any) -> int:
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))  # codes above 127 are in the newer field only


def _ops(model: Any, schema: Any) -> tuple[Op, ...]:
    names = names_of(schema.BuiltinOperator)
    counts: Counter[tuple[str, int]] = Counter()
    for subgraph in model.subgraphs:
        for operator in listed(subgraph.operators):
            code = model.operatorCodes[operator.opcodeIndex]
            name = names[_builtin(code)]
            counts[_text(code.customCode) if name == "CUSTOM" else name, code.version] += 1
    return tuple(Op(name, version, count) for (name, version), count in sorted(counts.items()))


def _weights(model: Any, types: dict[int, str]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for subgraph in model.subgraphs:
        for tensor in listed(subgraph.tensors):
            buffer = model.buffers[tensor.buffer]
            size = len(buffer.data) if buffer.data is not None else int(buffer.size)
            if size:
                sizes[types[tensor.type].lower()] += size
    return dict(sizes.most_common())


def _sparsity(model: Any, types: dict[int, str]) -> float | None:
    """The share of zeros in weights; None if it cannot be counted, so that this figure cannot cause a failure."""
    try:
        return _count_zeros(model, types)
    except Exception:
        return None


def _count_zeros(model: Any, types: dict[int, str]) -> float:
    """The share of zeros in float32, float16 and int8 weights of two or more axes."""
    zeros = total = 0
    for tensor in (one for subgraph in model.subgraphs for one in listed(subgraph.tensors)):
        data, dtype = model.buffers[tensor.buffer].data, types[tensor.type].lower()
        shape = [int(axis) for axis in listed(tensor.shape)]
        if data is None or len(shape) < 2 or dtype not in ("float32", "float16", "int8"):
            continue
        stored = data_of(model, tensor.buffer).view(dtype)
        size = stored.size if tensor.sparsity is None else math.prod(shape)  # sparse tensors store no zeros
        zeros, total = zeros + size - int(np.count_nonzero(stored)), total + size
    return round(zeros / total, 4) if total else 0.0


def _tensor(name: str, tensor: Any, types: dict[int, str]) -> TensorInfo:
    shape = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    axes = tuple(None if axis < 0 else int(axis) for axis in listed(shape))
    return TensorInfo(name, axes, types[tensor.type].lower(), _quantization(tensor.quantization))


def _quantization(parameters: Any) -> Quantization | None:
    scales = [] if parameters is None else listed(parameters.scale)
    if not scales:
        return None
    zero_point = int((listed(parameters.zeroPoint) or [0])[0])
    axis = int(parameters.quantizedDimension) if len(scales) > 1 else None
    return Quantization(float(scales[0]), zero_point, len(scales), axis)


def _metadata(model: Any, name: str) -> str | None:
    for entry in listed(model.metadata):
        if _text(entry.name) == name:
            content = data_of(model, entry.buffer)[:_LONGEST_ENTRY].tobytes()
            return clean(content.decode(errors="replace").strip("\0")) or None
    return None


def _text(value: bytes | str | None) -> str:
    return clean(value.decode() if isinstance(value, bytes) else value or "")
