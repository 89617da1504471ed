"""One loaded variant: inputs and outputs by the names of its signature, quantized by their own parameters.

Works with `ai_edge_litert` and `tflite_runtime`, whichever the job asks for or is installed. TensorFlow is never
imported: TensorFlow and tflite_runtime in one process crash.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .answers import in_one_line
from .coverage import Graph, count_nodes, coverage_of, read_graph
from .delegates import (
    AUTO,
    DELEGATES,
    DISPATCH,
    ETHOS_U,
    MICRO,
    NPUS,
    RUNTIMES,
    WEIGHT_CACHE,
    Delegate,
    delegates_of,
    find_delegate,
)
from .job import Coverage, DelegateError, Job
from .job import JobError as JobError
from .pixels import Pixels, read_pixels


@dataclass(frozen=True)
class Runtime:
    """An importable interpreter: its name among RUNTIMES, its version, and its module."""

    name: str
    version: str
    module: Any


def find_runtime(asked: str) -> Runtime:
    """The runtime `asked` for, or with "auto" the first that is installed. Raises JobError when there is none."""
    reasons = []
    if asked == MICRO:
        return _find_micro()
    if asked != AUTO and asked not in RUNTIMES:
        raise JobError(f"unknown runtime {asked!r}; known: {AUTO}, {', '.join(RUNTIMES)}")
    for name in RUNTIMES if asked == AUTO else [asked]:
        package = RUNTIMES[name].package
        try:
            module = importlib.import_module(f"{RUNTIMES[name].module}.interpreter")
            return Runtime(name, _version(package), module)
        except ModuleNotFoundError:
            reasons.append(f"{package} is not installed (pip install {package})")
        except (ImportError, AttributeError) as error:  # numpy 2 with tflite-runtime fails here
            reasons.append(f"{package} does not load: {error}; it may need: pip install 'numpy<2'")
    raise JobError("; ".join(reasons))


def _version(package: str) -> str:
    from importlib.metadata import version  # imports the package email; the host imports this module for its classes

    return version(package)


def _find_micro() -> Runtime:
    try:
        importlib.import_module("tflite_micro")
        return Runtime(MICRO, _version(MICRO), importlib.import_module(".micro", __package__))
    except ModuleNotFoundError as error:
        raise JobError(f"{MICRO} is not installed (pip install {MICRO}): {error}") from error
    except (ImportError, AttributeError) as error:
        raise JobError(f"{MICRO} does not load: {error}") from error


@dataclass(frozen=True)
class Tensor:
    """An input or output of the interpreter. `scale` 0 means that it is not quantized; `pixels` are those it takes."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: Any
    scale: float
    zero_point: int
    free: tuple[int, ...] = ()  # axes whose length is known only after a run
    pixels: Pixels | None = None

    def quantize(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Values as the tensor stores them: pixels, or round(value / scale) + zero_point, clipped to the dtype.

        Values that already have the tensor's dtype are passed as they are. Rounds half to even, as XNNPACK does.
        """
        if values.dtype == self.dtype:
            return np.ascontiguousarray(values) if values.flags.aligned else np.array(values, order="C")
        if self.pixels is not None:
            return self.pixels.of(values)
        if not self.scale:
            raise JobError(
                f"input {self.name!r} takes {np.dtype(self.dtype).name}, the samples are {values.dtype.name}"
            )
        limits = np.iinfo(self.dtype)
        steps = np.rint(values / np.float32(self.scale))
        steps += np.float32(self.zero_point)
        np.maximum(steps, np.float32(limits.min), out=steps)  # np.clip takes three times as long on small arrays
        np.minimum(steps, np.float32(limits.max), out=steps)
        stored: np.ndarray[Any, Any] = steps.astype(self.dtype)
        return stored

    def dequantize(self, stored: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(stored - zero_point) * scale in float32; what is not quantized is returned as it is."""
        if not self.scale:
            return stored
        return (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


@contextmanager
def naming_sample(number: int) -> Iterator[None]:
    """Enclose a run on a sample: an error of the interpreter becomes a JobError with the sample and the operation."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise JobError(f"it fails on sample {number}: {in_one_line(str(error))}") from error


class Session:
    """An interpreter with memory allocated for the samples' shapes.

    `row_shapes` gives the shape of one sample of each input. Axis 0 of an input is the batch, the model's own where it
    is fixed, else 1, but for the job's unbatched inputs, of which one sample is the whole. `delegates` are applied
    before that of the job. Raises JobError for samples, a signature or a delegate that do not fit, and what the
    interpreter raises.
    """

    def __init__(
        self,
        runtime: Runtime,
        job: Job,
        threads: int,
        row_shapes: dict[str, tuple[int, ...]],
        delegates: tuple[Any, ...] = (),
    ) -> None:
        delegate = _delegate_of(runtime, job)
        options = _delegate_options(runtime, delegate, job)
        taking = [*delegates, *options.pop("experimental_delegates", ())]
        if taking:
            options["experimental_delegates"] = taking
        make = _interpreter_of(runtime, delegate, job)
        try:
            self._interpreter = make(model_path=job.model, num_threads=threads, **options)
        except (RuntimeError, ValueError) as error:
            if not delegate.library:
                raise
            raise JobError(f"{delegate.label} refuses it: {in_one_line(str(error))}") from error
        # the default delegate comes when memory is allocated, and takes what a library has left: its nodes come later
        self._own_nodes = count_nodes(self._interpreter) if delegate.library else sys.maxsize
        inputs, outputs = self._signature(job.signature)
        if set(inputs) != set(row_shapes):
            raise JobError(f"the variant's inputs are {sorted(inputs)}, the samples have {sorted(row_shapes)}")
        self.batch, self.free_batch = 1, False
        for name, detail in inputs.items():
            self._resize(name, detail, row_shapes[name], name not in job.unbatched_inputs)
        if self.batch > 1 and job.unbatched_inputs:
            name = job.unbatched_inputs[0]
            raise JobError(f"it takes {self.batch} samples at once, and {name!r} has no axis for them")
        self._allocate()
        inputs, outputs = self._signature(job.signature)  # shapes are known now
        maps = read_pixels(job.model) if any(one["dtype"] is np.uint8 for one in inputs.values()) else {}
        self.inputs = [_tensor(name, inputs[name], maps.get(name)) for name in row_shapes]
        self.outputs = [_tensor(name, detail) for name, detail in outputs.items()]
        self._unbatched = job.unbatched_inputs
        self.invoke = self._interpreter.invoke
        # forgets the state that a fused LSTM keeps from one run to the next; 0.3 microseconds
        self.reset = self._interpreter.reset_all_variables
        arena = getattr(self._interpreter, "arena", None)
        self.arena_bytes: int | None = None if arena is None else arena.total  # of microcontrollers

    def _allocate(self) -> None:
        try:
            self._interpreter.allocate_tensors()
        except RuntimeError as error:
            if ETHOS_U in str(error):
                raise JobError("it was compiled for an Ethos-U: only a board with it runs this file") from error
            if DISPATCH not in str(error):
                raise
            accelerators = " or ".join(row.name for row in DELEGATES.values() if row.module == NPUS)
            raise JobError(f"it was compiled for an accelerator: run it with --delegate {accelerators}") from error

    def _signature(self, asked: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Details of inputs and outputs by name: the signature's names, or without a signature those of the tensors."""
        signatures = self._interpreter.get_signature_list()
        if not signatures:
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            return {d["name"]: d for d in inputs}, {d["name"]: d for d in outputs}
        key = asked if asked is not None else next(iter(signatures))
        if key not in signatures:
            raise JobError(f"the variant has no signature {key!r}; it has: {', '.join(signatures)}")
        if len(signatures) > 1 and next(iter(signatures)) != key:
            raise JobError(f"signature {key!r} is not the variant's first; convert it by itself")
        runner = self._interpreter.get_signature_runner(key)
        if getattr(runner, "_subgraph_index", 0):  # `invoke` runs the first graph (no public way, as of LiteRT 2.3)
            raise JobError(f"signature {key!r} is not the variant's first graph; convert it by itself")
        return runner.get_input_details(), runner.get_output_details()

    def _resize(self, name: str, detail: dict[str, Any], row: tuple[int, ...], batched: bool) -> None:
        signature = [int(axis) for axis in detail.get("shape_signature", detail["shape"])]
        if batched and not signature:
            raise JobError(f"input {name!r} has no axis for samples")
        if batched and signature[0] > 1:
            self.batch = signature[0]
        self.free_batch |= batched and signature[0] < 0
        wanted = [max(signature[0], 1), *row] if batched else [*row]
        if len(wanted) != len(signature) or any(s not in (-1, w) for s, w in zip(signature, wanted)):
            raise JobError(f"input {name!r} takes {signature[batched:]} a sample, the samples have {list(row)}")
        if wanted != [int(axis) for axis in detail["shape"]]:
            self._interpreter.resize_tensor_input(detail["index"], wanted)

    def feed(self, stored: list[np.ndarray[Any, Any]]) -> None:
        """Copy one batch of already quantized values into the inputs, in their order."""
        for tensor, values in zip(self.inputs, stored):
            whole = values[0] if tensor.name in self._unbatched else values
            self._interpreter.set_tensor(tensor.index, np.asarray(whole))

    def fetch(self) -> list[np.ndarray[Any, Any]]:
        """Copies of the outputs as stored, in their order."""
        return [self._interpreter.get_tensor(tensor.index) for tensor in self.outputs]

    def coverage(self, accelerator: str) -> Coverage:
        """What `accelerator` took of the graph, by the interpreter itself. Raises JobError if that is unknown."""
        own = getattr(self._interpreter, "coverage", None)
        found: Coverage = own(accelerator) if own else coverage_of(self.graph(), accelerator)
        return found

    def graph(self) -> Graph:
        """The operations, and those that a delegate took. Raises JobError if the runtime does not list them."""
        graph = read_graph(self._interpreter)
        if self._own_nodes is None:
            raise JobError("the runtime does not count the nodes of its graph: which are the library's is unknown")
        return replace(graph, default_pieces=frozenset(k for k in graph.pieces if k >= self._own_nodes))


def lists_nodes(job: Job) -> bool:
    """Whether TFLite's own interpreter runs the job: it lists the nodes of its graph, which can then be timed."""
    return job.runtime != MICRO and not _module_of(find_delegate(job.delegate), job)


def _delegate_of(runtime: Runtime, job: Job) -> Delegate:
    """The job's delegate. Raises DelegateError for one that the runtime does not have."""
    known = delegates_of(runtime.name)
    try:
        delegate = find_delegate(job.delegate)
    except KeyError:
        delegate = None
    if delegate is None or runtime.name not in delegate.runtimes:
        raise DelegateError(f"{runtime.name} has no delegate {job.delegate!r}; it has: {', '.join(known)}")
    return delegate


def _delegate_options(runtime: Runtime, delegate: Delegate, job: Job) -> dict[str, Any]:
    """What the interpreter is constructed with. Raises DelegateError for a delegate that cannot be loaded."""
    if delegate.library:
        external = importlib.import_module(".external", __package__)
        loaded = external.load_delegate(runtime.module, delegate.library, job.delegate_options)
        return {"experimental_delegates": [loaded]}
    if _module_of(delegate, job):
        asked = {"accelerator": delegate.accelerator, "options": job.delegate_options}
        return {name: given for name, given in asked.items() if given}
    resolver = delegate.resolver
    return {"experimental_op_resolver_type": getattr(runtime.module.OpResolverType, resolver)} if resolver else {}


def _module_of(delegate: Delegate, job: Job) -> str:
    """The module here that runs variants in the place of the runtime; empty if the runtime does."""
    return delegate.module or ("xnnpack" if job.delegate_options.get(WEIGHT_CACHE, "false") != "false" else "")


def _interpreter_of(runtime: Runtime, delegate: Delegate, job: Job) -> Any:
    name = _module_of(delegate, job)
    if name and runtime.name != "litert":
        raise DelegateError(f"{runtime.name} has no {WEIGHT_CACHE}: measure with --runtime litert")
    return importlib.import_module(f".{name}", __package__).Interpreter if name else runtime.module.Interpreter


def _tensor(name: str, detail: dict[str, Any], pixels: Pixels | None = None) -> Tensor:
    scale, zero_point = detail["quantization"]
    shape = tuple(int(axis) for axis in detail["shape"])
    free = tuple(k for k, axis in enumerate(detail.get("shape_signature", shape)) if axis < 0)
    return Tensor(name, detail["index"], shape, detail["dtype"], float(scale), int(zero_point), free, pixels)
