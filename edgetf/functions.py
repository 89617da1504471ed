"""User functions by name. In: `module:function`. Out: the function."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgetf.errors import EdgetfError

HINT = "give module:function, importable from this folder"


def load_function(name: str, hint: str = HINT) -> Callable[..., Any]:
    """The function that `module:function` names; the module is installed or in the current folder.

    `sys.path` is restored afterwards. Raises EdgetfError, with `hint`, for a name of another form, and for a module
    that is missing, has no such function or cannot be imported.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise EdgetfError(f"{name!r} does not name a function", hint)
    try:
        with from_here():
            found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, SyntaxError) as error:
        # str(SyntaxError) names the file and the line
        raise EdgetfError(f"cannot load {name}: {str(error).partition(chr(10))[0]}", hint) from error
    if not callable(found):
        raise EdgetfError(f"{name} is not a function", hint)
    return found  # type: ignore[no-any-return]


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
