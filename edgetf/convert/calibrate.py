"""Calibration: a float flatbuffer and samples in, the Ranges of all its activations out.

Every activation becomes an output of the graph, which then runs under XNNPACK with an interpreter on every core.
TensorFlow's own calibrator runs reference kernels on one core: about ten times slower, for the same ranges.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetf import __version__
from edgetf.convert.ranges import RANGES_SCHEMA, Floats, Range, RangeChoice, Ranges, choose
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import count_ops, pack, tensor_name, unpack
from edgetf.results import Calibration
from edgetf.samples import Samples
from edgetf.schemes import Scheme

OnProgress = Callable[[int, int], None]
_VALUES = 1 << 18  # values of a tensor that are kept for percentiles
# ops that hold a subgraph: the int8 quantizer leaves it in float, the int16x8 one refuses it
LOOPS = frozenset({"WHILE", "IF", "CALL", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"})
# ops with values inside of them that need ranges too
_STATEFUL = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "SVDF", "RNN"}
_STATEFUL |= {"UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"}


def why_not(flatbuffer: bytes, scheme: Scheme) -> str | None:
    """Why this float flatbuffer cannot be calibrated here for `scheme`, or None where it can."""
    ops = set(count_ops(flatbuffer))
    if inside := sorted(ops & _STATEFUL):
        return f"{', '.join(inside)} has values inside that need ranges too"
    if scheme.activations == "int16" and (loops := sorted(ops & LOOPS)):
        return f"{', '.join(loops)} needs ranges inside for int16 activations"
    if any(name.startswith("Flex") for name in ops):
        return "it has ops of the Flex delegate, which LiteRT's wheel lacks"
    if ops & {"FAKE_QUANT", "QUANTIZE", "DEQUANTIZE"}:
        return "it is quantized already"
    return None


def calibrate(
    flatbuffer: bytes, samples: Samples, calibration: Calibration, choice: RangeChoice, on_progress: OnProgress
) -> Ranges:
    """Run all `samples` and return the Ranges of every float activation, in the order of the graph.

    Raises EdgetfError when an activation is not finite: no range would hold it.
    """
    tensors = _activations(flatbuffer)
    content = _expose(flatbuffer, tensors)
    batch = _batch(content)
    batches = len(samples) // batch
    workers = max(1, min(len(os.sched_getaffinity(0)), batches))
    share = -(-_VALUES // len(samples)) if choice.needs_values else 0
    counter = _Counter(len(samples), on_progress)
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_observe, content, tensors, samples, range(w, batches, workers), batch, share, counter)
            for w in range(workers)
        ]
        observed = [job.result() for job in jobs]
    lows, highs = np.min([o.lows for o in observed], axis=0), np.max([o.highs for o in observed], axis=0)
    ranges = []
    for k, tensor in enumerate(tensors):
        magnitudes = np.sort(np.concatenate([o.magnitudes[:, k] for o in observed]))
        widest = max((o.widest[k] for o in observed), key=lambda found: found[0])
        others = float(magnitudes[-2]) if len(magnitudes) > 1 else widest[0]
        values = (
            np.concatenate([piece for o in observed for piece in o.values[k]]) if share else np.zeros(0, np.float32)
        )
        if not (np.isfinite(lows[k]) and np.isfinite(highs[k])):
            raise EdgetfError(
                f"{tensor.name} is not finite on sample {samples.row(widest[1])} of the samples to calibrate on",
                "look for a division by zero or an overflow in the model, or remove the sample",
            )
        low, high = choose(choice, float(lows[k]), float(highs[k]), values)
        stretch = widest[0] / others if others > 0 else 1.0
        ranges.append(Range(tensor.name, low, high, samples.row(widest[1]), round(stretch, 3)))
    digest = hashlib.sha256(flatbuffer).hexdigest()
    return Ranges(RANGES_SCHEMA, __version__, digest, calibration, choice, tuple(ranges))


def write_ranges(flatbuffer: bytes, ranges: Ranges) -> bytes:
    """The float flatbuffer with `min` and `max` in each activation, as the quantizers want it.

    Raises EdgetfError when the ranges are those of another model.
    """
    if hashlib.sha256(flatbuffer).hexdigest() != ranges.digest:
        raise EdgetfError("the ranges are of another model, or of other weights", "calibrate again, with --samples")
    model, schema = unpack(flatbuffer)
    found = {one.tensor: one for one in ranges.ranges}
    for tensor in _activations(flatbuffer):
        spec = model.subgraphs[0].tensors[tensor.index]
        spec.quantization = spec.quantization or schema.QuantizationParametersT()
        spec.quantization.min, spec.quantization.max = [found[tensor.name].low], [found[tensor.name].high]
    return pack(model)


# what is observed -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Activation:
    index: int
    name: str
    is_input: bool


@dataclass
class _Observed:
    """What one worker saw of each tensor: its extremes, its largest magnitude in every batch, (the largest of all,
    the sample that had it), and some of its values."""

    lows: Floats
    highs: Floats
    magnitudes: Floats
    widest: list[tuple[float, int]]
    values: list[list[Floats]]


def _activations(flatbuffer: bytes) -> list[_Activation]:
    """Float inputs, then float results of ops in the order of the graph. The index keeps names unique."""
    model, schema = unpack(flatbuffer)
    graph = model.subgraphs[0]
    inputs = [int(i) for i in graph.inputs]
    results = [int(i) for op in graph.operators for i in op.outputs]
    floats = [i for i in dict.fromkeys([*inputs, *results]) if graph.tensors[i].type == schema.TensorType.FLOAT32]
    return [_Activation(i, f"{tensor_name(graph.tensors[i])}#{i}", i in inputs) for i in floats]


def _expose(flatbuffer: bytes, tensors: list[_Activation]) -> bytes:
    model, _ = unpack(flatbuffer)
    graph = model.subgraphs[0]
    graph.outputs = np.array([t.index for t in tensors if not t.is_input], np.int32)
    for signature in model.signatureDefs or []:
        signature.outputs = []  # signatures stay for the names of the inputs
    return pack(model)


def _batch(content: bytes) -> int:
    model, _ = unpack(content)
    graph = model.subgraphs[0]
    shape = graph.tensors[graph.inputs[0]].shape
    return int(shape[0]) if shape is not None and len(shape) else 1


def _observe(
    content: bytes,
    tensors: list[_Activation],
    samples: Samples,
    batches: range,
    batch: int,
    share: int,
    counter: _Counter,
) -> _Observed:
    """Run some batches in an interpreter of this thread's own. numpy and the interpreter release the GIL."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    feeds = _prepare(interpreter, samples)
    views = [interpreter.tensor(t.index) for t in tensors]
    random = np.random.default_rng(batches.start)
    lows, highs = np.full(len(tensors), np.inf, np.float32), np.full(len(tensors), -np.inf, np.float32)
    widest: list[tuple[float, int]] = [(-1.0, 0)] * len(tensors)
    values: list[list[Floats]] = [[] for _ in tensors]
    magnitudes = np.zeros((len(batches), len(tensors)), np.float32)
    for done, number in enumerate(batches):
        rows = slice(number * batch, (number + 1) * batch)
        for index, array in feeds:
            interpreter.set_tensor(index, np.ascontiguousarray(array[rows]))
        interpreter.invoke()
        for k, view in enumerate(views):
            low, high, some = _look(view(), share * batch, random)
            lows[k], highs[k] = np.minimum(lows[k], low), np.maximum(highs[k], high)  # they keep NaN, min() does not
            magnitude = max(abs(low), abs(high)) if np.isfinite(low + high) else np.inf
            magnitudes[done, k] = magnitude
            if magnitude > widest[k][0]:
                widest[k] = (magnitude, rows.start)
            if share:
                values[k].append(some)
        counter.add(batch)
    return _Observed(lows, highs, magnitudes, widest, values)


