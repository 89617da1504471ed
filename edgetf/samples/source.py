"""Parse a source of samples: `KIND:REST?OPTION=VALUE&...`, or a path with options of the same form."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgetf.errors import EdgetfError, nearest
from edgetf.limits import fault_of_text
from edgetf.samples.core import SampleSource

_SHOWN = 60  # characters of a name that is too long
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class SourceKind:
    """What is particular to one kind: whether `?scale` and `?offset` apply, and whether a report may read it again.

    Reading the others runs code or downloads.
    """

    prefix: str
    is_scaled: bool
    is_rereadable: bool


PATH = SourceKind("", is_scaled=False, is_rereadable=True)
FOLDER = SourceKind("folder:", is_scaled=True, is_rereadable=True)
TFDS = SourceKind("tfds:", is_scaled=True, is_rereadable=False)
PREFIXED = (FOLDER, TFDS)
FUNCTION = SourceKind("", is_scaled=False, is_rereadable=False)  # recognized by its form, module:function


@dataclass(frozen=True)
class Parts:
    """A parsed source: `rest` is what follows the prefix, `options` what follows `?`."""

    kind: SourceKind
    rest: str
    options: dict[str, str]

    def scaling(self) -> tuple[float, float] | None:
        """The factor and the offset, as in value * 1/127.5 - 1; None if neither is given."""
        if not {"scale", "offset"} & set(self.options):
            return None
        return _number(self.options.get("scale", "1")), _number(self.options.get("offset", "0"))

    def allow(self, known: Iterable[str]) -> None:
        """Raise EdgetfError for an unknown option of this kind of source."""
        for name in self.options:
            if name not in (known := tuple(known)):
                raise EdgetfError(f"{self.rest} has an unknown option {name!r}", nearest(name, known))


def parse_source(source: SampleSource) -> Parts:
    """The Parts of a source. If a file or folder of exactly that name exists, it is a path."""
    text = str(source)
    if fault_of_text(text.partition("?")[0], is_file=True):
        raise EdgetfError(f"{text[:_SHOWN]}... is too long for a file name", "give a shorter one")
    if isinstance(source, Path) or Path(text).exists():
        return Parts(PATH, text, {})
    whole, _, query = text.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]  # without %-escapes: paths are not encoded
    options = {name: value for name, _, value in pairs}
    for kind in PREFIXED:
        if whole.startswith(kind.prefix):
            return Parts(kind, whole.removeprefix(kind.prefix), options)
    if _FUNCTION.fullmatch(text):
        return Parts(FUNCTION, text, {})
    return Parts(PATH, whole, options)


def short_name(source: SampleSource) -> str:
    """A short name of a source: a file's name without its folder, anything else unchanged."""
    parts = parse_source(source)
    return Path(parts.rest).name if parts.kind is PATH else str(source)


def is_missing(source: SampleSource) -> bool:
    """Whether a source names a file or folder that does not exist."""
    parts = parse_source(source)
    if parts.kind is PATH and "*" not in parts.rest:
        path = Path(parts.rest)
        return not path.exists() and not any(path.parent.glob(f"{path.name}.json"))
    return False


def _number(text: str) -> float:
    above, slash, below = text.partition("/")
    try:
        number = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise EdgetfError(f"{text!r} is not a number", "give one such as 0.5 or 1/255")
    return number
