"""The time of each operation of a variant, in a process of its own: a Job in; OpTimes and a Coverage with shares out.

No Python runtime has a public profiler. A delegate that takes nothing, made here with ctypes, gets the interpreter's
context, and with it the kernels of all nodes; each is replaced by a function that takes the time and calls it. So the
real graph is timed, with the pieces that a real delegate took as nodes of their own. To divide the time of a piece
among the operations inside of it, the graph runs a second time without the delegate, on TFLite's own kernels.

The structures are the first fields of those in tflite/core/c/common.h, which have not changed from TensorFlow 2.4 to
LiteRT 2.3. If another runtime differs, this process may crash, and only the times of operations are missing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from time import perf_counter_ns
from typing import Any

from .coverage import Graph, accelerator_of, coverage_of
from .delegates import NO_DELEGATE
from .interpreter import JobError, naming_sample
from .job import Coverage, Job, OpTime
from .outputs import load_inputs, open_session

_WARMUP, _FEWEST, _MOST, _MOST_NS = 1, 3, 50, 250_000_000  # runs, and how long the timed ones may take

_POINTER = ctypes.c_void_p
_INVOKE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER)  # context, node: status
_PREPARE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER)  # context, delegate: status


class _Numbers(ctypes.Structure):
    """TfLiteIntArray: `size` numbers follow."""

    _fields_ = [("size", ctypes.c_int)]


class _Registration(ctypes.Structure):
    """TfLiteRegistration, as far as the kernel."""

    _fields_ = [("init", _POINTER), ("free", _POINTER), ("prepare", _POINTER), ("invoke", _POINTER)]


_GET_PLAN = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.POINTER(ctypes.POINTER(_Numbers)))
_GET_NODE = ctypes.CFUNCTYPE(
    ctypes.c_int, _POINTER, ctypes.c_int, ctypes.POINTER(_POINTER), ctypes.POINTER(ctypes.POINTER(_Registration))
)


class _Context(ctypes.Structure):
    """TfLiteContext, as far as the function that finds a node."""

    _fields_ = [
        ("tensors_size", ctypes.c_size_t),
        ("get_execution_plan", _POINTER),
        *((name, _POINTER) for name in ("tensors", "impl", "resize_tensor", "report_error", "add_tensors")),
        ("get_node_and_registration", _POINTER),
    ]


class _Delegate(ctypes.Structure):
    """TfLiteDelegate."""

    _fields_ = [
        ("data", _POINTER),
        ("prepare", _PREPARE),
        *((name, _POINTER) for name in ("copy_from_buffer", "copy_to_buffer", "free_buffer")),
        ("flags", ctypes.c_int64),
        ("opaque", _POINTER),
    ]


_ALLOWS_DYNAMIC_TENSORS = 1  # otherwise the graph cannot be changed any more


class Tap:
    """A delegate that takes nothing, for `Session`: after memory is allocated, `time_kernels` changes the nodes."""

    def __init__(self) -> None:
        self._context: int | None = None
        self._plan: Any = None
        self._node: Any = None
        self._delegate = _Delegate(prepare=_PREPARE(self._prepare), flags=_ALLOWS_DYNAMIC_TENSORS)
        self._kernels: list[Any] = []  # the interpreter calls them as long as it lives
        self.times: dict[int, list[int]] = {}  # nanoseconds of each node, run by run

    def _get_native_delegate_pointer(self) -> int:
        """As the interpreter calls it."""
        return ctypes.addressof(self._delegate)

    def _prepare(self, context: int, delegate: int) -> int:
        """These functions are in the context while a delegate is prepared, and they can be called later."""
        if self._context is not None:  # graphs that loops and branches run, or none, come after the first one
            return 0
        found = ctypes.cast(context, ctypes.POINTER(_Context)).contents
        self._plan = _GET_PLAN(found.get_execution_plan)
        self._node = _GET_NODE(found.get_node_and_registration)
        self._context = context
        return 0

    def time_kernels(self, graph: Graph) -> None:
        """Take the time of each node from now on. Raises JobError if the runtime's structures are others."""
        numbers = ctypes.POINTER(_Numbers)()
        if self._context is None or self._plan(self._context, ctypes.byref(numbers)):
            raise JobError("the runtime did not prepare a delegate")
        size = numbers.contents.size
        if not 0 < size <= len(graph.operations) + len(graph.pieces):
            raise JobError(f"the runtime's structures are unknown: it would run {size} nodes")
        first = ctypes.addressof(numbers.contents) + ctypes.sizeof(_Numbers)
        plan = list((ctypes.c_int * size).from_address(first))
        if not set(plan) <= {*graph.operations, *graph.pieces}:
            raise JobError("the runtime's structures are unknown: it would run nodes that it does not list")
        for k in plan:
            node, registration = _POINTER(), ctypes.POINTER(_Registration)()
            if self._node(self._context, k, ctypes.byref(node), ctypes.byref(registration)):
                raise JobError(f"the runtime has no node {k}")
            if registration.contents.invoke:
                self._replace(k, registration.contents)

    def _replace(self, k: int, registration: _Registration) -> None:
        kernel, times = _INVOKE(registration.invoke), self.times.setdefault(k, [])

        def timed(context: int, node: int) -> int:
            begin = perf_counter_ns()
            status: int = kernel(context, node)
            times.append(perf_counter_ns() - begin)
            return status

        wrapped = _INVOKE(timed)
        self._kernels += [kernel, wrapped]
        registration.invoke = ctypes.cast(wrapped, _POINTER).value


