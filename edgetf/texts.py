"""Untrusted texts (from devices, servers, models, files), sanitized for printing and storage.

A terminal interprets escape sequences, carriage returns and marks that change the direction of writing. XML cannot
contain control characters. A URL may contain a password.
"""

from __future__ import annotations

import re
from typing import Any

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)")
_USER = re.compile(  # a password may have a /
    r"(\b[a-zA-Z][\w+.-]*://)(?:[^\s/?#]*@|[^\s/?#:@]*:(?!\d+(?:[/?#\s]|$))\S*@)"
)
_SECRET = re.compile(
    r"([?&;](?:[\w.-]*(?:token|passw(?:or)?d|secret|signature|credential|api-?_?key)[\w.-]*|sig|auth|key)=)[^&;#\s\"'<>]+",
    re.IGNORECASE,
)
_HIDDEN = "***"


def printable(text: str) -> str:
    """The text on one line, without escape sequences, invisible characters and control characters."""
    if text.isprintable():
        return text
    plain = _ESCAPES.sub("", text)
    return "".join(c if c.isprintable() else " " if c.isspace() else "" for c in plain).strip()


def shown(text: str) -> str:
    """The text for people: on one line as `printable` makes it, and without secrets."""
    return without_secrets(printable(text))


def last_line(text: str) -> str:
    """The last line that is not empty, or "": programs print there what ended them."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def all_printable(plain: Any) -> Any:
    """The same for every string in dicts and lists, including keys."""
    if isinstance(plain, str):
        return printable(plain)
    if isinstance(plain, dict):
        return {printable(key) if isinstance(key, str) else key: all_printable(one) for key, one in plain.items()}
    if isinstance(plain, list):
        return [all_printable(one) for one in plain]
    return plain


def without_secrets(text: str) -> str:
    """The text with `***` for users and passwords in URLs, and for the values of tokens and keys."""
    return _SECRET.sub(rf"\1{_HIDDEN}", _USER.sub(rf"\1{_HIDDEN}@", text)) if "://" in text else text
