"""Arguments as a user gives them: one or several names, a word of a fixed list."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TypeVar

from edgetf.errors import EdgetfError, nearest

Word = TypeVar("Word", bound=Enum)


def names_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """A tuple of names, from one name or several."""
    return (given,) if isinstance(given, str) else tuple(given)


def one_of(words: type[Word], given: str, what: str) -> Word:
    """The member of an enumeration. Raises EdgetfError with a list of the members for an unknown word."""
    try:
        return words(given)
    except ValueError as error:
        known = [str(word.value) for word in words]
        raise EdgetfError(f"{what}={given!r} is not known", nearest(str(given), known)) from error
