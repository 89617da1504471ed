"""Tiny classifiers for attacks on the verdict, without TensorFlow: weights in, a `.tflite` file or a reference out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgetf.device.runner.job import TimingPlan
from edgetf.figures import Latency
from edgetf.files import now, sha256_file, write_document
from edgetf.flatbuffer import pack, unpack
from edgetf.results import (
    REFERENCE_SCHEMA,
    ArrayFile,
    Noise,
    Precision,
    Reference,
    ReferenceDevice,
    Source,
    TensorSpec,
)
from edgetf.samples import Array, load_samples, make_samples, save_samples

Floats = NDArray[np.float32]
FEATURES = 16
WEIGHTS = np.random.default_rng(0).normal(size=(FEATURES, 4)).astype(np.float32) * 1.5
NONE = np.zeros(4, np.float32)
BRIEF = TimingPlan(max_warmup_s=0.01, min_runs=5, min_s=0.01, max_s=0.1)


@dataclass(frozen=True)
class Case:
    """Inputs, the outputs of the reference and of the variant, all of shape (n, ...), and labels or None."""

    x: NDArray[Any]
    theirs: NDArray[Any]
    ours: NDArray[Any]
    labels: NDArray[Any] | None = None


def inputs(n: int, copies: int = 1, noise: float = 0.0, seed: int = 1) -> NDArray[Any]:
    """Samples, each as often as there are `copies`, with some noise."""
    random = np.random.default_rng(seed)
    x = np.tile(random.normal(size=(n // copies, FEATURES)), (copies, 1))
    return np.asarray(x + noise * random.normal(size=x.shape), np.float32)


def good(n: int = 1000, copies: int = 1, noise: float = 0.0, labels: bool = True) -> Case:
    """A variant whose outputs are close to those of the reference, which is right."""
    x = inputs(n, copies, noise)
    theirs = answers(x, WEIGHTS, NONE)
    ours = answers(x, WEIGHTS * np.float32(1.0001), NONE)
    return Case(x, theirs, ours, theirs.argmax(axis=1) if labels else None)


def write_model(path: Path, weights: Floats, bias: Floats) -> Path:
    """softmax(x @ weights + bias), of shape (1, features) to (1, classes), as a float32 `.tflite` file."""
    features, classes = weights.shape
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.subgraphs = 3, b"made by a test", [graph]
    model.buffers = [schema.BufferT()]
    graph.tensors = []

    def tensor(name: str, shape: tuple[int, ...], values: Floats | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), list(shape), schema.TensorType.FLOAT32, 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    x, logits, p = tensor("x", (1, features)), tensor("logits", (1, classes)), tensor("p", (1, classes))
    w, b = tensor("w", (classes, features), weights.T), tensor("b", (classes,), bias)
    model.operatorCodes, graph.operators = [], []
    dense, softmax = schema.FullyConnectedOptionsT(), schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    options = schema.BuiltinOptions
    for code, kind, given, ins, outs in (
        (schema.BuiltinOperator.FULLY_CONNECTED, options.FullyConnectedOptions, dense, [x, w, b], [logits]),
        (schema.BuiltinOperator.SOFTMAX, options.SoftmaxOptions, softmax, [logits], [p]),
    ):
        entry, op = schema.OperatorCodeT(), schema.OperatorT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, code, 1
        op.opcodeIndex, op.inputs, op.outputs = len(model.operatorCodes), ins, outs
        op.builtinOptionsType, op.builtinOptions = kind, given
        model.operatorCodes.append(entry)
        graph.operators.append(op)
    graph.inputs, graph.outputs = [x], [p]
    path.write_bytes(pack(model))
    return path


def write_two_graphs(path: Path, graphs: dict[str, int]) -> Path:
    """A file of two graphs, the second the larger, and signatures that run the graph of that number."""
    weights = np.arange(48, dtype=np.float32).reshape(16, 3) / 48
    content = write_model(path, weights, np.zeros(3, np.float32)).read_bytes()
    model, _ = unpack(content)
    small, large = copy.copy(model.subgraphs[0]), model.subgraphs[0]
    small.operators, small.outputs = large.operators[:1], [large.operators[0].outputs[0]]
    model.subgraphs, model.signatureDefs = [small, large], []
    for key, number in graphs.items():
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key.encode(), number
        signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
        for names, name, index in (
            (signature.inputs, b"x", large.inputs[0]),
            (signature.outputs, b"y", model.subgraphs[number].outputs[0]),
        ):
            names[0].name, names[0].tensorIndex = name, index
        model.signatureDefs.append(signature)
    path.write_bytes(pack(model))
    return path


def answers(x: Array, weights: Floats, bias: Floats) -> Floats:
    logits = np.asarray(x, np.float64) @ weights + bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def write_samples(path: Path, x: Array, labels: Array | None = None) -> Path:
    save_samples(path, make_samples(path.name, {"x": x}, labels))
    return path


def write_reference(folder: Path, samples: Path, outputs: Floats, digest: str = "5" * 64) -> Path:
    """A reference with these `outputs` for the samples, of a SavedModel with this digest."""
    folder.mkdir(parents=True, exist_ok=True)
    made = (TensorSpec("p", (None, *outputs.shape[1:]), outputs.dtype.name),)
    inputs = (TensorSpec("x", (None, FEATURES), "float32", True),)
    np.save(folder / "output-0.npy", outputs)
    array = ArrayFile("p", "output-0.npy", sha256_file(folder / "output-0.npy"), spread=float(np.ptp(outputs)))
    document = Reference(
        schema=REFERENCE_SCHEMA,
        edgetf="0",
        created=now(),
        source=Source("model", digest, "serving_default", inputs, made),
        samples=load_samples(samples, inputs).used(),
        device=ReferenceDevice("cpu", "a CPU", "a test"),
        precision=Precision("float32", False, True, True),
        versions={},
        batch=32,
        batch_alone=1,
        latency_ms=Latency(1.0, 0.9, 1.1, 1.2, 1.3, 1.0, 0.1, 100),
        latencies=(),
        noise=(Noise("op by op", 64, {"p": 1e-7}, True),),
        outputs=(array,),
    )
    write_document(folder / "reference.json", document)
    return folder
