"""A worker that computes ranges of a reference, as the driver sees it. In: rows of samples. Out: rows of outputs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np

from edgetf import files
from edgetf.benchmarks.reference.backend import Performance
from edgetf.benchmarks.reference.options import ReferenceOptions
from edgetf.benchmarks.reference.partial import Partial
from edgetf.benchmarks.reference.probing import Habits
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.plans.fleet import ranges
from edgetf.plans.fleet.client import Connection
from edgetf.plans.fleet.messages import PIECE, Ask, Opened, Root, Rows
from edgetf.plans.fleet.range_child import KEY
from edgetf.samples import Samples, release

T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """What all hosts compute: a model on samples. `head` is how many of the first show what the model takes."""

    name: str
    model: Root
    samples: Samples
    options: ReferenceOptions
    head: int

    def rows(self, begin: int, end: int) -> Rows:
        """What a host has to know of these samples."""
        inputs = self.samples.inputs
        return Rows(
            begin=begin,
            end=end,
            dtypes={name: values.dtype.str for name, values in inputs.items()},
            forms={name: values.shape[1:] for name, values in inputs.items()},
            batch=self.samples.batch,
            unbatched=tuple(sorted(self.samples.unbatched)),
            allow_nan=self.samples.allow_nan,
        )


class RangeHost:
    """A worker with a session. Methods may be called by two threads: one computes while the other one sends.

    All of them raise DeviceError if the worker is lost, and EdgetfError for what is wrong with the model or samples.
    """

    def __init__(self, connection: Connection, name: str, needs: tuple[str, ...], work: Work) -> None:
        self.name = name
        self.opened: Opened | None = None
        self.sample_s = 0.0  # that it takes for a sample, as last measured
        self._connection, self._needs, self._work = connection, needs, work
        self._session, self._lock = "", threading.Lock()
        self._loaded, self._opening = "", threading.Lock()  # a session that is not opened yet

    def load(self) -> None:
        """Let it load the model and compute the canary for `open`, which finds again what fails here."""
        with self._opening, suppress(EdgetfError):
            session = self._begin()
            self._ask_first(session, "load", None)
            self._loaded = session

    def open(self, habits: Habits | None) -> Opened:
        """Let it load the model, and compute the canary; `habits` are those that the first host has found."""
        with self._opening:
            session, self._loaded = self._loaded or self._begin(), ""
        opened = _read(self._ask_first(session, "open", habits), Opened)
        if self.opened is not None and opened.canary != self.opened.canary:
            self._end(session)
            raise DeviceError(f"the worker {self.name} computes something else than before", "", Cause.UNFIT)
        self.opened, self._session = opened, session
        self.sample_s = self.sample_s or opened.seconds / min(opened.habits.batch, self._work.head)
        return opened

    def _begin(self) -> str:
        """A new session, which has the model."""
        self._connection.offer(self.name)  # of the same version
        session, root = uuid4().hex, files.to_plain(self._work.model)
        while lacking := self._call(ranges.begin, session, root):
            self._connection.send(self.name, [self._work.model], set(lacking))
        return session

    def _ask_first(self, session: str, verb: str, habits: Habits | None) -> dict[str, Any]:
        """The answer to a request with the first samples; a session that fails is ended."""
        try:
            return self._ask(session, verb, self._work.rows(0, self._work.head), habits)
        except EdgetfError as error:
            if not isinstance(error, DeviceError) or error.cause is Cause.UNFIT:  # else it would not answer
                self._end(session)
            raise

    def rows(self, begin: int, end: int, habits: Habits, place: Path) -> Partial:
        """The outputs of the samples from `begin` to before `end`, in the folder `place`."""
        wanted = self._work.rows(begin, end)

        def compute(session: str) -> None:
            answer = self._ask(session, "rows", wanted, habits)
            self.sample_s = float(answer["seconds"]) / (end - begin)
            place.mkdir(exist_ok=True)
            for name, size in answer["files"].items():
                self._fetch(session, begin, name, int(size), place)
            with suppress(DeviceError):
                self._call(ranges.drop, session, begin)

        self._again_if_lost(compute)
        found = Partial(place, KEY)
        if found.progress is None or found.progress.done != end - begin:
            raise DeviceError(f"the worker {self.name} gave no outputs of samples {begin + 1} to {end}", "", Cause.LOST)
        return found

    def measure(self, count: int, habits: Habits) -> Performance:
        """Latency and noise on the first `count` samples."""
        wanted = self._work.rows(0, count)
        return _read(self._again_if_lost(lambda session: self._ask(session, "measure", wanted, habits)), Performance)

    def close(self) -> None:
        """End the session, if the worker is there."""
        for session in filter(None, (self._session, self._loaded)):
            self._end(session)

    def _end(self, session: str) -> None:
        with suppress(Exception):
            self._call(ranges.close, session)

    def _again_if_lost(self, act: Callable[[str], T]) -> T:
        """What `act` returns in the session; once more in another one, if the worker was started again meanwhile."""
        session = self._session
        try:
            return act(session)
        except DeviceError as error:
            if error.cause is not Cause.LOST:
                raise
            with self._lock:
                if self._session == session:
                    self.open(None if self.opened is None else self.opened.habits)
            return act(self._session)

    def _ask(self, session: str, verb: str, rows: Rows, habits: Habits | None) -> dict[str, Any]:
        self._put(session, rows)
        plain = files.to_plain(Ask(verb, rows, replace(self._work.options, hosts=None), habits))
        which = f"samples {rows.begin + 1:,} to {rows.end:,}" if verb == "rows" else verb
        title = f"{self._work.name}: reference, {which}"
        found: dict[str, Any] = self._call(ranges.ask, session, plain, title=title, needs=self._needs)
        return found

    def _put(self, session: str, rows: Rows) -> None:
        for k, values in enumerate(self._work.samples.inputs.values()):
            content = np.ascontiguousarray(values[rows.begin : rows.end]).reshape(-1).view(np.uint8)
            for offset in range(0, max(len(content), 1), PIECE):
                self._call(ranges.put, session, rows.begin, k, offset, content[offset : offset + PIECE].tobytes())
            release(values)

    def _fetch(self, session: str, begin: int, name: str, size: int, place: Path) -> None:
        with (place / Path(name).name).open("wb") as file:
            while file.tell() < size:
                data = self._call(ranges.get, session, begin, name, file.tell())
                if not data:
                    raise DeviceError(f"{name} arrived damaged from the worker {self.name}", "", Cause.LOST)
                file.write(data)

    def _call(self, function: Any, *given: Any, title: str = "", needs: tuple[str, ...] = ()) -> Any:
        return self._connection.call(self.name, function, *given, title=title, needs=needs)


def _read(answer: dict[str, Any], kind: type[T]) -> T:
    """The dataclass in an answer, without the files beside it."""
    return files.from_plain({name: value for name, value in answer.items() if name != "files"}, kind)
