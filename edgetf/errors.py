"""Errors that the user can correct, with their exit codes.

    EdgetfError             1  the user can correct it
      NoLayerError          1  a pattern names no layer of the model
      MissingExtraError     1  a package of an extra is not installed; the hint is the `pip install` command
      DeviceError           5  the device, or the process on it, failed
        UnreachableError    5  the device does not answer
        NoRoomError         1  the device cannot store the results

A missed budget (3) and insufficient data (4) are verdicts, not errors.
Errors are raised anywhere and caught only in `edgetf.cli`. A bug keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, IntEnum

from edgetf.texts import printable, without_secrets

_LONGEST = 2000  # characters of a message or a hint
# characters that move a terminal's cursor, end a line or change the direction of writing, and invalid characters
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


class ExitCode(IntEnum):
    """The exit codes of the `edgetf` command."""

    DONE = 0
    USER = 1
    USAGE = 2
    BUDGET_MISSED = 3
    NOT_ENOUGH_DATA = 4
    DEVICE_FAILED = 5


def clean(text: str) -> str:
    """A text as one line of any length: control characters and unencodable characters become "?"."""
    if text.isprintable() and not _UNPRINTABLE.search(text):
        return text
    return _UNPRINTABLE.sub("?", _joined(text))


def _joined(text: str) -> str:
    lines = (line.strip() for line in text.replace("\t", " ").splitlines())
    return " ".join(filter(None, lines))


def one_line(text: str, most: int = _LONGEST) -> str:
    """Untrusted text as one line that is safe to print, of at most `most` characters.

    Lines are joined by a space; unprintable characters are removed.
    """
    line = printable(_joined(text[: 20 * most]))
    return line if len(line) <= most else f"{line[: most - 3]}..."


class EdgetfError(Exception):
    """An error that the user can correct: a message in one line, and a hint what to do next.

    Both may contain untrusted text, are printed and stored. They are therefore sanitized here.
    """

    exit_code = ExitCode.USER

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = one_line(without_secrets(message))
        self.hint = one_line(without_secrets(hint))
        super().__init__(self.message)


class NoLayerError(EdgetfError):
    """A pattern names no layer of the model."""


class MissingExtraError(EdgetfError):
    """A package that this function needs is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        from edgetf.installing import how_to_install  # only needed for this error

        super().__init__(
            f"this needs the package {package}, which is not installed",
            how_to_install(extra, package),
        )


class Cause(str, Enum):
    """Why a device failed.

    LOST: what ran there is gone, or its answer cannot be read; HUNG: it is silent; UNREACHABLE: the device does not
    answer; BUSY: another run holds it; UNFIT: its setup, or what was sent, does not fit, which another attempt repeats.
    """

    LOST = "lost"
    HUNG = "hung"
    UNREACHABLE = "unreachable"
    BUSY = "busy"
    UNFIT = "unfit"


class DeviceError(EdgetfError):
    """The device, or the process that ran on it, failed."""

    exit_code = ExitCode.DEVICE_FAILED
    cause = Cause.LOST

    def __init__(self, message: str, hint: str = "", cause: Cause | None = None) -> None:
        super().__init__(message, hint)
        self.cause = self.cause if cause is None else cause


class UnreachableError(DeviceError):
    """The device does not answer after several attempts: not a failure of the variant that runs there."""

    cause = Cause.UNREACHABLE


class KeptInterrupt(KeyboardInterrupt):
    """The user or the system interrupted the command. The message names what was kept, the hint how to continue."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class NoRoomError(DeviceError):
    """The device cannot store the results: not a failure of the variant that runs there."""

    exit_code = ExitCode.USER
    cause = Cause.UNFIT


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest known name, and a list of all."""
    import difflib  # only needed for an error

    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {', '.join(known)}"
