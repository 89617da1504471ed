"""Calibration: a float flatbuffer and samples in, the Ranges of all its activations out.

Every small activation becomes an output of the graph, and of a large one its smallest and largest values and its sum.
The graph then runs under XNNPACK, with an interpreter on every core.
TensorFlow's own calibrator runs reference kernels on one core: about ten times slower, for the same ranges.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np

from edgetf import __version__
from edgetf.conversion.extremes import REDUCTIONS, with_extremes
from edgetf.conversion.known_faults import writes_variables
from edgetf.conversion.observe import expose, forget, prepare
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
_SMALL = 1 << 12  # values of a tensor: more of them are copied out of the graph on a part of the samples alone
_COPIED = 128  # of that part, in inferences
_FORGOTTEN = 16  # inferences after which the memory of mapped samples is released
_HEAVY = 64 << 20  # bytes of a flatbuffer: larger ones are not loaded twice for each core
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
    """Observes the activations of a float flatbuffer on `samples`, or on a part of them.

    Those of few values are copied out of the graph in every inference. The others are in `large`: their smallest and
    largest values are found by the graph, and they are copied in the inferences of `copied` alone.
    """

    def __init__(self, flatbuffer: bytes, samples: Samples, calibration: Calibration, on_progress: OnProgress) -> None:
        model, schema = unpack(flatbuffer)
        self.tensors = _activations(model, schema)
        self.copies = _copies(model, schema, self.tensors)
        self.digest = hashlib.sha256(flatbuffer).hexdigest()
        self.samples, self.calibration = samples, calibration
        self._flatbuffer = flatbuffer
        self._content = expose(flatbuffer, (t.index for t in self.tensors if not t.is_input))
        count = len(samples) // samples.batch
        self.large, self.copied = _large(model, schema, self.tensors, len(flatbuffer)), frozenset(range(count))
        if self.large:
            self.copied = frozenset(int(k) for k in np.linspace(0, count - 1, min(count, _COPIED)).round())
        self._kept = min(_VALUES, _ALL_VALUES // len(self.tensors))  # values of each tensor
        self.counter = _Counter(len(samples), on_progress)

    def share(self, k: int, number: int) -> int:
        """How many values of the k-th activation are kept of an inference."""
        if k not in self.large:
            return -(-self._kept // len(self.samples)) * self.samples.batch
        return -(-self._kept // len(self.copied)) if number in self.copied else 0

    def observe(self, inferences: Sequence[int], with_values: bool) -> Observation:
        """Run these inferences. `with_values` keeps a selection of all values, which all choices but min-max need."""
        workers = max(1, min(cores(), len(inferences)))
        self.quick  # noqa: B018  # once, before the threads
        with ThreadPoolExecutor(workers) as pool:
            jobs = [pool.submit(_observe, self, inferences[w::workers], with_values) for w in range(workers)]
            return Observation(self, tuple(job.result() for job in jobs))

    @cached_property
    def quick(self) -> tuple[bytes, list[int]] | None:
        """The flatbuffer that finds the extremes of `large`, and their tensors; None if that takes longer than to copy
        all activations, because XNNPACK may not run it in one piece, or if a sum is not finite: it may never be."""
        if not self.large:
            return None
        small = [one.index for k, one in enumerate(self.tensors) if k not in self.large and not one.is_input]
        try:
            found = with_extremes(self._flatbuffer, small, [self.tensors[k].index for k in sorted(self.large)])
            graph, exposed = _Graph(found[0], self, found[1]), _Graph(self._content, self)
            seconds = graph.seconds(graph.extremes)
            if graph.extremes() is None:
                return None
            longest = exposed.seconds(lambda: [(exposed.values(k).min(), exposed.values(k).max()) for k in self.large])
        except (RuntimeError, ValueError, EdgetfError):  # a sample that fails is reported when it has its turn
            return None
        return found if seconds < longest else None

    def graph(self, quick: bool) -> _Graph:
        """An interpreter of the quick flatbuffer, or of the one whose activations are all outputs."""
        if quick and self.quick is not None:
            return _Graph(self.quick[0], self, self.quick[1])
        return _Graph(self._content, self)


def _large(model: Any, schema: Any, tensors: list[_Activation], size: int) -> frozenset[int]:
    """The activations of many values, by their place; none if the file is large, or keeps states between runs."""
    shapes = [[int(axis) for axis in listed(model.subgraphs[0].tensors[one.index].shape)] for one in tensors]
    states = any(tensor.isVariable for graph in model.subgraphs for tensor in listed(graph.tensors))
    if size > _HEAVY or states or writes_variables(model, schema):
        return frozenset()
    return frozenset(k for k, shape in enumerate(shapes) if shape and int(np.prod(shape)) > _SMALL)


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

    def add(self, place: int, k: int, ends: tuple[float, float], begin: int) -> None:
        """Add the ends of the k-th tensor in the `place`-th inference, whose first sample is `begin`."""
        low, high = ends
        self.lows[k], self.highs[k] = np.minimum(self.lows[k], low), np.maximum(self.highs[k], high)  # keep NaN
        magnitude = max(abs(low), abs(high)) if np.isfinite(low + high) else np.inf
        self.magnitudes[place, k] = magnitude
        if magnitude > self.widest[k][0]:
            self.widest[k] = (magnitude, begin)


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


class _Graph:
    """An interpreter of a flatbuffer with activations as outputs: all, or all but the large ones, of which `results`
    are the smallest values, the largest ones and the sums."""

    def __init__(self, content: bytes, calibrator: Calibrator, results: Sequence[int] = ()) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._samples = calibrator.samples
        self._inputs = prepare(self._interpreter, self._samples)
        self.large = sorted(calibrator.large) if results else []
        self.copied = [k for k in range(len(calibrator.tensors)) if not results or k not in calibrator.large]
        self._views = {k: self._interpreter.tensor(calibrator.tensors[k].index) for k in self.copied}
        self._results = [self._interpreter.tensor(k) for k in results]

    def run(self, number: int) -> None:
        """Run an inference. Raises EdgetfError if the model fails on the sample."""
        samples, begin = self._samples, number * self._samples.batch
        try:
            for name, array in samples.feed(begin, begin + samples.batch).items():
                self._interpreter.set_tensor(self._inputs[name], np.require(array, requirements="C"))
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:  # what the interpreter raises
            message = f"the model fails on calibration sample {samples.row(begin)}: {in_one_line(str(error))}"
            hint = "check that the model accepts this sample; correct it or leave it out"
            raise EdgetfError(message, hint) from error

    def values(self, k: int) -> Floats:
        """The interpreter's own memory of the k-th activation: it does not run while this is kept."""
        values: Floats = self._views[k]()
        return values

    def extremes(self) -> Floats | None:
        """The smallest and largest values of `large`, (n, 2); None if one of them has values that are not finite."""
        found = np.array([view().item() for view in self._results], np.float32).reshape(-1, len(REDUCTIONS))
        return found[:, :2] if np.isfinite(found).all() else None

    def seconds(self, look: Callable[[], object]) -> float:
        """The time of an inference and of a look at it, the second of two."""
        for _ in range(2):
            begin = perf_counter()
            self.run(0)
            look()
        return perf_counter() - begin


