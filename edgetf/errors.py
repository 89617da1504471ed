"""What can go wrong in a way that a person can mend, and the exit code that each kind ends with.

    EdgetfError             1  the user can mend it
      MissingExtraError     1  a package of an extra is not installed; the message says which `pip install`
      DeviceError           5  the device, or the process on it, failed

A budget that was missed (3) and data that does not suffice (4) are results, not errors: they are verdicts.
Errors are raised anywhere and caught once, in `edgetf.cli`. A bug keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the `edgetf` command tells the shell."""

    DONE = 0
    USER = 1
    USAGE = 2
    BUDGET_MISSED = 3
    NOT_ENOUGH_DATA = 4
    DEVICE_FAILED = 5


class EdgetfError(Exception):
    """Something that the user can mend: what is wrong in one line, and what to do next."""

    exit_code = ExitCode.USER

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class MissingExtraError(EdgetfError):
    """A part of edgetf was asked for whose packages are not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package}, which is not installed",
            f'pip install "edgetf[{extra}]"',
        )


class DeviceError(EdgetfError):
    """The device, or the process that ran on it, failed."""

    exit_code = ExitCode.DEVICE_FAILED


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest known one, and all of them."""
    import difflib  # only where something went wrong

    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {', '.join(known)}"
