"""What `--samples` takes, taken apart: `KIND:REST?OPTION=VALUE&...`, or a path with options of the same form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from edgetf.errors import EdgetfError, nearest
from edgetf.samples.core import SampleSource

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Parts:
    """`kind` is "path", "folder", "tfds" or "function"; `rest` is what follows, `options` what stands behind `?`."""

    kind: str
    rest: str
    options: dict[str, str]

    def scaling(self) -> tuple[float, float] | None:
        """The factor and what is added, as in value * 1/127.5 - 1; None where neither is given."""
        if not {"scale", "offset"} & set(self.options):
            return None
        return _number(self.options.get("scale", "1")), _number(self.options.get("offset", "0"))

    def allow(self, known: Iterable[str]) -> None:
        """Raise EdgetfError for an option that this kind of source does not know."""
        for name in self.options:
            if name not in (known := tuple(known)):
                raise EdgetfError(f"{self.rest} has an unknown option {name!r}", nearest(name, known))


def take_apart(source: SampleSource) -> Parts:
    """The Parts of a source. A file or folder of exactly that name is a path, whatever it looks like."""
    text = str(source)
    if isinstance(source, Path) or Path(text).exists():
        return Parts("path", text, {})
    whole, _, query = text.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]  # no %-escapes: paths are given as they are
    options = {name: value for name, _, value in pairs}
    for kind in ("folder", "tfds"):
        if whole.startswith(f"{kind}:"):
            return Parts(kind, whole.removeprefix(f"{kind}:"), options)
    if _FUNCTION.fullmatch(text):
        return Parts("function", text, {})
    return Parts("path", whole, options)


def short_name(source: SampleSource) -> str:
    """A source as people call it: a file by its name alone, anything else as it was given."""
    parts = take_apart(source)
    return Path(parts.rest).name if parts.kind == "path" else str(source)


def is_missing(source: SampleSource) -> bool:
    """Whether a source names a file or folder that is not there."""
    parts = take_apart(source)
    if parts.kind == "path" and "*" not in parts.rest:
        path = Path(parts.rest)
        return not path.exists() and not any(path.parent.glob(f"{path.name}.json"))
    return False


def _number(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise EdgetfError(f"{text!r} is no number", "give one such as 0.5 or 1/255") from error
