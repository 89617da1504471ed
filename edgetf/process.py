"""Child processes. They are monitored and always terminated.

Code that can crash (the converter, an interpreter) or must not share a process (TensorFlow, tflite_runtime) runs in a
child, which writes JSON lines to standard output. Other programs (adb, git, a shell) are asked for an answer. A child
has its own process group: Ctrl-C reaches only edgetf, which then terminates the child and all its children. A guard
process does this if edgetf itself is killed.
"""

from __future__ import annotations

import atexit
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import IO, Any, NoReturn, TextIO

from edgetf.errors import EdgetfError
from edgetf.events import Answer, Fault, Message, OnEvent, from_line, to_line
from edgetf.owned import scratch
from edgetf.system import explained, refuse_no_room
from edgetf.texts import last_line


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal) and everything that it wrote to standard error."""

    code: int
    stderr: str

    @property
    def how(self) -> str:
        """A description of the end, for a message."""
        if self.code < 0:
            return f"died of {signal.Signals(-self.code).name}"
        return f"ended with exit code {self.code}"

    @property
    def last_line(self) -> str:
        """The last line of standard error that is not empty."""
        return last_line(self.stderr)


@dataclass(frozen=True)
class Answered:
    """The exit code of a program (negative: the signal) and what it printed; what is not UTF-8 is replaced."""

    code: int
    stdout: str
    stderr: str


class HungError(Exception):
    """The child sent nothing for too long and was terminated."""


OnAnswer = Callable[[Answer], None]


class EventPipe:
    """The child's end: writes messages to the original standard output; all other output goes to standard error."""

    def __init__(self) -> None:
        self._pipe: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def send(self, message: Message) -> None:
        self._pipe.write(to_line(message) + "\n")

    def answer(self, kind: str, **fields: Any) -> None:
        """Send a result to the parent: plain values by name."""
        self.send(Answer(kind, fields))


def _no_answer(answer: Answer) -> None:
    pass


def run_child(
    command: Sequence[str],
    on_event: OnEvent,
    *,
    on_answer: OnAnswer = _no_answer,
    request: str = "",
    env: Mapping[str, str] | None = None,
    idle_s: float,
    keep: Sequence[int] = (),
    grace_s: float = 0.0,
) -> Ended:
    """Run `command` with `request` on standard input; `on_event` receives the events of its standard output.

    `on_answer` receives the answers. Other lines are ignored: libraries print. Raises EdgetfError for an error
    that `reporting` sent, and HungError after `idle_s` seconds without output. If anything is raised, here or in
    `on_event`, or if this process ends, the child and all its children are terminated first. After a KeyboardInterrupt,
    the child gets one too, and `grace_s` seconds to clean up. `keep` are file descriptors that the child inherits. Its
    temporary files are in a folder that is removed with it.
    """
    with scratch() as folder, tempfile.TemporaryFile(dir=folder) as stderr:
        variables = {**os.environ, "TMPDIR": str(folder), **(env or {})}
        with _child(command, stderr=stderr, env=variables, pass_fds=keep) as child:
            code = _run(child, request, on_event, on_answer, idle_s, grace_s)
        stderr.seek(0)
        printed = stderr.read().decode(errors="replace")
        if code and not printed.strip():
            refuse_no_room(folder)  # its output would be written there
        return Ended(code, printed)


