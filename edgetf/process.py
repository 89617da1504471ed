"""A child process whose standard output is JSON lines, watched and always ended.

What can crash (the converter, an interpreter) or must not share a process (TensorFlow, tflite_runtime) runs in one.
The child has its own process group: Ctrl-C reaches edgetf alone, which then ends the child and all its children.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, TextIO

Event = dict[str, Any]
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal) and everything that it wrote to standard error."""

    code: int
    stderr: str

    @property
    def how(self) -> str:
        """The end in words, for a message."""
        if self.code < 0:
            return f"died of {signal.Signals(-self.code).name}"
        return f"ended with exit code {self.code}"

    @property
    def last_line(self) -> str:
        """The last line of standard error that says something."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else ""


class HungError(Exception):
    """The child said nothing for too long and was ended."""


class EventPipe:
    """The child's end: writes events to what was standard output; all else that prints goes to standard error."""

    def __init__(self) -> None:
        self._pipe: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def send(self, event: str, **fields: Any) -> None:
        self.pass_on({"event": event, **fields})

    def pass_on(self, event: Event) -> None:
        self._pipe.write(json.dumps(event) + "\n")


def run_child(
    command: Sequence[str], on_event: OnEvent, *, request: str = "", env: Mapping[str, str] | None = None, idle_s: float
) -> Ended:
    """Run `command` with `request` on standard input; each JSON line of its standard output goes to `on_event`.

    Lines that are not JSON objects are passed over: libraries print. Raises HungError after `idle_s` seconds without
    output. Whatever is raised, here or in `on_event`, ends the child first.
    """
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it died at once: its exit code says more
                child.stdin.write(request.encode())
                child.stdin.close()
            for line in _lines(child.stdout.fileno(), idle_s):
                event = _parse(line)
                if event is not None:
                    on_event(event)
            code = child.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            child.stdout.close()
        stderr.seek(0)
        return Ended(code, stderr.read().decode(errors="replace"))


def _lines(pipe: int, idle_s: float) -> Any:
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            deadline = monotonic() + idle_s
            if not selector.select(max(0.0, deadline - monotonic())):
                raise HungError(f"no answer for {idle_s:.0f} s")
            block = os.read(pipe, 1 << 16)
            if not block:
                return
            *lines, buffer = (buffer + block).split(b"\n")
            yield from lines


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
