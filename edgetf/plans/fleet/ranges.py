"""Ranges of a reference, on a worker: it receives a model once, then rows, and gives the rows of the outputs.

A session is a TensorFlow process with the model, which answers one request after another, and a folder for what comes
and goes. It ends when its driver closes it, or with the worker. A process that was asked nothing for `_UNUSED_S` ends
alone: its driver may be waiting until the worker has computed something else, and the next request starts another one.
Rows of samples are of any source: only the driver reads it.
"""

from __future__ import annotations

import json
import platform
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from edgetf import files, owned
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.events import Answer
from edgetf.plans.fleet import host_side
from edgetf.plans.fleet.messages import PIECE, Ask, Root
from edgetf.process import EndedError, HungError, conversing

INPUT = "input-{}"  # the rows of the k-th input
_PREFIX = "session-"
_UNUSED_S, _LOOK_S = 120.0, 5.0
_KEPT_S = 6 * 3600.0  # after which the driver was certainly killed: longer than any step that it waits for
_IDLE_S = 3600.0  # XLA sends nothing while it compiles a large model
_NAME = re.compile(r"[\w.-]+")


@dataclass
class _Session:
    """`held` is what ends with it, `process` the part of it that is TensorFlow; one request at a time."""

    folder: Path
    model: Path
    held: ExitStack
    process: ExitStack
    ask: Callable[[str], Answer] | None = None
    used: float = field(default_factory=monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def place(self, kind: str, begin: int) -> Path:
        return self.folder / f"{kind}-{begin}"

    def end_process(self) -> None:
        self.ask = None
        self.process.close()


_sessions: dict[str, _Session] = {}
_changing = threading.Lock()


@host_side.naming_host()
def begin(session: str, plain: Mapping[str, Any]) -> list[str]:
    """Begin a session with the model of a plain `Root`; digests of its files that have to be sent first, if any."""
    root = files.read_plain(plain, Root)
    if missing := host_side.missing([root]):
        return missing
    with _changing:
        if session in _sessions:  # the same call again: its answer was lost
            return []
        home, held = host_side.home() / "sessions", ExitStack()
        home.mkdir(parents=True, exist_ok=True)
        owned.sweep(home, _PREFIX)
        folder = held.enter_context(owned.owned(home, _PREFIX))
        try:
            host_side.lay_out(root, folder / "model")
        except BaseException:
            held.close()
            raise
        _sessions[session] = _Session(folder, folder / "model", held, held.enter_context(ExitStack()))
    threading.Thread(target=_close_unused, args=(session,), daemon=True).start()
    return []


@host_side.naming_host()
def put(session: str, begin: int, k: int, offset: int, data: bytes) -> None:
    """Write a piece of the rows of the k-th input, of the range that begins with the sample `begin`."""
    path = _used(session).place("rows", begin) / INPUT.format(k)
    path.parent.mkdir(exist_ok=True)
    with path.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(data)


@host_side.naming_host()
def ask(session: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a plain `Ask`; for rows, the sizes of the files that `get` gives. Raises EdgetfError, and
    DeviceError for a TensorFlow that is lost."""
    request, own = files.read_plain(plain, Ask), _used(session)
    rows, made = (own.place(kind, request.rows.begin) for kind in ("rows", "made"))
    with own.lock:
        _used(session)  # it may have ended meanwhile
        if own.ask is None:
            command = [sys.executable, "-m", "edgetf.plans.fleet.range_child"]
            own.ask = own.process.enter_context(conversing(command, idle_s=_IDLE_S))
        owned.remove(made)
        asked = {"ask": dict(plain), "model": str(own.model), "rows": str(rows), "made": str(made)}
        try:
            answer = own.ask(json.dumps(asked))
        except (EndedError, HungError) as error:
            close(session)
            raise DeviceError(f"TensorFlow on {platform.node()} {error}", "", Cause.LOST) from error
        finally:
            own.used = monotonic()
            owned.remove(rows)
    if answer.kind == "unfit":
        raise DeviceError(answer.fields["message"], answer.fields["hint"], Cause.UNFIT)
    return {**answer.fields, "files": {one.name: one.stat().st_size for one in sorted(made.glob("*"))}}


@host_side.naming_host()
def get(session: str, begin: int, name: str, offset: int) -> bytes:
    """A piece of a file that was made for the range that begins with the sample `begin`."""
    if not _NAME.fullmatch(name):
        raise EdgetfError(f"{name!r} is not the name of a file", "run the same command again")
    with (_used(session).place("made", begin) / name).open("rb") as file:
        file.seek(offset)
        return file.read(PIECE)


def drop(session: str, begin: int) -> None:
    """Remove what was made for a range: the driver has it."""
    owned.remove(_used(session).place("made", begin))


def close(session: str) -> None:
    """End a session: its process, and its folder."""
    with _changing:
        found = _sessions.pop(session, None)
    if found is not None:
        found.held.close()


def _used(session: str) -> _Session:
    """The session. Raises DeviceError if this worker was started again meanwhile, or has closed it."""
    found = _sessions.get(session)
    if found is None:
        raise DeviceError(f"the worker on {platform.node()} was started again", "", Cause.LOST)
    found.used = monotonic()
    return found


def _close_unused(session: str) -> None:
    """End the process while nothing is asked, and the session if its driver was killed."""
    wait = threading.Event().wait
    while (found := _sessions.get(session)) is not None:
        wait(_LOOK_S)
        if monotonic() - found.used > _UNUSED_S and found.lock.acquire(blocking=False):
            try:
                found.end_process()
                if monotonic() - found.used > _KEPT_S:
                    close(session)
            finally:
                found.lock.release()
