"""Run a function in a forked child, so that a crash of the interpreter is an error message and not the end of the run.

Interpreters only ever live in such children: the parent stays free of their threads and can fork again. Children
send JSON lines through a pipe; the last one is the result.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Iterator, NoReturn

from .answers import line
from .interpreter import JobError

_LONGEST = 1000  # characters of an error
_MEANINGS: dict[int, str] = {signal.SIGILL: ": it has instructions that this processor lacks"}
Send = Callable[[dict[str, Any]], None]
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PRCTL: Any
try:
    import ctypes

    _PRCTL = ctypes.CDLL(None).prctl
except (ImportError, OSError, AttributeError):  # a Python without ctypes, a system without prctl
    _PRCTL = None


class ChildError(Exception):
    """A child raised (the message is its own) or died of a signal (the message names it).

    `is_of_delegate`: it raised a DelegateError.
    """

    def __init__(self, message: str, is_of_delegate: bool = False) -> None:
        super().__init__(message)
        self.is_of_delegate = is_of_delegate


@dataclass
class Child:
    """A running child: its pid, the pipe to read from, what of a line has come, and its result or error once sent."""

    pid: int
    pipe: int
    buffer: bytes = b""
    result: dict[str, Any] | None = None
    error: ChildError | None = None


def run_children(tasks: list[Callable[[Send], dict[str, Any]]], on_event: Send) -> list[dict[str, Any]]:
    """Run each task in its own child, all at the same time, and return their results in order.

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
    parent = os.getpid()
    with _signals_wait() as let_signals_in:
        pid = os.fork()
        if pid == 0:
            _run(task, (read, write), parent, let_signals_in)
    os.close(write)
    return Child(pid, read)


def _run(
    task: Callable[[Send], dict[str, Any]], pipe: tuple[int, int], parent: int, let_signals_in: Callable[[], None]
) -> NoReturn:
    """The child's part."""
    code, (read, write) = 1, pipe
    try:
        let_signals_in()
        _end_with(parent)
        os.close(read)

        def send(event: dict[str, Any]) -> None:
            line = json.dumps(event).encode() + b"\n"
            while line:
                line = line[os.write(write, line) :]

        try:
            send({"result": task(send)})
            code = 0
        except (JobError, RuntimeError, ValueError, OSError, MemoryError) as error:  # what interpreters raise
            about = bool(getattr(error, "is_of_delegate", False))
            send({"error": line(str(error), _LONGEST) or type(error).__name__, "is_of_delegate": about})
        except BaseException as error:
            traceback.print_exc()  # a bug: standard error keeps the traceback
            send({"error": line(f"{type(error).__name__}: {error}", _LONGEST)})
    finally:
        os._exit(code)  # no clean-up of the parent's: this process never returns to it


@contextmanager
def _signals_wait() -> Iterator[Callable[[], None]]:
    """Hold signals back while a process forks, and handle them afterwards, or when the function is called.

    Modules have functions that run at each fork, and Python only prints what is raised in them: a Ctrl-C is lost there.
    """
    arrived: list[int] = []
    kept: dict[int, Any] = {}

    def let_in() -> None:
        try:
            while kept:
                number = next(iter(kept))
                signal.signal(number, kept[number])
                del kept[number]
        finally:
            if kept:  # one came meanwhile, and raised
                let_in()
        while arrived:
            signal.raise_signal(arrived.pop(0))

    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if callable(handler := signal.getsignal(number)):
                    kept[number] = handler
                    signal.signal(number, lambda signum, frame: arrived.append(signum))
        yield let_in
    finally:
        let_in()


def _end_with(parent: int) -> None:
    """End this process when `parent` is killed: nobody would read what it measures, and it would disturb the next run.

    Only Linux supports that; on other systems it ends when it next sends something.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _read(child: Child, on_event: Send) -> bool:
    """Take what came; False at the end of the pipe."""
    block = os.read(child.pipe, 1 << 16)
    *lines, child.buffer = (child.buffer + block).split(b"\n")
    for one in lines:
        event = json.loads(one)
        if "result" in event:
            child.result = event["result"]
        elif "error" in event:
            child.error = ChildError(event["error"], event.get("is_of_delegate", False))
        else:
            on_event(event)
    return bool(block)


def _reap(child: Child) -> None:
    _, status = os.waitpid(child.pid, 0)
    child.pid = 0
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        raise ChildError(f"the interpreter died of {signal.Signals(number).name}{_MEANINGS.get(number, '')}")
    if child.error is not None or child.result is None:
        raise child.error or ChildError("the interpreter's process ended without a result")


def _end(child: Child) -> None:
    os.close(child.pipe)
    if child.pid:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
