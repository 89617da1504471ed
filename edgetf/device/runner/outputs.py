"""The pass over all samples: every core runs an interpreter of its own, and the outputs go straight to disk.

Processes, not threads: `invoke` releases the GIL, but feeding and fetching small tensors does not, and two threads
reached only 1.5 times the speed of one where two processes reached 1.85. Memory does not grow with the number of
samples: inputs and outputs are memory-mapped.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Callable

import numpy as np

from .interpreter import JobError, Session, find_runtime
from .isolate import Send, run_children
from .job import Job, Output, Pass
from .machine import cores

_BLOCK = 64  # batches that are quantized, and whose outputs are dequantized, in one numpy call
_PAUSE_NS = 2_000_000_000  # a slow model reports this often: silence would be taken for a hang
_LEAST = 32  # batches below which another process costs more than it saves


def run_all(job: Job, specs: list[dict[str, Any]], out: Path, on_event: Send) -> Pass:
    """Run all samples and write each output as `output-K.npy` in `out`, sample by sample.

    `specs` gives `name`, `shape` (of one batch) and `dtype` of each output, and the `batch` size. Raises ChildError
    when a process fails, JobError when the samples do not fill the model's batch.
    """
    inputs = load_inputs(job)
    n = len(next(iter(inputs.values())))
    batch = int(specs[0]["batch"])
    if n % batch:
        raise JobError(f"the model takes {batch} samples at once, and {n} are not a multiple of that")
    batches = n // batch
    for k, spec in enumerate(specs):
        by_sample = spec["shape"][:1] == [batch]
        rows, row = (n, spec["shape"][1:]) if by_sample else (batches, spec["shape"])
        shape = (rows, *row)
        _reserve(out / f"output-{k}.npy", np.dtype(spec["dtype"]), shape)

    find_runtime(job.runtime)  # imported once, before the forks: it takes 80 ms, and creates no threads
    workers = max(1, min(job.workers or cores(), batches // _LEAST))
    bounds = [batches * w // workers for w in range(workers + 1)]
    begin = perf_counter_ns()
    tasks = [_task(job, out, first, last) for first, last in zip(bounds, bounds[1:])]
    run_children(tasks, _Progress(n, on_event))
    seconds = (perf_counter_ns() - begin) / 1e9
    outputs = [Output(spec["name"], f"output-{k}.npy") for k, spec in enumerate(specs)]
    return Pass(n, workers, seconds, outputs)


def _reserve(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """An array in a file, with room on the disk for all of it: a disk that is full is told now, not by SIGBUS later."""
    np.lib.format.open_memmap(str(path), "w+", dtype, shape)  # type: ignore[no-untyped-call]
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def load_inputs(job: Job) -> dict[str, np.ndarray[Any, Any]]:
    """The samples, memory-mapped, by input name. Raises JobError when there are none or lengths differ."""
    inputs = {name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in job.inputs.items()}
    lengths = {len(values) for values in inputs.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise JobError(f"the samples have {sorted(lengths)} rows; every input needs the same number, at least 1")
    return inputs


def open_session(job: Job, threads: int) -> Session:
    """A Session for the job's variant and the shapes of its samples. Only ever called in a child."""
    row_shapes = {name: values.shape[1:] for name, values in load_inputs(job).items()}
    return Session(find_runtime(job.runtime), job, threads, row_shapes)


def _task(job: Job, out: Path, first: int, last: int) -> Callable[[Send], dict[str, Any]]:
    return lambda send: _run_batches(job, out, first, last, send)


def _run_batches(job: Job, out: Path, first: int, last: int, send: Send) -> dict[str, Any]:
    """Run batches `first` to `last` and write their outputs in place."""
    session = open_session(job, threads=1)
    inputs = list(load_inputs(job).values())
    outputs = [np.load(str(out / f"output-{k}.npy"), mmap_mode="r+") for k in range(len(session.outputs))]
    per_batch = [len(values) * session.batch // len(inputs[0]) for values in outputs]  # rows that a batch fills
    begin = first
    while begin < last:
        most = min(begin + _BLOCK, last)
        rows = slice(begin * session.batch, most * session.batch)
        stored = [tensor.quantize(values[rows]) for tensor, values in zip(session.inputs, inputs)]
        results: list[list[Any]] = []
        started = perf_counter_ns()
        while begin + len(results) < most and perf_counter_ns() - started < _PAUSE_NS:
            piece = slice(len(results) * session.batch, (len(results) + 1) * session.batch)
            session.reset()  # samples are independent of each other
            session.feed([values[piece] for values in stored])
            session.invoke()
            results.append(session.fetch())
        end = begin + len(results)
        for tensor, into, count, values in zip(session.outputs, outputs, per_batch, zip(*results)):
            if len({value.shape for value in values}) > 1:
                raise JobError(f"output {tensor.name!r} changes its shape from sample to sample")
            whole = tensor.dequantize(np.stack(values))
            into[begin * count : end * count] = whole.reshape(-1, *into.shape[1:])
        send({"rows": (end - begin) * session.batch})
        begin = end
        for values in (*inputs, *outputs):
            _release(values)
    for values in outputs:
        values.flush()
    return {}


def _release(values: np.ndarray[Any, Any]) -> None:
    """Give back the memory of a mapped file's pages: they are in the file, and go through here once."""
    mapping = getattr(values, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


class _Progress:
    """Adds up what the workers report and passes it on, ten times a second at most."""

    def __init__(self, n: int, on_event: Send) -> None:
        self._n, self._on_event = n, on_event
        self._done, self._told_ns = 0, 0

    def __call__(self, event: dict[str, Any]) -> None:
        self._done += event["rows"]
        now = perf_counter_ns()
        if now - self._told_ns > 1e8 or self._done == self._n:
            self._told_ns = now
            self._on_event({"event": "progress", "done": self._done, "of": self._n})
