"""Which layers a quantized variant loses its accuracy in: it and its float32 twin, op by op, on the same samples.

*Accumulated* is how far a layer's output is from the float one's in the whole graph. *Local* is how far it is when the
layer alone is given right inputs (the float ones, quantized): what the layer itself costs. Both as signal to noise in
dB, over all samples. The interpreter's own kernels compute both, without delegates, which fuse. It runs in a child.
Layers are twins by the names of their tensors; what the two graphs name differently is left out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.device.runner.isolate import ChildError, Send, run_children
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import pack, tensor_name, unpack
from edgetf.samples import Array

ROWS = 32  # samples that are looked at
_NO_LAYERS = {"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SHAPE", "TRANSPOSE", "CALL_ONCE"}
_NOT_ALONE = {"WHILE", "IF", "CALL", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
_CAP_DB = 120.0  # no error at all
_OUTLIER, _LONG_TAIL = 8.0, 4.0
_DOUBTFUL_DB = 40.0  # of a layer alone, above which there is nothing to explain


@dataclass(frozen=True)
class Layer:
    """One op of the quantized graph, in the name of its Keras layer. SQNRs are in dB, capped at 120; `local_db` is null
    for ops that cannot run alone."""

    layer: str
    op: str
    tensor: str
    local_db: float | None
    accumulated_db: float
    cause: str
    remedy: str


def blame(float32: Path, variant: Path, inputs: Mapping[str, Array]) -> list[Layer]:
    """The layers of `variant`, those that cost most by themselves first. `inputs` are samples by input name.

    Raises EdgetfError for variants that are not twins (no tensor of the same name), or that do not run.
    """
    rows = {name: np.asarray(values[:ROWS]) for name, values in inputs.items()}
    try:
        [found] = run_children([lambda send: _in_child(float32, variant, rows, send)], lambda event: None)
    except ChildError as error:
        raise EdgetfError(f"{variant} cannot be looked into: {error}", "is it made for another runtime?") from error
    layers = [Layer(**fields) for fields in found["layers"]]
    if not layers:
        hint = "give the float32 variant of the same conversion"
        raise EdgetfError(f"{variant} and {float32} have no layer in common", hint)
    return sorted(layers, key=lambda one: _CAP_DB if one.local_db is None else one.local_db)


def to_node_data(layers: Sequence[Layer]) -> dict[str, Any]:
    """The local SQNR of each layer as node data of Model Explorer (`ai-edge-model-explorer` 0.1.34, GraphNodeData).

    Nodes are found by the names of their output tensors; up to 20 dB is red, up to 40 amber.
    """
    results = {layer.tensor: {"value": layer.local_db} for layer in layers if layer.local_db is not None}
    colours = ((20, "#c0362c"), (40, "#e0a030"), (_CAP_DB, "#1a7f4b"))
    thresholds = [{"value": db, "bgColor": colour} for db, colour in colours]
    return {"name": "local SQNR, dB", "results": results, "thresholds": thresholds}


def _in_child(float32: Path, variant: Path, rows: Mapping[str, Array], send: Send) -> dict[str, Any]:
    model, schema = unpack(variant.read_bytes())
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    graph = model.subgraphs[0]
    ops = [(op, names[_code_of(model, op)]) for op in graph.operators]
    there = _all_values(variant, rows)
    right = _by_index(graph, ops, _all_values(float32, rows))
    weights = {int(op.outputs[0]): op for op, kind in ops if kind == "DEQUANTIZE"}  # of float16, and such
    layers = []
    for op, kind in ops:
        k, name = int(op.outputs[0]), tensor_name(graph.tensors[op.outputs[0]])
        if kind in _NO_LAYERS or k not in right or name not in there:
            continue
        local = None if kind in _NOT_ALONE else _local_db(model, op, right, weights)
        doubtful = local is not None and local < _DOUBTFUL_DB and _is_quantized(graph.tensors[k])
        cause, remedy = _explain(kind, op, right) if doubtful else ("", "")
        layers.append(Layer(_layer_of(name), kind, name, local, _db(right[k], there[name]), cause, remedy))
    return {"layers": [asdict(layer) for layer in layers]}


def _by_index(
    graph: Any, ops: Sequence[tuple[Any, str]], values: Mapping[str, NDArray[np.float64]]
) -> dict[int, NDArray[np.float64]]:
    """The float values of each tensor of the quantized graph: by its name, or that of what it is a quantization of."""
    right = {k: values[name] for k, tensor in enumerate(graph.tensors) if (name := tensor_name(tensor)) in values}
    for op, kind in ops:
        source, result = int(op.inputs[0]) if len(op.inputs) else -1, int(op.outputs[0])
        if kind == "QUANTIZE" and source in right:
            right.setdefault(result, right[source])
        elif kind == "DEQUANTIZE" and result in right:
            right.setdefault(source, right[result])
    return right


def _code_of(model: Any, op: Any) -> int:
    code = model.operatorCodes[op.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _all_values(path: Path, rows: Mapping[str, Array]) -> dict[str, NDArray[np.float64]]:
    """What every op of a variant gives, by tensor name, for each of the samples, dequantized; and its inputs."""
    content = path.read_bytes()
    graph = unpack(content)[0].subgraphs[0]
    made = {int(k) for op in graph.operators for k in op.outputs} | {int(k) for k in graph.inputs}
    interpreter = _interpreter(content, preserve=True)
    fed = _inputs_of(interpreter)
    interpreter.allocate_tensors()
    known = [detail for detail in interpreter.get_tensor_details() if detail["index"] in made and _is_number(detail)]
    values: dict[str, list[Any]] = {detail["name"]: [] for detail in known}
    n = len(next(iter(rows.values())))
    batch = max(int(detail["shape"][0]) for detail in fed.values())
    for begin in range(0, n // batch * batch, batch):
        for name, detail in fed.items():
            interpreter.set_tensor(detail["index"], _quantized(rows[name][begin : begin + batch], detail))
        interpreter.reset_all_variables()  # samples do not depend on each other
        interpreter.invoke()
        now = {detail["name"]: _dequantized(interpreter.get_tensor(detail["index"]), detail) for detail in known}
        for name, value in now.items():
            values[name].append(value)
    return {name: np.stack(arrays) for name, arrays in values.items() if len({a.shape for a in arrays}) == 1}


def _is_number(detail: Mapping[str, Any]) -> bool:
    return bool(np.issubdtype(detail["dtype"], np.floating) or detail["quantization"][0])


def _inputs_of(interpreter: Any) -> dict[str, Any]:
    if interpreter.get_signature_list():
        return dict(interpreter.get_signature_runner().get_input_details())
    return {detail["name"]: detail for detail in interpreter.get_input_details()}


def _interpreter(content: bytes, preserve: bool = False) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options = {"experimental_op_resolver_type": plain, "experimental_preserve_all_tensors": preserve}
    return Interpreter(model_content=content, **options)


def _local_db(
    model: Any, op: Any, right: Mapping[int, NDArray[np.float64]], weights: Mapping[int, Any]
) -> float | None:
    """The SQNR of one op alone, given right inputs; None where it has inputs that the float graph does not have.

    `weights` are the ops that dequantize, by what they give: constants that are stored as float16 come from such.
    """
    graph = model.subgraphs[0]
    inputs = [int(k) for k in op.inputs if k >= 0 and not _is_constant(model, graph.tensors[k])]
    before = [weights[k] for k in inputs if k in weights and _is_constant(model, graph.tensors[weights[k].inputs[0]])]
    made = {int(one.outputs[0]) for one in before}
    fed = [k for k in inputs if k not in made]
    expected = right[int(op.outputs[0])]
    if not fed or any(k not in right for k in fed):
        return None
    interpreter = _interpreter(_alone(model, [*before, op], fed))
    interpreter.allocate_tensors()
    [output] = interpreter.get_output_details()[:1]
    results = []
    for row in range(len(expected)):
        for k, detail in zip(fed, interpreter.get_input_details(), strict=True):
            interpreter.set_tensor(detail["index"], _quantized(right[k][row].reshape(detail["shape"]), detail))
        interpreter.invoke()
        results.append(_dequantized(interpreter.get_tensor(output["index"]), output))
    return _db(expected, np.stack(results))


def _alone(model: Any, ops: Sequence[Any], fed: Sequence[int]) -> bytes:
    """A model of these ops and nothing else; buffers of others are left empty, which keeps it small."""
    one, graph = copy.copy(model), copy.copy(model.subgraphs[0])
    graph.operators, graph.inputs, graph.outputs = list(ops), list(fed), list(ops[-1].outputs)
    used = {graph.tensors[k].buffer for op in ops for k in op.inputs if k >= 0}
    empty = model.buffers[0]
    one.buffers = [buffer if k in used else empty for k, buffer in enumerate(model.buffers)]
    one.subgraphs, one.signatureDefs, one.metadata = [graph], None, None
    return pack(one)


def _is_quantized(tensor: Any) -> bool:
    parameters = tensor.quantization
    return parameters is not None and parameters.scale is not None and len(parameters.scale) > 0


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _quantized(values: Any, detail: Mapping[str, Any]) -> Any:
    scale, zero = detail["quantization"]
    if not scale or values.dtype == detail["dtype"]:
        return np.ascontiguousarray(values, detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def _dequantized(value: Any, detail: Mapping[str, Any]) -> NDArray[np.float64]:
    scale, zero = detail["quantization"]
    found = np.asarray(value, np.float64)
    return (found - zero) * scale if scale else found


def _db(right: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    noise, signal = float(np.sum((found - right) ** 2)), float(np.sum(right**2))
    if not np.isfinite(noise):
        return -_CAP_DB
    if noise == 0:
        return _CAP_DB
    return min(float(10 * np.log10(signal / noise)), _CAP_DB) if signal > 0 else 0.0


# what is likely ---------------------------------------------------------------------------------------------------


def _explain(kind: str, op: Any, right: Mapping[int, NDArray[np.float64]]) -> tuple[str, str]:
    """The likely cause of an error in this op, and what to try; empty where nothing stands out."""
    values = right[int(op.outputs[0])]
    ranges = [float(np.abs(right[int(k)]).max()) for k in op.inputs if int(k) in right]
    if kind == "CONCATENATION" and ranges and max(ranges) > _OUTLIER * min(ranges):
        return "inputs of unlike ranges share one scale", "scale the branches alike, or concatenate later"
    if kind in ("SOFTMAX", "LOGISTIC", "TANH"):
        return "its output scale is fixed", "take it out of the model, and compute it from the logits"
    if kind == "HARD_SWISH":
        return "hard-swish in int8 is coarse near zero", "train for int8 (--qat), or use relu"
    if kind in ("MUL", "ADD", "SUB") and len(ranges) == 1:
        return "a constant that is not folded into the layer before, as an unfused batch norm", "put it right after it"
    channels = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0) if values.ndim > 1 else np.zeros(1)
    if len(channels) > 1 and channels.max() > _OUTLIER * max(float(np.median(channels)), 1e-12):
        return (
            f"channel {int(channels.argmax())} is far larger than the others",
            "train for int8 (--qat), or weight decay",
        )
    most = float(np.abs(values).max())
    if most > _LONG_TAIL * max(float(np.quantile(np.abs(values), 0.999)), 1e-12):
        return "few values are far larger than all others", "cut them off: convert --percentile 99.99, or --mse"
    return "", ""


def _layer_of(tensor: str) -> str:
    """The Keras layer in a tensor's name: `model/conv2d_1/Relu;model/...` is conv2d_1; other names are kept."""
    parts = [part for part in re.split(r"[;]", tensor)[0].split("/") if part]
    return parts[-2] if len(parts) > 1 else tensor
