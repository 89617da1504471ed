"""How the command ends. In: a call. Out: an exit code. Errors and signals become a line and a hint.

Errors that the user can correct, and errors of the operating system, are caught only here. A bug keeps its traceback.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import Any

import click

from edgetf.errors import EdgetfError, ExitCode, KeptInterrupt

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed, or the connection lost
_OUTPUT = "standard output"
_PATIENCE_S = 30.0  # after this time another signal also ends the clean-up
_AGAIN_S = 0.05
_BEGAN: list[float] = []  # the times of signals
_CLOSED = 128 + signal.SIGPIPE  # a shell's exit code for a program whose reader has closed the pipe


class _Output(io.FileIO):
    """Standard output that marks its own errors; `gone` is whether its reader has closed the pipe."""

    gone = False

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            error.filename = _OUTPUT
            _Output.gone = isinstance(error, BrokenPipeError)
            raise


def run(command: Callable[[], Any]) -> int:
    """Call `command` and return the exit code for what it returns or raises. Signals are ignored from then on."""
    catch_signals()
    _name_output()
    try:
        return _run(command)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # the timer of a signal that waits for the end of an import
        for ending in (*_SIGNALS, signal.SIGALRM):
            signal.signal(ending, signal.SIG_IGN)
        _give_up_output()


def catch_signals() -> None:
    """Make the first signal raise KeyboardInterrupt; later ones must not interrupt the clean-up that it starts.

    Ignored signals stay ignored, for nohup.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        if _BEGAN and _is_ending(sys.exc_info()[1]):
            if monotonic() - _BEGAN[0] > _PATIENCE_S:
                os._exit(ExitCode.USER)
            return
        _BEGAN.append(monotonic())
        if not _is_importing(frame):
            raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)

    for ending in _SIGNALS:
        if signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, interrupt)


def _name_output() -> None:
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and out.fileno() == 1:
        raw = io.BufferedWriter(_Output(1, "wb", closefd=False))
        # file names need not be valid text: printing them must not fail
        sys.stdout = io.TextIOWrapper(raw, out.encoding, "backslashreplace", line_buffering=out.line_buffering)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: an interrupted import leaves half a module, or raises another error."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _is_ending(error: BaseException | None) -> bool:
    """Whether an interruption is being handled, and was not lost in a place that cannot raise."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def _run(command: Callable[[], Any]) -> int:
    try:
        code = command()
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else ExitCode.DONE
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except EdgetfError as error:
        _print_error(error.message, error.hint)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        return _interrupted(error)
    except SystemExit:
        if _Output.gone:  # click and rich raise this for a closed pipe
            return _CLOSED
        raise
    except Exception as error:
        if _BEGAN:  # a library turned the interruption into its own error
            return _interrupted(None)
        return _refused(error)


def _give_up_output() -> None:
    """Discard unwritten output: Python would try again at the end of the process and change the exit code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def _interrupted(error: BaseException | None) -> int:
    if isinstance(error, click.Abort):  # click's exception for an interruption
        error = error.__cause__ or error.__context__
    if isinstance(error, KeptInterrupt):
        _print_error(f"interrupted, with {error.message}", error.hint)
    else:
        _print_error(
            "interrupted: nothing was left half-written",
            "run the same command again: it resumes if it can, otherwise it starts over",
        )
    return ExitCode.USER


def _refused(error: Exception) -> int:
    """The exit code for an error of the operating system; a closed pipe is not an error."""
    from edgetf.system import explain

    if isinstance(error, BrokenPipeError) and error.filename == _OUTPUT:
        return _CLOSED
    explained = explain(error)
    if explained is None:
        raise error
    _print_error(explained.message, explained.hint)
    return explained.exit_code


def _print_error(message: str, hint: str) -> None:
    with suppress(OSError):
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": {"message": message, "hint": hint}}))
    with suppress(OSError):
        click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
        if hint:
            click.echo(f"{click.style(' hint:', fg='cyan')} {hint}", err=True)