def _observe(calibrator: Calibrator, inferences: Sequence[int], with_values: bool) -> _Observed:
    """Run some inferences in interpreters of this thread's own. numpy and the interpreter release the GIL."""
    tensors, samples, n = calibrator.tensors, calibrator.samples, len(calibrator.tensors)
    graphs: dict[bool, _Graph] = {}
    random = np.random.default_rng(inferences[0])
    found = _Observed(
        lows=np.full(n, np.inf, np.float32),
        highs=np.full(n, -np.inf, np.float32),
        magnitudes=np.zeros((len(inferences), n), np.float32),
        widest=[(-1.0, 0)] * n,
        values=[[] for _ in tensors],
    )

    def run(quick: bool, number: int) -> _Graph:
        graphs[quick] = graphs.get(quick) or calibrator.graph(quick)
        graphs[quick].run(number)
        return graphs[quick]

    for place, number in enumerate(inferences):
        is_quick = calibrator.quick is not None and not (with_values and number in calibrator.copied)
        graph = run(is_quick, number)
        extremes = graph.extremes() if is_quick else None
        if is_quick and extremes is None:  # NaN or infinity: numpy finds where
            graph = run(False, number)
        for k in graph.copied:
            # values before the model's own imputation may be NaN; its outputs may not
            imputed = samples.allow_nan and not tensors[k].is_output
            count = calibrator.share(k, number) if with_values else 0
            low, high, some = _look(graph.values(k), count, random, imputed)
            found.add(place, k, (low, high), number * samples.batch)
            if count:
                found.values[k].append(some)
        for k, (low, high) in zip(graph.large, extremes if extremes is not None else (), strict=True):
            found.add(place, k, (float(low), float(high)), number * samples.batch)
        calibrator.counter.add(samples.batch)
        if place % _FORGOTTEN == 0:
            forget(samples)
    return found


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
