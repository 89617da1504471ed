"""What only informs never costs a result. In: a function for it. Out: what it returns, or a line that it failed."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import TypeVar

from edgetf.reading import reason_of

Found = TypeVar("Found")


def informed(subject: str, find: Callable[[], Found], otherwise: Found, report: Callable[[str], object]) -> Found:
    """What `find` returns. If it raises, `otherwise`; `report` then gets a line, and the log the traceback."""
    try:
        return find()
    except Exception as error:
        traceback.print_exc()
        report(f"could not find out {subject}: {reason_of(error)}")
        return otherwise


def lines_on(subject: str, find: Callable[[], Iterable[str]]) -> tuple[str, ...]:
    """The notes or warnings that `find` returns, or one that says that it failed."""
    failed: list[str] = []
    found: tuple[str, ...] = informed(subject, lambda: tuple(find()), (), failed.append)
    return (*found, *failed)
