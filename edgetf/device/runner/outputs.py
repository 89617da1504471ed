"""The pass over all samples: every core runs its own interpreter, and the outputs are written directly to disk.

Processes, not threads: `invoke` releases the GIL, but feeding and fetching small tensors does not, and two threads
reached only 1.5 times the speed of one, while two processes reached 1.85. Memory does not grow with the number of
samples: inputs and outputs are memory-mapped.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Callable

import numpy as np

from .answers import line
from .delegates import find_delegate
from .interpreter import JobError, Session, Tensor, find_runtime, naming_sample
from .isolate import Send, run_children
from .job import Job, Output, Pass, RawArray
from .machine import cores
from .ragged import RaggedWriter, join, reserve

_BLOCK = 64  # batches that are quantized, and whose outputs are dequantized, in one numpy call; and at most
_BLOCK_BYTES = 1 << 24  # of samples, or one batch
_PAUSE_NS = 2_000_000_000  # a slow model reports this often: silence would be taken for a hang
_NUMBERS = "biufc"  # kinds of dtypes that samples may have
_LEAST = 32  # batches below which another process costs more than it saves


def run_all(job: Job, specs: list[dict[str, Any]], out: Path, on_event: Send) -> Pass:
    """Run all samples and write each output as `output-K.npy` in `out`, sample by sample.

    `specs` are the fields of an OutputSpec for each output. Raises ChildError when a process fails, JobError when the
    samples do not fill the model's batch.
    """
    inputs = load_inputs(job)
    n = len(next(iter(inputs.values())))
    given = [OutputSpec(**spec) for spec in specs]
    batch = given[0].batch
    if n % batch:
        raise JobError(f"the model takes {batch} samples at once, and {n} are not a multiple of that")
    batches = n // batch
    for k, spec in enumerate(given):
        if not spec.ragged:
            reserve(out / f"output-{k}.npy", np.dtype(spec.dtype), (batches * spec.rows, *spec.row))

    find_runtime(job.runtime)  # imported once, before the forks: it takes 80 ms, and creates no threads
    most = 1 if find_delegate(job.delegate).alone else job.workers or cores()
    workers = max(1, min(most, batches // _LEAST))
    bounds = [batches * w // workers for w in range(workers + 1)]
    begin = perf_counter_ns()
    tasks = [_task(job, given, out, first, last) for first, last in zip(bounds, bounds[1:])]
    run_children(tasks, _Progress(n, on_event))
    seconds = (perf_counter_ns() - begin) / 1e9
    outputs = []
    for k, spec in enumerate(given):
        file, shapes = f"output-{k}.npy", None
        if spec.ragged:
            parts = [_part(out, k, first) for first in bounds[:-1]]
            shapes = join(parts, np.dtype(spec.dtype), out / file)
        outputs.append(Output(spec.name, file, shapes.name if shapes else None))
    return Pass(n, workers, seconds, outputs)


@dataclass(frozen=True)
class OutputSpec:
    """How one output is written: `rows` of shape `row` for each inference on `batch` samples.

    `ragged` is whether the shape is known only after each run.
    """

    name: str
    dtype: str
    batch: int
    rows: int
    row: list[int]
    ragged: bool


def describe(job: Job, session: Session, tensor: Tensor, values: np.ndarray[Any, Any]) -> OutputSpec:
    """The OutputSpec of `tensor`, whose `values` came of the first run.

    An output whose axis 0 is that of samples gives a row for each, any other one row an inference.
    """
    if job.unbatched_outputs is not None:
        unbatched = tensor.name in job.unbatched_outputs
    else:  # if all inputs have a fixed batch, an output with a free axis 0 may have any number of rows
        unbatched = 0 in tensor.free and not session.free_batch
    by_sample = values.shape[:1] == (session.batch,) and not unbatched
    free = [axis for axis in tensor.free if axis > 0 or not by_sample]
    ragged = bool(free) or values.shape != tensor.shape
    rows, row = (session.batch, values.shape[1:]) if by_sample else (1, values.shape)
    return OutputSpec(tensor.name, tensor.dequantize(values).dtype.str, session.batch, rows, list(row), ragged)


def _part(out: Path, k: int, first: int) -> Path:
    return out / f"output-{k}-from-{first}"


def load_inputs(job: Job) -> dict[str, np.ndarray[Any, Any]]:
    """The samples, memory-mapped, by input name. Raises JobError when there are none or lengths differ."""
    inputs = {name: _load_input(name, file, job.raw_inputs.get(name)) for name, file in job.inputs.items()}
    lengths = {len(values) for values in inputs.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise JobError(f"the samples have {sorted(lengths)} rows; every input needs the same number, at least 1")
    return inputs


def _load_input(name: str, file: str, raw: RawArray | None) -> np.ndarray[Any, Any]:
    try:
        values = np.load(file, mmap_mode="r", allow_pickle=False) if raw is None else _map(file, raw)
        if values.ndim == 0 or values.dtype.kind not in _NUMBERS:
            raise ValueError(f"it holds {values.dtype} of shape {values.shape}")
    except Exception as error:  # whatever numpy raises
        raise JobError(f"the samples of {name!r} cannot be read: {line(str(error))}") from error
    return values


def _map(file: str, raw: RawArray) -> np.ndarray[Any, Any]:
    """The array in a file, read-only; it may not be aligned. Raises ValueError for one that the file does not hold."""
    dtype = np.dtype(raw.dtype)
    if dtype.kind not in _NUMBERS:  # never objects, whose bytes are addresses
        raise ValueError(f"it holds {dtype}")
    return np.memmap(file, dtype, "r", raw.offset, tuple(raw.shape))


def first_rows(values: Any, count: int) -> np.ndarray[Any, Any]:
    """The first rows of mapped samples, read into memory as a program would have them.

    In the file they may not be aligned, so that every timed run would copy them, and its pages count as memory.
    """
    rows: np.ndarray[Any, Any] = values[:count]
    if not rows.flags.c_contiguous:
        return np.array(rows, order="C")
    return np.fromfile(values.filename, values.dtype, rows.size, offset=values.offset).reshape(rows.shape)


def open_session(job: Job, threads: int, *delegates: Any) -> Session:
    """A Session for the job's variant and the shapes of its samples. Only ever called in a child."""
    row_shapes = {name: values.shape[1:] for name, values in load_inputs(job).items()}
    return Session(find_runtime(job.runtime), job, threads, row_shapes, delegates)