def time_operations(job: Job) -> tuple[list[OpTime], Coverage]:
    """The operations of a Job's variant with their times, the longest first, and what its delegate took, with shares.

    Only ever called in a child. Raises JobError, and what the interpreter raises.
    """
    graph, times = _run(job)
    plain: dict[int, float] = {}
    if any(len(inside) > 1 for inside in graph.pieces.values()):
        # the numbers of operations are those of the file
        _, plain = _run(replace(job, delegate=NO_DELEGATE, delegate_options={}))
    ops = _divide(graph, times, plain)
    return ops, _with_shares(coverage_of(graph, accelerator_of(job)), ops)


def _run(job: Job) -> tuple[Graph, dict[int, float]]:
    """The graph, and the milliseconds of each node that ran."""
    tap, rows = Tap(), load_inputs(job)
    session = open_session(job, job.threads, tap)
    graph = session.graph()
    with naming_sample(0):
        session.feed([one.quantize(values[: session.batch]) for one, values in zip(session.inputs, rows.values())])
        for _ in range(_WARMUP):
            session.reset()
            session.invoke()
        tap.time_kernels(graph)
        begin, runs = perf_counter_ns(), 0
        while runs < _FEWEST or (runs < _MOST and perf_counter_ns() - begin < _MOST_NS):
            session.reset()
            session.invoke()
            runs += 1
    if not all(len(times) == runs for times in tap.times.values()):
        raise JobError("the runtime's structures are unknown: it did not run each node once")
    return graph, {k: median(times) / 1e6 for k, times in tap.times.items()}


def _divide(graph: Graph, times: Mapping[int, float], plain: Mapping[int, float]) -> list[OpTime]:
    """All operations with their times; those of a piece have parts of its time, in the ratio of `plain`."""
    found: dict[int, tuple[float, bool]] = {k: (ms, False) for k, ms in times.items() if k in graph.operations}
    for piece, inside in graph.pieces.items():
        ratios = {k: plain.get(k, 0.0) for k in inside}
        total = sum(ratios.values())
        for k, part in ratios.items():
            share = part / total if total else 1 / len(inside)
            found[k] = times.get(piece, 0.0) * share, len(inside) > 1
    places, total = graph.places(), sum(ms for ms, _ in found.values()) or 1.0
    ops = [
        OpTime(graph.operations[k].kind, graph.operations[k].name, ms, ms / total, k in places, estimated)
        for k, (ms, estimated) in found.items()
    ]
    return sorted(ops, key=lambda one: -one.mean_ms)


def _with_shares(coverage: Coverage, ops: list[OpTime]) -> Coverage:
    """The coverage with the shares of the time that its left operations take."""
    shares: dict[str, float] = {}
    for one in ops:
        if not one.delegated:
            shares[one.kind] = shares.get(one.kind, 0.0) + one.share
    left = [replace(one, time_share=shares.get(one.kind, 0.0)) for one in coverage.left]
    return replace(coverage, left=left)
