"""Outputs batch by batch. In: a Backend and Samples. Out: a Partial with the rows of all samples, then Outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgetf.benchmarks.pinned import loose_outputs
from edgetf.benchmarks.reference.backend import Backend
from edgetf.benchmarks.reference.partial import Partial
from edgetf.benchmarks.reference.probing import ASKED, Habits, as_rows, find_habits
from edgetf.benchmarks.reference.refusals import RefusedError, raise_located
from edgetf.benchmarks.rows import Outputs
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent, Progress
from edgetf.results import Source
from edgetf.samples import Array, Samples, release

Files = dict[str, tuple[Path, Path | None]]  # by output: its rows, and their shapes if they differ


def find_habits_of(backend: Backend, source: Source, samples: Samples) -> Habits:
    """How the model takes samples, found with a few calls; what TensorFlow refuses here it would refuse later."""
    half = "float16" in backend.precision.dtype
    try:
        return find_habits(backend.ask, source, samples, backend.most, half, (RefusedError,))
    except RefusedError as error:
        first = min(len(samples), max(ASKED, samples.batch)) // samples.batch * samples.batch
        raise_located(error, backend.ask, samples, 0, first)


def run_batches(backend: Backend, samples: Samples, habits: Habits, begun: Partial, on_event: OnEvent) -> None:
    """Compute batch after batch; an output without an axis for samples becomes one row.

    Raises EdgetfError for what TensorFlow refuses, and for outputs that are not finite or change their form.
    """
    n, batch = len(samples), habits.batch
    for begin in range(begun.progress.done if begun.progress else 0, n, batch):
        end = min(begin + batch, n)
        which = f"samples {samples.row(begin) + 1} to {samples.row(end - 1) + 1}"
        rows = {}
        for name, values in _ask_batch(backend, samples, begin, end).items():
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                begun.discard()
                problem = f"TensorFlow's own output {name!r} holds NaN or infinity"
                raise EdgetfError(problem, f"correct the model, or {which}")
            if name not in habits.unbatched and (values.ndim == 0 or len(values) != end - begin):
                begun.discard()
                problem = f"the output {name!r} has shape {list(values.shape)} for {which}"
                raise EdgetfError(problem, f"export the model with a batch of {samples.batch}")
            rows[name] = as_rows(values, end - begin, name not in habits.unbatched)
        begun.append(rows, end, batch)
        for values in samples.inputs.values():
            release(values)
        on_event(Progress(end, n))


def _ask_batch(backend: Backend, samples: Samples, begin: int, end: int) -> Mapping[str, Array]:
    try:
        return backend.ask(samples.feed(begin, end))
    except RefusedError as error:
        raise_located(error, backend.ask, samples, begin, end)


def finish(begun: Partial, habits: Habits, source: Source, out: Path) -> tuple[Files, Outputs]:
    """The files of the outputs in `out`, and what is in them.

    If the signature leaves open whether an output has an axis for samples, and it always had one row, it has one.
    """
    written = begun.finish(out)
    values, shapes, unbatched = {}, {}, set(habits.unbatched)
    for name, (path, beside) in written.items():
        values[name] = np.load(path, mmap_mode="r")
        if beside is not None:
            shapes[name] = np.load(beside)
        if name in habits.unclear and values[name].ndim > 1 and values[name].shape[1] == 1:
            known = shapes.get(name)
            if known is None or (known[:, 0] == 1).all():
                unbatched.discard(name)
                values[name] = values[name][:, 0]
                rewritten = np.array(values[name])
                path.unlink()  # it may be a link to the file that an interrupted run resumes
                np.save(path, rewritten)
                if known is not None and beside is not None:
                    shapes[name] = known[:, 1:]
                    np.save(beside, shapes[name])
    return written, Outputs(values, shapes, frozenset(unbatched), loose_outputs(source, unbatched))