def _task(job: Job, specs: list[OutputSpec], out: Path, first: int, last: int) -> Callable[[Send], dict[str, Any]]:
    return lambda send: _run_batches(job, specs, out, (first, last), send)


class _Fixed:
    """Writes rows of one shape to their place in a mapped array."""

    def __init__(self, path: Path, spec: OutputSpec, first: int) -> None:
        self._spec, self._row = spec, first * spec.rows
        self._values = np.load(str(path), mmap_mode="r+")

    def append(self, values: list[np.ndarray[Any, Any]], tensor: Tensor) -> None:
        """Add what came of some inferences."""
        if len({value.shape for value in values}) > 1:
            raise JobError(f"output {tensor.name!r} changes its shape from sample to sample")
        whole = tensor.dequantize(np.stack(values)).reshape(-1, *self._spec.row)
        self._values[self._row : self._row + len(whole)] = whole
        self._row += len(whole)
        _release(self._values)

    def close(self) -> None:
        self._values.flush()


class _Ragged:
    """Writes rows of different shapes one after another."""

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        self._spec, self._writer = spec, RaggedWriter(path)

    def append(self, values: list[np.ndarray[Any, Any]], tensor: Tensor) -> None:
        """Add what came of some inferences."""
        for value in values:
            whole = tensor.dequantize(value)
            by_sample = self._spec.rows == self._spec.batch and whole.ndim == 1 + len(self._spec.row)
            if by_sample and len(whole) != self._spec.batch:
                raise JobError(f"output {tensor.name!r} has {len(whole)} rows for {self._spec.batch} samples")
            self._writer.append(whole if by_sample else whole[np.newaxis])

    def close(self) -> None:
        self._writer.close()


def _run_batches(job: Job, specs: list[OutputSpec], out: Path, span: tuple[int, int], send: Send) -> dict[str, Any]:
    """Run the batches of `span` and write their outputs in place."""
    first, last = span
    session = open_session(job, threads=1)
    inputs = list(load_inputs(job).values())
    outputs = [
        _Ragged(_part(out, k, first), spec) if spec.ragged else _Fixed(out / f"output-{k}.npy", spec, first)
        for k, spec in enumerate(specs)
    ]
    block = _block_of(inputs, session.batch)
    begin = first
    while begin < last:
        most = min(begin + block, last)
        rows = slice(begin * session.batch, most * session.batch)
        stored = [tensor.quantize(values[rows]) for tensor, values in zip(session.inputs, inputs)]
        results: list[list[Any]] = []
        started = perf_counter_ns()
        while begin + len(results) < most and perf_counter_ns() - started < _PAUSE_NS:
            piece = slice(len(results) * session.batch, (len(results) + 1) * session.batch)
            session.reset()  # samples are independent of each other
            with naming_sample((begin + len(results)) * session.batch):
                session.feed([values[piece] for values in stored])
                session.invoke()
            results.append(session.fetch())
        end = begin + len(results)
        for tensor, into, values in zip(session.outputs, outputs, zip(*results)):
            into.append(list(values), tensor)
        send({"rows": (end - begin) * session.batch})
        begin = end
        for array in inputs:
            _release(array)
    for into in outputs:
        into.close()
    return {}


def _block_of(inputs: list[np.ndarray[Any, Any]], batch: int) -> int:
    """The batches of a block: quantizing copies their samples."""
    size = sum(values[:batch].nbytes for values in inputs)
    return max(1, min(_BLOCK, _BLOCK_BYTES // max(1, size)))


def _release(values: np.ndarray[Any, Any]) -> None:
    """Give back the memory of a mapped file's pages: they are in the file, and go through here once."""
    mapping = getattr(values, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


class _Progress:
    """Adds up what the workers report and passes it on, ten times a second at most."""

    def __init__(self, n: int, on_event: Send) -> None:
        self._n, self._on_event = n, on_event
        self._done, self._reported_ns = 0, 0

    def __call__(self, event: dict[str, Any]) -> None:
        self._done += event["rows"]
        now = perf_counter_ns()
        if now - self._reported_ns > 1e8 or self._done == self._n:
            self._reported_ns = now
            self._on_event({"event": "progress", "done": self._done, "of": self._n})