class EndedError(Exception):
    """A child that was to answer ended instead."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(f"{ended.how}: {ended.last_line}")


@contextmanager
def conversing(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, idle_s: float
) -> Iterator[Callable[[str], Answer]]:
    """A child that answers one request after another: yields what sends a line and returns the answer to it.

    Raises EdgetfError for an error that the child reported, HungError after `idle_s` seconds without output, and
    EndedError for a child that is gone. The child ends with the block, or if this process ends.
    """
    with scratch() as folder, tempfile.TemporaryFile(dir=folder) as stderr:
        variables = {**os.environ, "TMPDIR": str(folder), **(env or {})}
        with _child(command, stderr=stderr, env=variables) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            lines, given = _lines(child.stdout.fileno(), idle_s), child.stdin

            def ask(request: str) -> Answer:
                with suppress(BrokenPipeError):  # it is gone: how it ended is more informative
                    given.write(request.encode() + b"\n")
                    given.flush()
                answers: list[Answer] = []
                for line in lines:
                    _receive(line, lambda event: None, answers.append)
                    if answers:
                        return answers[0]
                code = child.wait()
                stderr.seek(0)
                raise EndedError(Ended(code, stderr.read().decode(errors="replace")))

            yield ask


def ask(command: Sequence[str], *, given: str = "", seconds: float) -> Answered:
    """Run a program that answers within `seconds`, with `given` on standard input.

    Raises HungError if it does not, and OSError if it cannot be started. However this ends, also if this process is
    killed, the program and all that it has started in its process group end with it.
    """
    with _child(command, stderr=subprocess.PIPE) as child:
        try:
            stdout, stderr = child.communicate(given.encode(errors="replace"), timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise HungError(f"no answer for {seconds:.0f} s") from error
        return Answered(child.returncode, _text(stdout), _text(stderr))


def _text(printed: bytes) -> str:
    return printed.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def _child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A child in its own process group, which is terminated at the end, or if this process is killed."""
    with _guard() as guard:
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True, **options)
        try:
            guard.write(b"%d\n" % child.pid)
            yield child
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            for end in (child.stdin, child.stdout, child.stderr):
                with suppress(BrokenPipeError):
                    if end is not None:
                        end.close()


def _run(
    child: subprocess.Popen[bytes], request: str, on_event: OnEvent, on_answer: OnAnswer, idle_s: float, grace_s: float
) -> int:
    """Send the request and pass on what the child sends; its exit code."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with suppress(BrokenPipeError):  # it ended at once: its exit code is more informative
            child.stdin.write(request.encode())
            child.stdin.close()
        for line in _lines(child.stdout.fileno(), idle_s):
            _receive(line, on_event, on_answer)
        return child.wait()
    except KeyboardInterrupt:
        if grace_s:
            child.send_signal(signal.SIGINT)
            with suppress(HungError):
                for line in _lines(child.stdout.fileno(), grace_s):
                    _receive(line, on_event, on_answer)
        raise


def _receive(line: bytes, on_event: OnEvent, on_answer: OnAnswer) -> None:
    message = from_line(line)
    if isinstance(message, Fault):
        raise EdgetfError(message.message, message.hint)
    if isinstance(message, Answer):
        on_answer(message)
    elif message is not None:
        on_event(message)


# reads the process group to guard, and kills it if the pipe closes before a second line arrives
_GUARD = 'read -r group && { read -r well || kill -s KILL -- "-$group"; }'


@contextmanager
def _guard() -> Iterator[IO[bytes]]:
    """Start a process that kills the group written to it if this process is killed.

    PR_SET_PDEATHSIG is not used: it exists only on Linux, does not reach the children of the child, and kills the child
    when the thread that started it ends.
    """
    null = subprocess.DEVNULL
    with subprocess.Popen(
        ["sh", "-c", _GUARD],
        stdin=subprocess.PIPE,
        stdout=null,
        stderr=null,
        bufsize=0,
        start_new_session=True,
        cwd="/",
    ) as guard:
        assert guard.stdin is not None
        try:
            yield guard.stdin
        finally:
            with suppress(BrokenPipeError):  # it was killed itself
                guard.stdin.write(b"well\n")


@contextmanager
def reporting(events: EventPipe) -> Iterator[None]:
    """In a child: send an EdgetfError to the parent, where `run_child` raises it."""
    try:
        with explained():
            yield
    except EdgetfError as error:
        events.send(Fault(error.message, error.hint))


def leave() -> NoReturn:
    """End this process, in which nothing is left to be done: TensorFlow would take another second to end.

    Functions that user code has registered with `atexit` run.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _lines(pipe: int, idle_s: float) -> Any:
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            deadline = monotonic() + idle_s
            if not selector.select(max(0.0, deadline - monotonic())):
                raise HungError(f"no output for {idle_s:.0f} s")
            block = os.read(pipe, 1 << 16)
            if not block:
                return
            *lines, buffer = (buffer + block).split(b"\n")
            yield from lines
