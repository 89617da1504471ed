"""Limits of values in documents. In: a document that was just read. Out: a description of a fault, if any.

A document is checked once, when it is read, so that later code cannot fail on its values: no NaN, no negative count, no
impossible size, no invalid file name. The rules depend on the names of fields, which mean the same in all documents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

_MOST_COUNT = 1 << 53  # above it, not every integer is a float
MOST = 1e100  # limit of any quantity; its square is still a float
_MOST_TIME, _LEAST_TIME = 1e18, 1e-9  # nanoseconds: thirty years; the smallest time above 0
_LONGEST = 1 << 16  # characters of a string
_LONGEST_NAME, _LONGEST_PATH = 255, 3072  # bytes, on Linux; a path may be relative to a long one

_LABELS = {"ClassFigures.label"}  # a class may be any value of an integer output
_SIGNED_COUNTS = {"nice", "nice_effective", "added_rss_bytes", "seed"}
_TIMES = {"seconds", "median", "mean", "stdev", "p90", "p99", "at_s", "Latency.low", "Latency.high"}
_NOT_NEGATIVE = {
    *("max_abs", "mean_abs", "max_abs_reference", "floor", "spread", "last_to_first", "samples_per_second"),
    *("frequency_mhz", "idle_w", "active_w", "stretch"),
}
_SHARES = {
    *("share", "time_share", "weight_sparsity", "mcnemar_p", "Accuracy.reference", "Accuracy.variant"),
    *("Agreement.low", "Agreement.high"),
}
_AT_LEAST_ONE = {"Accuracy.n", "Agreement.n", "Agreement.positions", "Latency.n", "Reference.batch", "batch_alone"}
_FILES = {"path", "file", "shapes", "measurement", "timings", "ranges", "folder", "variant", "device", "scheme"}
_KEY = "a key of "  # the name of what names a value in a mapping
_ROUNDING = 1e-6  # a share may exceed 1 by this


# conditions between the fields of a class; without them, later arithmetic can fail
_RELATIONS: dict[str, Callable[[Any], bool]] = {
    "Agreement": lambda one: one.same <= one.n * one.positions and one.low <= one.share <= one.high,
    "Accuracy": lambda one: one.only_reference_right + one.only_variant_right <= one.n,
    "Coverage": lambda one: 0 <= one.operations - one.delegated == _left_of(one),
    "Latency": lambda one: one.low <= one.median <= one.high,
    "Pass": lambda one: one.n > 0 and one.seconds > 0,
    "Power": lambda one: one.runs > 0,
    "TimeSummary": lambda one: one.n > 0,
    "Parity": lambda one: len(one.outputs) > 0,
    "ReferenceDevice": lambda one: one.kind in ("gpu", "cpu", "serving"),
    "Sustained": lambda one: len(one.minutes) > 0,
}


def _left_of(coverage: Any) -> int:
    """How many operations a delegate left, by their kinds; if these are unknown, by the difference."""
    left = coverage.left
    return sum(one.count for one in left) if left else coverage.operations - coverage.delegated


def find_fault(document: Any) -> str:
    """A description of a fault in the values of a dataclass, including nested ones; empty if there is none."""
    found = _search(document, "")
    return "" if found is None else f"{found.of}{found.place.removeprefix('.') or 'it'} {found.fault}"


class _Found(NamedTuple):
    """A fault with its place, such as `.results[2].bytes`; `of` is "a key of " if the fault is in a key."""

    place: str
    fault: str
    of: str = ""

    def within(self, place: str) -> _Found:
        return self._replace(place=place + self.place)


def _search(value: Any, name: str) -> _Found | None:
    """The first fault in a value of the field `Class.field`; nested values are checked first."""
    if isinstance(value, (str, int, float)):
        fault = "" if isinstance(value, (Enum, bool)) else _fault_of(name, value)
        return _Found("", fault, name if name == _KEY else "") if fault else None
    for place, of, part in _parts(value, name):
        if found := _search(part, of):
            return found.within(place)
    if dataclasses.is_dataclass(value) and (fault := _fault_between(value)):
        return _Found("", fault)
    return None


def _parts(value: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """The direct parts of a value, with their place, such as `.bytes` or `[2]`, and their `Class.field`."""
    kind: Any = type(value)
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield "", _KEY, key
            yield f"[{key!r}]", name, one
    elif isinstance(value, (list, tuple)):
        for k, one in enumerate(value):
            yield f"[{k}]", name, one
    elif hasattr(kind, "__dataclass_fields__"):
        for field, full_name in _fields(kind):
            yield f".{field}", full_name, getattr(value, field)


@cache
def _fields(kind: type[Any]) -> tuple[tuple[str, str], ...]:
    """The fields of a dataclass, each also as `Class.field`."""
    return tuple((field.name, f"{kind.__name__}.{field.name}") for field in dataclasses.fields(kind))


def _fault_between(value: Any) -> str:
    low, high = getattr(value, "low", None), getattr(value, "high", None)
    holds = _RELATIONS.get(type(value).__name__, lambda one: True)
    if (low is not None and high is not None and low > high) or not holds(value):
        return "has inconsistent values"
    return ""


def _fault_of(name: str, value: Any) -> str:
    if isinstance(value, str):
        return fault_of_text(value, name.rpartition(".")[2] in _FILES)
    low, high = _bounds(name, isinstance(value, int))
    if not low <= value <= high or (value and high == _MOST_TIME and value < _LEAST_TIME):  # NaN is never within bounds
        shown = f"{value:.6g}" if isinstance(value, float) or abs(value) < _MOST_COUNT else "a number of many digits"
        return f"is {shown}, which is out of range"
    return ""


@cache
def _bounds(name: str, whole: bool) -> tuple[float, float]:
    """The smallest and the largest value of a `Class.field`."""
    field = name.rpartition(".")[2]
    names = {name, field}
    if whole and names & _LABELS:
        return -(1 << 63), (1 << 63) - 1
    if names & _SHARES:
        return 0.0, 1.0 + _ROUNDING
    if names & _AT_LEAST_ONE:
        return 1, _MOST_COUNT
    if names & _TIMES or field.endswith(("_ms", "_ns")):
        return 0.0, _MOST_TIME
    if whole and names & _SIGNED_COUNTS:
        return -_MOST_COUNT, _MOST_COUNT
    if names & _NOT_NEGATIVE:
        return 0.0, MOST
    return (0, _MOST_COUNT) if whole else (-MOST, MOST)


def fault_of_text(text: str, is_file: bool) -> str:
    """A description of a fault in a string, or in the name or path of a file; empty if there is none."""
    if len(text) > _LONGEST:
        return f"has {len(text):,} characters"
    if is_file and len(text) > _LONGEST_NAME // 4:  # a character has at most four bytes
        parts = text.encode(errors="replace").split(b"/")
        if max(map(len, parts)) > _LONGEST_NAME or sum(map(len, parts)) > _LONGEST_PATH:
            return "is too long for a file name"
    return ""
