"""The TensorFlow of a session: `python -m edgetf.plans.fleet.range_child`, requests as lines of JSON on standard input.

It loads a model once, and answers: what it takes and its first outputs, the outputs of a range of samples as the files
of a Partial, and at the end latency and noise.
"""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgetf import files
from edgetf.backend import load_tensorflow
from edgetf.benchmarks.reference.backend import Backend, find_backend
from edgetf.benchmarks.reference.batches import find_habits_of, finish, run_batches
from edgetf.benchmarks.reference.computing import versions_of
from edgetf.benchmarks.reference.partial import Partial
from edgetf.benchmarks.reference.probing import Habits
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import DeviceError, EdgetfError
from edgetf.events import ignore
from edgetf.owned import own_temporary, scratch
from edgetf.plans.fleet.host_side import as_failed
from edgetf.plans.fleet.messages import Ask, Opened, Rows
from edgetf.plans.fleet.ranges import INPUT
from edgetf.process import EventPipe, leave, reporting
from edgetf.results import Source
from edgetf.samples import Samples
from edgetf.samples.mapped import array_at, map_file
from edgetf.system import explained


class Session:
    """A model in TensorFlow."""

    def __init__(self, model: Path, ask: Ask) -> None:
        tf = load_tensorflow()
        source = read_source(model, ask.options.signature)
        marked = tuple(replace(spec, batched=spec.name not in ask.rows.unbatched) for spec in source.inputs)
        self._source: Source = replace(source, inputs=marked)
        self._backend: Backend = find_backend(tf, model, self._source, ask.options)
        self._versions = versions_of(tf)
        self._known: Opened | None = None

    def open(self, samples: Samples, given: Habits | None) -> Opened:
        """What it takes, unless that is given, and the outputs of the first batch: computed once for each answer."""
        if self._known is None or given not in (None, self._known.habits):
            self._known = self._opened(samples, given)
        return self._known

    def _opened(self, samples: Samples, given: Habits | None) -> Opened:
        habits = find_habits_of(self._backend, self._source, samples) if given is None else given
        first = samples.feed(0, min(habits.batch, len(samples)))
        outputs = {name: np.ascontiguousarray(values) for name, values in self._backend.ask(first).items()}
        begin = perf_counter()
        self._backend.ask(first)
        seconds = perf_counter() - begin
        digests = {name: _digest(values) for name, values in outputs.items() if name not in habits.random}
        size = sum(values.nbytes for values in outputs.values())
        device, precision = self._backend.device, self._backend.precision
        return Opened(device, precision, self._versions, habits, digests, seconds, size)

    def rows(self, samples: Samples, habits: Habits, made: Path) -> dict[str, Any]:
        """Write the outputs of the samples to `made`; the seconds that it took."""
        begin = perf_counter()
        begun = Partial(made, KEY)
        run_batches(self._backend, samples, habits, begun, ignore)
        begun.save()
        return {"seconds": perf_counter() - begin}

    def measure(self, samples: Samples, habits: Habits) -> dict[str, Any]:
        """Latency and noise, on the outputs that it computes of these samples."""
        with scratch() as work:
            begun = Partial(work / "begun", KEY)
            run_batches(self._backend, samples, habits, begun, ignore)
            _, known = finish(begun, habits, self._source, work)
            performance = self._backend.measure(samples, known, habits.batch, ignore)
        plain: dict[str, Any] = files.to_plain(performance)
        return plain


KEY = "range"  # of a Partial that is one range


def _digest(values: Any) -> str:
    return hashlib.sha256(f"{values.dtype.str}{values.shape}".encode() + values.tobytes()).hexdigest()


def samples_of(rows: Rows, folder: Path) -> Samples:
    """The samples whose rows are in `folder`."""
    count, inputs = rows.end - rows.begin, {}
    for k, (name, dtype) in enumerate(rows.dtypes.items()):
        shape, kind = (count, *rows.forms[name]), np.dtype(dtype)
        with (folder / INPUT.format(k)).open("rb") as file:
            inputs[name] = array_at(map_file(file), 0, kind, shape) if prod(shape) else np.zeros(shape, kind)
    which = np.arange(rows.begin, rows.end)
    return Samples(
        "", inputs, None, "", which, batch=rows.batch, unbatched=frozenset(rows.unbatched), allow_nan=rows.allow_nan
    )


def main() -> None:
    events, session = EventPipe(), None
    with ExitStack() as stack:
        stack.enter_context(own_temporary())
        for line in sys.stdin:
            asked = json.loads(line)
            ask = files.from_plain(asked["ask"], Ask)
            with reporting(events):
                try:
                    with explained():
                        session = session or Session(Path(asked["model"]), ask)
                        answer = _answer(session, ask, Path(asked["rows"]), Path(asked["made"]))
                except EdgetfError as raised:
                    error = as_failed(raised)
                    if not isinstance(error, DeviceError):
                        raise
                    events.answer("unfit", message=error.message, hint=error.hint)
                else:
                    events.answer("done", **answer)


def _answer(session: Session, ask: Ask, folder: Path, made: Path) -> dict[str, Any]:
    samples = samples_of(ask.rows, folder)
    if ask.verb == "load":
        session.open(samples, ask.habits)
        return {}
    if ask.verb == "open":
        opened: dict[str, Any] = files.to_plain(session.open(samples, ask.habits))
        return opened
    if ask.habits is None:
        raise EdgetfError(f"{ask.verb} without habits", "run the same command again")
    if ask.verb == "rows":
        return session.rows(samples, ask.habits, made)
    return session.measure(samples, ask.habits)


if __name__ == "__main__":
    main()
    leave()
