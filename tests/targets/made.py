"""Small variants by hand, for targets: a classifier in float32, and the same in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgetf.flatbuffer import pack, unpack
from tests.attacks.kit import NONE, WEIGHTS, write_model


def write_int8(path: Path) -> Path:
    """A fully connected layer with a softmax, of int8 from input to output."""
    made, _ = unpack(write_model(path, WEIGHTS, NONE).read_bytes())
    graph = made.subgraphs[0]
    dense = graph.operators[0]
    for tensor in graph.tensors:
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.05], [0]
    probability, bias = graph.tensors[graph.outputs[0]], graph.tensors[dense.inputs[2]]
    probability.quantization.scale, probability.quantization.zeroPoint = [1 / 256], [-128]
    bias.type, bias.quantization.scale = schema.TensorType.INT32, [0.05 * 0.05]
    weights = np.clip(np.rint(WEIGHTS.T / 0.05), -127, 127).astype(np.int8)
    made.buffers[graph.tensors[dense.inputs[1]].buffer].data = np.frombuffer(weights.tobytes(), np.uint8)
    path.write_bytes(pack(made))
    return path


def write_unknown(path: Path, name: str = "LSH_PROJECTION") -> Path:
    """The classifier in float32 with an operation in it that microcontrollers lack."""
    made, _ = unpack(write_model(path, WEIGHTS, NONE).read_bytes())
    code, operator, graph = schema.OperatorCodeT(), schema.OperatorT(), made.subgraphs[0]
    number = getattr(schema.BuiltinOperator, name)
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
    operator.opcodeIndex, operator.inputs, operator.outputs = len(made.operatorCodes), list(graph.inputs), []
    made.operatorCodes.append(code)
    graph.operators.append(operator)
    path.write_bytes(pack(made))
    return path


def write_signed(path: Path) -> Path:
    """The classifier in float32 with the signature that a conversion gives."""
    made, _ = unpack(write_model(path, WEIGHTS, NONE).read_bytes())
    signature, graph = schema.SignatureDefT(), made.subgraphs[0]
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    signature.inputs[0].name, signature.inputs[0].tensorIndex = b"x", graph.inputs[0]
    signature.outputs[0].name, signature.outputs[0].tensorIndex = b"p", graph.outputs[0]
    made.signatureDefs = [signature]
    path.write_bytes(pack(made))
    return path
