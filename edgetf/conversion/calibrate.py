"""Calibration: a float flatbuffer and samples in, the Ranges of all its activations out.

Every activation becomes an output of the graph, which then runs under XNNPACK with an interpreter on every core.
TensorFlow's own calibrator runs reference kernels on one core: about ten times slower, for the same ranges.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgetf import __version__
from edgetf.conversion.observe import expose, prepare
from edgetf.conversion.ranges import RANGES_SCHEMA, Floats, Range, RangeChoice, Ranges, choose
from edgetf.conversion.scales import COPIES_FIRST
from edgetf.device.runner.answers import in_one_line
from edgetf.device.runner.machine import cores
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import builtin_code, count_ops, listed, names_of, pack, tensor_name, unpack
from edgetf.results import Calibration
from edgetf.samples import Samples
from edgetf.schemes import Scheme

OnProgress = Callable[[int, int], None]
_VALUES, _ALL_VALUES = 1 << 17, 1 << 26  # values that are kept for percentiles: of a tensor, of all
# ops that hold a subgraph: the int8 quantizer leaves it in float, the int16x8 quantizer rejects it
LOOPS = frozenset({"WHILE", "IF", "CALL", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"})
# ops with internal values that need ranges too
_STATEFUL = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "SVDF", "RNN"}
_STATEFUL |= {"UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"}


def why_not(flatbuffer: bytes, scheme: Scheme) -> str | None:
    """The reason why this float flatbuffer cannot be calibrated here for `scheme`, or None."""
    ops = set(count_ops(flatbuffer))
    if inside := sorted(ops & _STATEFUL):
        return f"{', '.join(inside)} has values inside that need ranges too"
    if scheme.activations == "int16" and (loops := sorted(ops & LOOPS)):
        return f"{', '.join(loops)} needs ranges inside for int16 activations"
    if any(name.startswith("Flex") for name in ops):
        return "it has ops of the Flex delegate, which LiteRT's wheel lacks"
    if ops & {"FAKE_QUANT", "QUANTIZE", "DEQUANTIZE"}:
        return "it is already quantized"
    return None


def calibrate(
    flatbuffer: bytes, samples: Samples, calibration: Calibration, choice: RangeChoice, on_progress: OnProgress
) -> Ranges:
    """Run all `samples` and return the Ranges of every float activation, in the order of the graph.

    Raises EdgetfError when an activation is not finite: no range can hold it.
    """
    calibrator = Calibrator(flatbuffer, samples, calibration, on_progress)
    return calibrator.observe(range(len(samples) // samples.batch), choice.needs_values).ranges(choice)


class Calibrator:
    """Observes the activations of a float flatbuffer on `samples`, or on a part of them."""

    def __init__(self, flatbuffer: bytes, samples: Samples, calibration: Calibration, on_progress: OnProgress) -> None:
        model, schema = unpack(flatbuffer)
        self.tensors = _activations(model, schema)
        self.copies = _copies(model, schema, self.tensors)
        self.digest = hashlib.sha256(flatbuffer).hexdigest()
        self.samples, self.calibration = samples, calibration
        self.content = expose(flatbuffer, (t.index for t in self.tensors if not t.is_input))
        self._share = -(-min(_VALUES, _ALL_VALUES // len(self.tensors)) // len(samples))  # for each sample
        self.counter = _Counter(len(samples), on_progress)

    def observe(self, inferences: Sequence[int], with_values: bool) -> Observation:
        """Run these inferences. `with_values` keeps a selection of all values, which all choices but min-max need."""
        workers, share = max(1, min(cores(), len(inferences))), self._share if with_values else 0
        with ThreadPoolExecutor(workers) as pool:
            jobs = [pool.submit(_observe, self, inferences[w::workers], share) for w in range(workers)]
            return Observation(self, tuple(job.result() for job in jobs))


@dataclass(frozen=True)
class Observation:
    """What the activations were on some inferences: all that ranges of any choice need."""

    calibrator: Calibrator
    observed: tuple[_Observed, ...]
    known: dict[RangeChoice, Ranges] = field(default_factory=dict)

    def __add__(self, other: Observation) -> Observation:
        return Observation(self.calibrator, self.observed + other.observed)

    def ranges(self, choice: RangeChoice) -> Ranges:
        """The Ranges by `choice`. Raises EdgetfError when an activation is not finite."""
        if choice not in self.known:
            one = self.calibrator
            with ThreadPoolExecutor(cores()) as pool:
                ranges = list(pool.map(lambda k: self._range(k, choice), range(len(one.tensors))))
            for source, copy in one.copies if choice.needs_values else ():  # they will have one scale
                ranges[copy] = replace(ranges[copy], low=ranges[source].low, high=ranges[source].high)
            self.known[choice] = Ranges(RANGES_SCHEMA, __version__, one.digest, one.calibration, choice, tuple(ranges))
        return self.known[choice]

    def _range(self, k: int, choice: RangeChoice) -> Range:
        """The range of the k-th activation."""
        name, row = self.calibrator.tensors[k].name, self.calibrator.samples.row
        low, high = min(o.lows[k] for o in self.observed), max(o.highs[k] for o in self.observed)
        magnitudes = np.sort(np.concatenate([o.magnitudes[:, k] for o in self.observed]))
        widest = max((o.widest[k] for o in self.observed), key=lambda found: found[0])
        others = float(magnitudes[-2]) if len(magnitudes) > 1 else widest[0]
        if not all(np.isfinite([o.lows[k], o.highs[k]]).all() for o in self.observed):
            raise EdgetfError(
                f"{name} is not finite on calibration sample {row(widest[1])}",
                "look for a division by zero or an overflow in the model, or remove the sample",
            )
        pieces = [piece for o in self.observed for piece in o.values[k]] if choice.needs_values else []
        values = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        chosen_low, chosen_high = choose(choice, float(low), float(high), values)
        stretch = widest[0] / others if others > 0 else 1.0
        return Range(name, chosen_low, chosen_high, row(widest[1]), round(stretch, 3))


def write_ranges(flatbuffer: bytes, ranges: Ranges) -> bytes:
    """The float flatbuffer with `min` and `max` set on each activation, as the quantizers expect it.

    Raises EdgetfError when the ranges are those of another model.
    """
    if hashlib.sha256(flatbuffer).hexdigest() != ranges.digest:
        raise EdgetfError("the ranges are of another model, or of other weights", "calibrate again, with --samples")
    model, schema = unpack(flatbuffer)
    found = {one.tensor: one for one in ranges.ranges}
    for tensor in _activations(model, schema):
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
    is_output: bool


@dataclass
class _Observed:
    """What one worker observed of each tensor.

    Its smallest and largest value, its largest magnitude in each batch, the largest magnitude of all with its sample,
    and a selection of its values.
    """

    lows: Floats
    highs: Floats
    magnitudes: Floats
    widest: list[tuple[float, int]]
    values: list[list[Floats]]


def _activations(model: Any, schema: Any) -> list[_Activation]:
    """Float inputs, then float results of ops in the order of the graph. The index keeps names unique."""
    graph = model.subgraphs[0]
    inputs = [int(i) for i in graph.inputs]
    results = [int(i) for op in listed(graph.operators) for i in listed(op.outputs)]
    floats = [i for i in dict.fromkeys([*inputs, *results]) if graph.tensors[i].type == schema.TensorType.FLOAT32]
    outputs = [int(i) for i in graph.outputs]
    return [_Activation(i, f"{tensor_name(graph.tensors[i])}#{i}", i in inputs, i in outputs) for i in floats]


def _copies(model: Any, schema: Any, tensors: list[_Activation]) -> list[tuple[int, int]]:
    """The places of tensors and of their copies, for ops that hand values on as they are."""
    kinds, place = names_of(schema.BuiltinOperator), {one.index: k for k, one in enumerate(tensors)}
    ops = [op for op in listed(model.subgraphs[0].operators) if kinds[builtin_code(model, op)] in COPIES_FIRST.split()]
    pairs = [(int(op.inputs[0]), int(result)) for op in ops for result in op.outputs]
    return [(place[source], place[result]) for source, result in pairs if source in place and result in place]


def _observe(calibrator: Calibrator, batches: Sequence[int], share: int) -> _Observed:
    """Run some inferences in an interpreter of this thread's own. numpy and the interpreter release the GIL."""
    from ai_edge_litert.interpreter import Interpreter

    tensors, samples = calibrator.tensors, calibrator.samples
    interpreter = Interpreter(model_content=calibrator.content, num_threads=1)
    indices, batch = prepare(interpreter, samples), samples.batch
    views = [interpreter.tensor(t.index) for t in tensors]
    random = np.random.default_rng(batches[0])
    lows, highs = np.full(len(tensors), np.inf, np.float32), np.full(len(tensors), -np.inf, np.float32)
    widest: list[tuple[float, int]] = [(-1.0, 0)] * len(tensors)
    values: list[list[Floats]] = [[] for _ in tensors]
    magnitudes = np.zeros((len(batches), len(tensors)), np.float32)
    for done, number in enumerate(batches):
        begin = number * batch
        try:
            for name, array in samples.feed(begin, begin + batch).items():
                interpreter.set_tensor(indices[name], np.require(array, requirements="C"))
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:  # what the interpreter raises
            message = f"the model fails on calibration sample {samples.row(begin)}: {in_one_line(str(error))}"
            raise EdgetfError(
                message, "check that the model accepts this sample; correct it or leave it out"
            ) from error
        for k, view in enumerate(views):
            # values before the model's own imputation may be NaN; its outputs may not
            imputed = samples.allow_nan and not tensors[k].is_output
            low, high, some = _look(view(), share * batch, random, imputed)
            lows[k], highs[k] = np.minimum(lows[k], low), np.maximum(highs[k], high)  # keep NaN, unlike min()
            magnitude = max(abs(low), abs(high)) if np.isfinite(low + high) else np.inf
            magnitudes[done, k] = magnitude
            if magnitude > widest[k][0]:
                widest[k] = (magnitude, begin)
            if share:
                values[k].append(some)
        calibrator.counter.add(batch)
    return _Observed(lows, highs, magnitudes, widest, values)


def _look(array: Floats, count: int, random: np.random.Generator, imputed: bool) -> tuple[float, float, Floats]:
    """The smallest and largest value, and a random choice of `count` values; without NaN if it is `imputed` later.

    Keeps no view of the tensor: the interpreter refuses to run while one exists.
    """
    flat = array.reshape(-1)
    if imputed:
        flat = flat[~np.isnan(flat)]
    if not flat.size:
        return 0.0, 0.0, flat.copy()
    some = flat[random.integers(0, flat.size, min(count, flat.size))]
    return float(flat.min()), float(flat.max()), some


class _Counter:
    def __init__(self, n: int, on_progress: OnProgress) -> None:
        self._n, self._on_progress = n, on_progress
        self._done, self._lock = 0, threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._done % 16 < count or self._done == self._n:
                self._on_progress(self._done, self._n)
