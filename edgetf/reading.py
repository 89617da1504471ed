"""The boundary of every file format: any exception of a library becomes an EdgetfError that names the file.

Libraries raise undocumented exceptions for damaged files (`zlib.error`, `struct.error`, `IndexError`,
`RecursionError`), so that a list of exceptions is never complete. Code inside of a boundary therefore only parses a
file. The use of the result is outside of it, where a bug keeps its traceback.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgetf.errors import EdgetfError, one_line

_LONGEST = 200  # characters of a library's message
# exceptions whose messages are for the programmers of a library, and what they mean for the user of a file
_MEANINGS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((RecursionError,), "it is nested too deeply"),
    ((UnicodeError,), "a text in it is not UTF-8"),
    ((zlib.error,), "its compressed data is damaged"),
    ((struct.error, IndexError, StopIteration), "a part of it is missing"),
    (
        (TypeError, AttributeError, ArithmeticError, AssertionError, NotImplementedError),
        "a value in it is impossible there",
    ),
)


@contextmanager
def parsing(path: Path | str, what: str, hint: str) -> Iterator[None]:
    """Enclose code that parses the file `path`, which should be `what` (such as "an .npz file").

    Raises EdgetfError for any exception in it, also if the file exhausts the memory or the stack; Ctrl-C passes
    through.
    """
    try:
        yield
    except EdgetfError:
        raise
    except OSError as error:
        if error.errno is not None and error.strerror:  # from the system; libraries raise it without a number
            raise EdgetfError(f"cannot read {path}: {error.strerror}", hint) from error
        raise _damaged(path, what, hint, error) from error
    except MemoryError as error:
        raise EdgetfError(f"{path} is damaged, or too large for the memory of this machine", hint) from error
    except Exception as error:
        raise _damaged(path, what, hint, error) from error


def _damaged(path: Path | str, what: str, hint: str, error: Exception) -> EdgetfError:
    return EdgetfError(f"{path} is not {what}, or is damaged: {fault_of(error)}", hint)


def fault_of(error: BaseException) -> str:
    """What is wrong with a file, by the error of its parser, in one short line for the user."""
    if isinstance(error, KeyError) and error.args:
        key = str(error.args[0])
        return one_line(key if " " in key else f"{key!r} is missing", _LONGEST)
    return next((words for types, words in _MEANINGS if isinstance(error, types)), "") or reason_of(error)


def reason_of(error: BaseException) -> str:
    """An error's message in one short line; its type if the message is empty."""
    try:
        text = str(error)
    except (Exception, SystemExit):  # str() of an error of other code may raise anything
        text = ""
    # str(KeyError) is only the key
    return one_line(text if text and not isinstance(error, KeyError) else f"{type(error).__name__} {text}", _LONGEST)
