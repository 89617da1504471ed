"""What a `.tflite` file says of itself: ops with their versions, inputs and outputs, weights, signatures.

Read with the flatbuffer schema that comes in LiteRT's wheel; neither TensorFlow nor an interpreter is loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.errors import EdgetfError, MissingExtraError


@dataclass(frozen=True)
class Quantization:
    """Scale and zero point; `axis` and `channels` tell of per-channel parameters, of which the first is given."""

    scale: float
    zero_point: int
    channels: int
    axis: int | None


@dataclass(frozen=True)
class Tensor:
    """An input or output. `name` is the signature's; None in `shape` is an axis of any length."""

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

    `weights` gives the bytes of constant tensors by dtype, `weight_sparsity` the share of zeros in those of two and
    more axes; `compressed_bytes` is the file's after DEFLATE, as in a `.zip`, an `.apk` or a gzipped download.
    """

    path: str
    bytes: int
    sha256: str
    description: str
    min_runtime: str | None
    signatures: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    weights: dict[str, int]
    weight_sparsity: float
    compressed_bytes: int

    def counts(self) -> dict[str, int]:
        """Number of ops by name, over all versions."""
        counts: Counter[str] = Counter()
        for op in self.ops:
            counts[op.name] += op.count
        return dict(sorted(counts.items()))


def count_ops(content: bytes) -> dict[str, int]:
    """Number of ops by name in a flatbuffer that is known to be whole."""
    model, schema = unpack(content)
    counts: Counter[str] = Counter()
    for op in _ops(model, schema):
        counts[op.name] += op.count
    return dict(counts)


def weight_types(content: bytes) -> set[str]:
    """The dtypes of the constant tensors in a flatbuffer that is known to be whole."""
    model, schema = unpack(content)
    return set(_weights(model, _names_of(schema.TensorType)))


def read_contents(path: Path) -> Contents:
    """Read a `.tflite` file. Raises EdgetfError for one that is missing, not TFLite, or not whole."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EdgetfError(f"cannot read {path}: {error.strerror}", "give a .tflite file") from error
    return parse_contents(str(path), content)


def parse_contents(path: str, content: bytes) -> Contents:
    """What the flatbuffer `content` holds; `path` is for messages. Raises EdgetfError as `read_contents` does."""
    schema = _schema()
    if content[4:8] != b"TFL3":
        raise EdgetfError(f"{path} is not a TFLite file", "make one with: edgetf convert SAVED_MODEL -o OUT")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        _check_buffers(model, len(content))
        return _contents(path, content, model, schema)
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, UnicodeDecodeError) as error:
        raise EdgetfError(f"{path} is damaged or cut short", "copy or convert it again") from error


def unpack(content: bytes) -> tuple[Any, Any]:
    """A flatbuffer as objects that can be changed (a `ModelT`), and the schema's module."""
    return _tools().read_model_from_bytearray(bytearray(content)), _schema()


def pack(model: Any) -> bytes:
    """The bytes of a `ModelT`."""
    return bytes(_tools().convert_object_to_bytearray(model))


def tensor_name(tensor: Any) -> str:
    return _text(tensor.name)


def _tools() -> Any:
    _schema()
    return importlib.import_module("ai_edge_litert.tools.flatbuffer_utils")


def _schema() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-litert", "litert") from error


def _check_buffers(model: Any, length: int) -> None:
    for buffer in model.buffers:
        if buffer.offset > 1 and buffer.offset + buffer.size > length:
            raise ValueError("a buffer ends beyond the file")


def _contents(path: str, content: bytes, model: Any, schema: Any) -> Contents:
    main = model.subgraphs[0]
    inputs = {i: _text(main.tensors[i].name) for i in main.inputs}
    outputs = {i: _text(main.tensors[i].name) for i in main.outputs}
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            inputs.update({m.tensorIndex: _text(m.name) for m in signature.inputs})
            outputs.update({m.tensorIndex: _text(m.name) for m in signature.outputs})
    types = _names_of(schema.TensorType)
    return Contents(
        path=path,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        description=_text(model.description),
        min_runtime=_metadata(model, "min_runtime_version"),
        signatures=tuple(_text(s.signatureKey) for s in model.signatureDefs or []),
        inputs=tuple(_tensor(inputs[i], main.tensors[i], types) for i in main.inputs),
        outputs=tuple(_tensor(outputs[i], main.tensors[i], types) for i in main.outputs),
        ops=_ops(model, schema),
        weights=_weights(model, types),
        weight_sparsity=_sparsity(model, types),
        compressed_bytes=len(zlib.compress(content)),
    )


def _names_of(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _ops(model: Any, schema: Any) -> tuple[Op, ...]:
    names = _names_of(schema.BuiltinOperator)
    counts: Counter[tuple[str, int]] = Counter()
    for subgraph in model.subgraphs:
        for operator in subgraph.operators or []:
            code = model.operatorCodes[operator.opcodeIndex]
            builtin = max(code.builtinCode, code.deprecatedBuiltinCode)  # codes above 127 are in the newer field only
            name = _text(code.customCode) if names[builtin] == "CUSTOM" else names[builtin]
            counts[name, code.version] += 1
    return tuple(Op(name, version, count) for (name, version), count in sorted(counts.items()))


def _weights(model: Any, types: dict[int, str]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            buffer = model.buffers[tensor.buffer]
            size = len(buffer.data) if buffer.data is not None else int(buffer.size)
            if size:
                sizes[types[tensor.type].lower()] += size
    return dict(sizes.most_common())


def _sparsity(model: Any, types: dict[int, str]) -> float:
    zeros = total = 0
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            data, dtype = model.buffers[tensor.buffer].data, types[tensor.type].lower()
            if data is not None and len(data) and len(tensor.shape) >= 2 and dtype in ("float32", "float16", "int8"):
                values = np.frombuffer(bytes(data), dtype)
                zeros, total = zeros + int((values == 0).sum()), total + values.size
    return round(zeros / total, 4) if total else 0.0


def _tensor(name: str, tensor: Any, types: dict[int, str]) -> Tensor:
    shape = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    axes = tuple(None if axis < 0 else int(axis) for axis in (shape if shape is not None else ()))
    return Tensor(name, axes, types[tensor.type].lower(), _quantization(tensor.quantization))


def _quantization(parameters: Any) -> Quantization | None:
    if parameters is None or parameters.scale is None or not len(parameters.scale):
        return None
    channels = len(parameters.scale)
    axis = int(parameters.quantizedDimension) if channels > 1 else None
    return Quantization(float(parameters.scale[0]), int(parameters.zeroPoint[0]), channels, axis)


def _metadata(model: Any, name: str) -> str | None:
    for entry in model.metadata or []:
        if _text(entry.name) == name:
            return bytes(model.buffers[entry.buffer].data).decode().strip("\0") or None
    return None


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
