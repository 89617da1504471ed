"""Parse output of programs and files of a system as numbers and lines; it is untrusted."""

from __future__ import annotations

import math
import re

_MOST, _LEAST = 1e15, 1e-9


def number(text: str) -> float | None:
    """A number of ordinary size; None for anything else."""
    try:
        found = float(text)
    except ValueError:
        return None
    if not math.isfinite(found) or abs(found) > _MOST:
        return None
    return found if abs(found) >= _LEAST else 0.0


def count(text: str) -> int | None:
    """A whole number from 0; None for anything else."""
    found = number(text)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def bits(text: str) -> int | None:
    """A hexadecimal number such as 0x50005; None for anything else."""
    return int(text, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,8}", text) else None


def is_throttled(state: str) -> bool:
    """Whether a device's state means that it is throttled: a Pi's bits 0 to 3, or Android's thermal status."""
    if (flags := bits(state)) is not None:
        return bool(flags & 0xF)
    return state not in ("", "0")


def line(text: str, most: int = 300) -> str:
    """The text as one line of printable characters, each other one as "?"."""
    joined = " ".join(text[: 20 * most].split())
    return "".join(one if one.isprintable() else "?" for one in joined)[:most].strip()


def in_one_line(error: str) -> str:
    """An interpreter's message without the files of its sources, which sends sentences without a space between."""
    message = re.sub(r"\S+\.(?:cc|h):\d+ ", "", line(error, 2000))
    return re.sub(r"[. ]*(Node number)", r"; \1", message).rstrip(".")[:300]