def _look(array: Floats, count: int, random: np.random.Generator) -> tuple[float, float, Floats]:
    """Smallest and largest value, and a random choice of `count` values. Keeps no view: the next run would refuse."""
    if not array.size:
        return 0.0, 0.0, array.reshape(-1).copy()
    flat = array.reshape(-1)
    some = flat[random.integers(0, flat.size, min(count, flat.size))]
    return float(flat.min()), float(flat.max()), some


def _prepare(interpreter: Any, samples: Samples) -> list[tuple[int, Any]]:
    """Allocate for the samples' shapes; the inputs' tensor indices with the arrays that feed them."""
    signatures = interpreter.get_signature_list()
    details = {d["name"]: d for d in interpreter.get_input_details()}
    if signatures:
        details = interpreter.get_signature_runner(next(iter(signatures))).get_input_details()
    for name, array in samples.inputs.items():
        shape = [int(details[name]["shape"][0]), *array.shape[1:]]
        if shape != [int(axis) for axis in details[name]["shape"]]:
            interpreter.resize_tensor_input(details[name]["index"], shape)
    interpreter.allocate_tensors()
    return [(details[name]["index"], array) for name, array in samples.inputs.items()]


class _Counter:
    def __init__(self, n: int, on_progress: OnProgress) -> None:
        self._n, self._on_progress = n, on_progress
        self._done, self._lock = 0, threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._done % 16 < count or self._done == self._n:
                self._on_progress(self._done, self._n)
