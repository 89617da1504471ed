"""User functions by name. In: `module:function`. Out: the function, or what it returns.

User code is unknown: it may raise anything, and `sys.exit` in it would end the command as if it were done. All of it
runs within `user_code`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgetf.errors import EdgetfError, one_line
from edgetf.reading import reason_of

HINT = "give module:function, importable from this folder"
_OWN = str(Path(__file__).parent)


def load_function(name: str, hint: str = HINT) -> Callable[..., Any]:
    """The function that `module:function` names; the module is installed or in the current folder.

    `sys.path` is restored afterwards. Raises EdgetfError, with `hint`, for a name of another form, and for a module
    that is missing, has no such function or cannot be imported.
    """
    refuse_no_function(name, hint)
    module, _, function = name.partition(":")
    with from_here(), user_code(lambda why: EdgetfError(f"cannot load {name}: {why}", hint)):
        found = getattr(importlib.import_module(module), function)
    if not callable(found):
        raise EdgetfError(f"{name} is not a function", hint)
    return found  # type: ignore[no-any-return]


def refuse_no_function(name: str, hint: str = HINT) -> None:
    """Raise EdgetfError for a text that is not of the form `module:function`; nothing is loaded."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise EdgetfError(f"{name!r} does not name a function", hint)


def run_function(name: str, returns: str, hint: str = HINT) -> Any:
    """What the function `module:function` returns, which takes no arguments. `returns` is what it should return.

    Raises EdgetfError as `load_function` does, and if the function fails.
    """
    function = load_function(name, hint)
    how = f"correct it: it is called without arguments, and returns {returns}"
    with from_here(), user_code(lambda why: EdgetfError(f"{name} failed: {why}", how)):
        return function()


@contextlib.contextmanager
def user_code(error_for: Callable[[str], Exception]) -> Iterator[None]:
    """Enclose code of the user, and nothing else: a bug of edgetf keeps its traceback.

    Anything that it raises is raised as `error_for(reason)`, also SystemExit; Ctrl-C passes through.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise error_for(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """The error's type and message in one line, with the place in the user's code."""
    if isinstance(error, EdgetfError):
        return "; ".join(filter(None, [error.message, error.hint]))
    name = one_line(type(error).__name__)
    text = reason_of(error).removeprefix(name).strip()
    reason = f"{name}: {text}" if text else name
    return reason if isinstance(error, SyntaxError) else f"{reason}{_place(error)}"  # a SyntaxError names its place


def _place(error: BaseException) -> str:
    """The innermost line of the user's code, as " (file.py, line 3)"; empty if the error is not from there.

    The first file that is neither edgetf's nor the importer's is the user's, and so are others of its folder.
    """
    frames = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    others = [one for one in frames if not str(one[0]).startswith((_OWN, "<")) and one[0].parent.name != "importlib"]
    near = [(path, line) for path, line in others if path.parent == others[0][0].parent]
    return f" ({one_line(near[-1][0].name)}, line {near[-1][1]})" if near else ""


@contextlib.contextmanager
def from_folder(folder: Path) -> Iterator[None]:
    """Make a folder the working directory: files and modules that a plan names are found beside it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def from_here() -> Iterator[None]:
    """Allow imports from the working directory, as `python -m` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the module itself may have changed the path
            sys.path.remove(here)
