"""Which layers a quantized variant loses its accuracy in: it and its float32 twin, op by op, on the same samples.

*Accumulated* is how far a layer's output is from the float one's in the whole graph. *Local* is how far it is when the
layer alone gets correct inputs (the float ones, quantized): what the layer itself costs. Both are ratios of signal to
noise in dB, over all samples. The interpreter's own kernels compute both, without delegates, which fuse, in a child.
Layers are paired by the names of their tensors; channels that a variant has equalized are compared with float32's
divided by the same factors. An op that cannot be measured is listed with the reason: it may be the
one that costs most. Only ops that move data and ops on integers, which are exact, are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.factors import spread
from edgetf.conversion.groups import factors_by_tensor
from edgetf.conversion.layers import layer_of
from edgetf.device.runner.isolate import ChildError, run_children
from edgetf.device.runner.pixels import as_pixels
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import builtin_code, listed, names_of, pack, tensor_name, unpack
from edgetf.samples import Array
from edgetf.verdicts import Verdict

ROWS = 32  # samples that are used
_NO_LAYERS = {"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SHAPE", "TRANSPOSE", "CALL_ONCE"}
_NOT_ALONE = {"WHILE", "IF", "CALL", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
_CAP_DB = 120.0  # no error at all
_OUTLIER, _LONG_TAIL = 8.0, 4.0
_DOUBTFUL_DB = 40.0  # of a layer alone; above it there is nothing to explain


@dataclass(frozen=True)
class Layer:
    """One op of the quantized graph, by the name of its Keras layer. SQNRs are in dB, capped at 120.

    They are null if they could not be measured, and `not_measured` is the reason. `ran_on` is what computed it on the
    device, the delegate or "TFLite" for its own kernels (empty if unknown), `time_share` its share of the time there
    (null if it was not timed).
    """

    layer: str
    op: str
    tensor: str
    local_db: float | None
    accumulated_db: float | None
    cause: str
    remedy: str
    not_measured: str = ""
    ran_on: str = ""
    time_share: float | None = None


def blame(
    float32: Path,
    variant: Path,
    inputs: Mapping[str, Array],
    names: Mapping[str, str] | None = None,
    signature: str | None = None,
) -> list[Layer]:
    """The layers of `variant`, those that cost most by themselves first. `inputs` are samples by input name, `names`
    the Keras layers by their scopes in the graph. Those of the graph that `signature` runs, by default the first.

    Raises EdgetfError for variants that are not twins (no tensor of the same name), or that do not run.
    """
    rows = {name: np.asarray(values[:ROWS]) for name, values in inputs.items()}
    try:
        [found] = run_children([lambda send: _in_child(float32, variant, rows, signature)], lambda event: None)
    except ChildError as error:
        raise EdgetfError(f"cannot analyze the variant: {error}", "is it made for another runtime?") from error
    layers = [Layer(**{**fields, "layer": layer_of(fields["tensor"], names or {})}) for fields in found["layers"]]
    if all(layer.accumulated_db is None for layer in layers):
        hint = "give the float32 variant of the same conversion"
        raise EdgetfError("the variant and the float32 one have no layer in common", hint)
    return sorted(layers, key=lambda one: _CAP_DB if one.local_db is None else one.local_db)


def to_node_data(layers: Sequence[Layer]) -> dict[str, Any]:
    """The local SQNR of each layer as node data of Model Explorer (`ai-edge-model-explorer` 0.1.34, GraphNodeData).

    Nodes are found by the names of their output tensors; up to 20 dB is red, up to 40 amber.
    """
    results = {layer.tensor: {"value": layer.local_db} for layer in layers if layer.local_db is not None}
    bounds = {20: Verdict.FAIL, 40: Verdict.INCONCLUSIVE, _CAP_DB: Verdict.PASS}
    thresholds = [{"value": db, "bgColor": verdict.look.colour} for db, verdict in bounds.items()]
    return {"name": "local SQNR, dB", "results": results, "thresholds": thresholds}


def _in_child(float32: Path, variant: Path, rows: Mapping[str, Array], signature: str | None) -> dict[str, Any]:
    content = variant.read_bytes()
    model, schema = unpack(content)
    names, graph = names_of(schema.BuiltinOperator), model.subgraphs[_graph_of(model, signature)]
    model.subgraphs = [graph]  # the ops that are run alone are of this one
    ops = [(op, names[builtin_code(model, op)]) for op in listed(graph.operators)]
    there = _all_values(content, rows, signature)
    exact = _all_values(float32.read_bytes(), rows, signature)
    right = _by_index(graph, ops, _equalized(exact, content, signature))
    weights = {int(op.outputs[0]): op for op, kind in ops if kind == "DEQUANTIZE"}  # of float16, and such
    layers = []
    for op, kind in ops:
        if kind in _NO_LAYERS or not len(listed(op.outputs)) or _is_exact(graph, schema, op):
            continue
        k, name = int(op.outputs[0]), tensor_name(graph.tensors[op.outputs[0]])
        accumulated = _db(right[k], there[name]) if k in right and name in there else None
        local, why_not = None, "the float32 variant has no result of this name"
        if kind in _NOT_ALONE:
            why_not = "it cannot run alone"
        elif k in right:
            local, why_not = _local_db(model, op, right, weights)
        doubtful = local is not None and local < _DOUBTFUL_DB and _is_quantized(graph.tensors[k])
        cause, remedy = _explain(kind, op, right) if doubtful else ("", "")
        layers.append(Layer("", kind, name, local, accumulated, cause, remedy, why_not))
    return {"layers": [asdict(layer) for layer in layers]}


def _equalized(
    values: Mapping[str, NDArray[np.float64]], content: bytes, signature: str | None
) -> dict[str, NDArray[np.float64]]:
    """The float values as a variant has them: between layers that it equalizes, channels are divided by its factors."""
    factors = factors_by_tensor(content, _graph_of(unpack(content)[0], signature))
    return {
        name: array / spread(factors[name], array.shape[-1]) if name in factors else array
        for name, array in values.items()
    }


def _graph_of(model: Any, signature: str | None) -> int:
    """The index of the graph that a signature runs, by default the first; 0 for a model without signatures."""
    known = {one.signatureKey.decode(): int(one.subgraphIndex) for one in listed(model.signatureDefs)}
    if signature is not None and known and signature not in known:
        raise ValueError(f"it has no signature {signature!r}")
    return known[signature or next(iter(known))] if known else 0


def _is_exact(graph: Any, schema: Any, op: Any) -> bool:
    """Whether an op uses integers only."""
    types = schema.TensorType
    floats = (types.FLOAT32, types.FLOAT16, types.BFLOAT16)
    used = [graph.tensors[k] for k in (*listed(op.inputs), *op.outputs) if k >= 0]
    return not any(tensor.type in floats or _is_quantized(tensor) for tensor in used)


def _by_index(
    graph: Any, ops: Sequence[tuple[Any, str]], values: Mapping[str, NDArray[np.float64]]
) -> dict[int, NDArray[np.float64]]:
    """The float values of each tensor of the quantized graph: by its name, or that of the tensor it quantizes."""
    right = {k: values[name] for k, tensor in enumerate(graph.tensors) if (name := tensor_name(tensor)) in values}
    for op, kind in ops:
        if kind not in ("QUANTIZE", "DEQUANTIZE"):
            continue
        source, result = int(op.inputs[0]), int(op.outputs[0])
        if kind == "QUANTIZE" and source in right:
            right.setdefault(result, right[source])
        elif result in right:
            right.setdefault(source, right[result])
    return right


def _all_values(content: bytes, rows: Mapping[str, Array], signature: str | None) -> dict[str, NDArray[np.float64]]:
    """The result of each op of a variant, by tensor name, for each of the samples, dequantized; and its inputs."""
    model, _ = unpack(content)
    number = _graph_of(model, signature)
    graph = model.subgraphs[number]
    made = {int(k) for op in listed(graph.operators) for k in listed(op.outputs)} | {int(k) for k in graph.inputs}
    interpreter = _interpreter(content, preserve=True)
    interpreter.allocate_tensors()
    run, fed = _runner(interpreter, signature)
    rows = as_pixels(content, rows)
    known = [d for d in interpreter.get_tensor_details(number) if d["index"] in made and _is_number(d)]
    values: dict[str, list[Any]] = {detail["name"]: [] for detail in known}
    n = len(next(iter(rows.values())))
    # how many rows fill the inputs; one without an axis for samples takes one row
    batch = max(int(np.prod(detail["shape"])) // max(1, rows[name][0].size) for name, detail in fed.items())
    for begin in range(0, n // batch * batch, batch):
        given = {name: _quantized(rows[name][begin : begin + batch], detail) for name, detail in fed.items()}
        interpreter.reset_all_variables()  # samples do not depend on each other
        run(**{name: values.reshape(fed[name]["shape"]) for name, values in given.items()})
        for detail in known:
            with suppress(ValueError):  # an unused result of a loop has no memory
                found = interpreter.get_tensor(detail["index"], number)
                values[detail["name"]].append(_dequantized(found, detail))
    return {
        name: np.stack(arrays)
        for name, arrays in values.items()
        if len({a.shape for a in arrays}) == 1 and len(arrays) == n // batch
    }


def _is_number(detail: Mapping[str, Any]) -> bool:
    return bool(np.issubdtype(detail["dtype"], np.number) or detail["dtype"] is np.bool_)


def _runner(interpreter: Any, signature: str | None) -> tuple[Callable[..., object], dict[str, Any]]:
    """What runs a signature, by default the first, with inputs by name; and the details of the inputs."""
    if signatures := interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(signature or next(iter(signatures)))
        return runner, dict(runner.get_input_details())
    fed = {detail["name"]: detail for detail in interpreter.get_input_details()}

    def run(**given: Any) -> None:
        for name, values in given.items():
            interpreter.set_tensor(fed[name]["index"], values)
        interpreter.invoke()

    return run, fed


def _interpreter(content: bytes, preserve: bool = False) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options = {"experimental_op_resolver_type": plain, "experimental_preserve_all_tensors": preserve}
    return Interpreter(model_content=content, **options)


def _local_db(
    model: Any, op: Any, right: Mapping[int, NDArray[np.float64]], weights: Mapping[int, Any]
) -> tuple[float | None, str]:
    """The SQNR of one op alone with correct inputs; None and the reason if it cannot be measured.

    `weights` are the ops that dequantize, by their results: constants that are stored as float16 come from them.
    """
    graph = model.subgraphs[0]
    inputs = [int(k) for k in op.inputs if k >= 0 and not _is_constant(model, graph.tensors[k])]
    before = [weights[k] for k in inputs if k in weights and _is_constant(model, graph.tensors[weights[k].inputs[0]])]
    made = {int(one.outputs[0]) for one in before}
    fed = [k for k in inputs if k not in made]
    expected = right[int(op.outputs[0])]
    if missing := [k for k in fed if k not in right]:
        name = tensor_name(graph.tensors[missing[0]])
        return None, f"the float32 variant has no {name!r}, which it reads"
    if not fed:
        return None, "it reads constants only"
    try:
        return _db(expected, _run_alone(_alone(model, [*before, op], fed), [right[k] for k in fed])), ""
    except (RuntimeError, ValueError) as error:  # what interpreters raise
        return None, f"it does not run alone: {' '.join(str(error).split())[:120]}"


def _run_alone(content: bytes, values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The results of a model of one op for each row of its inputs' values."""
    interpreter = _interpreter(content)
    interpreter.allocate_tensors()
    [output] = interpreter.get_output_details()[:1]
    results = []
    for row in range(len(values[0])):
        for one, detail in zip(values, interpreter.get_input_details(), strict=True):
            interpreter.set_tensor(detail["index"], _quantized(one[row].reshape(detail["shape"]), detail))
        interpreter.invoke()
        results.append(_dequantized(interpreter.get_tensor(output["index"]), output))
    return np.stack(results)


