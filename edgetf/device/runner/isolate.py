"""Run a function in a forked child, so that a crash of the interpreter is a sentence and not the end of the run.

Interpreters only ever live in such children: the parent stays free of their threads and can fork again. Children
send JSON lines through a pipe; the last one is the result.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import traceback
from dataclasses import dataclass
from typing import Any, Callable

from .interpreter import JobError

Send = Callable[[dict[str, Any]], None]


class ChildError(Exception):
    """A child raised (the message is its own) or died of a signal (the message names it)."""


@dataclass
class Child:
    """A running child: its pid, the pipe to read from, what of a line has come, and its result once sent."""

    pid: int
    pipe: int
    buffer: bytes = b""
    result: dict[str, Any] | None = None
    error: str | None = None


def run_children(tasks: list[Callable[[Send], dict[str, Any]]], on_event: Send) -> list[dict[str, Any]]:
    """Run each task in a child of its own, all at the same time, and return their results in order.

    A task gets a function that sends an event to `on_event` here. Raises ChildError for the first child that failed,
    after the others were ended; children never outlive the call.
    """
    children: list[Child] = []
    try:
        children.extend(_fork(task) for task in tasks)
        with selectors.DefaultSelector() as selector:
            for child in children:
                selector.register(child.pipe, selectors.EVENT_READ, child)
            while selector.get_map():
                for key, _ in selector.select():
                    if not _read(key.data, on_event):
                        selector.unregister(key.fileobj)
                        _reap(key.data)
        return [child.result or {} for child in children]
    finally:
        for child in children:
            _end(child)


def _fork(task: Callable[[Send], dict[str, Any]]) -> Child:
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return Child(pid, read)
    code = 1
    try:
        os.close(read)

        def send(event: dict[str, Any]) -> None:
            line = json.dumps(event).encode() + b"\n"
            while line:
                line = line[os.write(write, line) :]

        try:
            send({"result": task(send)})
            code = 0
        except (JobError, RuntimeError, ValueError, OSError, MemoryError) as error:  # what interpreters raise
            send({"error": " ".join(str(error).split()) or type(error).__name__})
        except BaseException:
            send({"error": traceback.format_exc()})
    finally:
        os._exit(code)  # no clean-up of the parent's: this process never returns to it


def _read(child: Child, on_event: Send) -> bool:
    """Take what came; False at the end of the pipe."""
    block = os.read(child.pipe, 1 << 16)
    *lines, child.buffer = (child.buffer + block).split(b"\n")
    for line in lines:
        event = json.loads(line)
        if "result" in event:
            child.result = event["result"]
        elif "error" in event:
            child.error = event["error"]
        else:
            on_event(event)
    return bool(block)


def _reap(child: Child) -> None:
    _, status = os.waitpid(child.pid, 0)
    child.pid = 0
    if os.WIFSIGNALED(status):
        raise ChildError(f"the interpreter died of {signal.Signals(os.WTERMSIG(status)).name}")
    if child.error is not None or child.result is None:
        raise ChildError(child.error or "the interpreter's process ended without a result")


def _end(child: Child) -> None:
    os.close(child.pipe)
    if child.pid:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
