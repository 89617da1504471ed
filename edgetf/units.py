"""Readable figures: bytes, times and ratios in suitable units."""

from __future__ import annotations

from collections.abc import Sequence

_LEAST_TIMES = 1.5  # a smaller ratio is written in percent


def human_bytes(size: int) -> str:
    """Bytes in decimal units, as for disks and downloads."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.9995 * factor:
            return f"{_short(size / factor)} {unit}"
    return f"{size} B"


def human_ms(*ms: float, like: float | None = None) -> str:
    """Milliseconds in the unit that suits `like`, or the first: µs below 0.1 ms, seconds from 1000 ms.

    More than one is a range: "29.1 to 31.2 µs".
    """
    short = ms[0] if like is None else like
    unit, factor = ("µs", 1e3) if short < 0.1 else ("ms", 1.0) if short < 1000 else ("s", 1e-3)
    return f"{' to '.join(_short(one * factor) for one in ms)} {unit}"


def human_duration(seconds: float) -> str:
    """A duration of seconds or more, without more precision than an estimate has: "40 s", "3 min", "2 h 5 min"."""
    if seconds < 99.5:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h {rest} min" if rest else f"{hours} h"


def human_times(ratio: float, more: str, less: str) -> str:
    """A positive ratio as text: "3.3 times faster", "12 % slower", "0.2 % larger"; empty for 1.

    Percentages are relative to the other value: 69 of 100 bytes are 31 % smaller.
    """
    word, factor = (more, ratio) if ratio > 1 else (less, 1 / ratio)
    if factor >= _LEAST_TIMES:
        return f"{factor:.0f} times {word}" if factor >= 9.95 else f"{factor:.1f} times {word}"
    percent = 100 * abs(1 - ratio)
    return "" if factor == 1 else f"{percent:.0f} % {word}" if percent >= 0.95 else f"{percent:.1g} % {word}"


def list_in_words(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _short(number: float) -> str:
    return f"{number:.3g}" if number < 999.5 else f"{number:.0f}"