def _alone(model: Any, ops: Sequence[Any], fed: Sequence[int]) -> bytes:
    """A model of these ops and of what they use, and nothing else: its size does not depend on the other ops."""
    one, graph = copy.copy(model), copy.copy(model.subgraphs[0])
    used = list(dict.fromkeys(int(k) for op in ops for k in (*op.inputs, *op.outputs) if k >= 0))
    place = {k: position for position, k in enumerate(used)}
    graph.tensors, one.buffers = [], [model.buffers[0]]
    for k in used:
        tensor = copy.copy(model.subgraphs[0].tensors[k])
        if tensor.buffer:
            one.buffers.append(model.buffers[tensor.buffer])
            tensor.buffer = len(one.buffers) - 1
        graph.tensors.append(tensor)
    graph.operators = [_moved(op, place) for op in ops]
    graph.inputs, graph.outputs = [place[k] for k in fed], list(graph.operators[-1].outputs)
    one.subgraphs, one.signatureDefs, one.metadata = [graph], None, None
    return pack(one)


def _moved(op: Any, place: Mapping[int, int]) -> Any:
    """The op with its tensors at other places; -1 is an input that it does not have."""
    moved = copy.copy(op)
    for name in ("inputs", "outputs", "intermediates"):
        setattr(moved, name, [place.get(int(k), -1) for k in listed(getattr(op, name))])
    return moved


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


# likely causes ----------------------------------------------------------------------------------------------------


def _explain(kind: str, op: Any, right: Mapping[int, NDArray[np.float64]]) -> tuple[str, str]:
    """The likely cause of an error in this op, and what to try; empty if nothing stands out."""
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
        return "few values are far larger than all others", "clip them: convert --percentile 99.99, or --mse"
    return "", ""
