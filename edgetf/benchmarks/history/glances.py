"""The figures of results for lists and plots. In: rows of `result`. Out: the table `glance`, made of them.

A result is kilobytes of JSON, of which a list or a plot needs seven numbers. They are stored beside it when it is
added, or when a list or a plot first needs them: in a file of an earlier edgetf, or one that was changed by hand. A
change of a result removes its glance.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from edgetf.benchmarks.history.sessions import Session
from edgetf.errors import EdgetfError
from edgetf.limits import MOST, fault_of_text, find_fault
from edgetf.results import Verdict

# `shown` has all that lists and plots need of a row of `result`, in their order: the results themselves are not read
TABLE = (
    """
create table if not exists glance (
    id integer primary key,      -- of the result
    median, low, high,           -- latency in ms, and its interval
    drop_points, drop_low, drop_high,
    verdict,
    nice integer not null,       -- the priority that it ran with
    readable integer not null,   -- 0: the result is of another version
    file,                        -- SHA-256 of the variant's file
    steady                       -- 1: its median is that of real hardware with stable timing
)""",
    "create trigger if not exists changed after update of result on result begin"
    " delete from glance where id = old.id; end",
    "create trigger if not exists removed after delete on result begin delete from glance where id = old.id; end",
    'create index if not exists shown on result (created, device, name, variant, "commit", digest)',
    'create index if not exists at_commit on result ("commit", name)',
    "create index if not exists sessions on result (name, variant, device, created)",
)
FIGURES = "median, low, high, drop_points, drop_low, drop_high, verdict, readable"
_COLUMNS = ("id", "nice", *FIGURES.split(", "), "file", "steady")
_AT_ONCE = 500  # results in memory
_MOST_NICE = 1 << 53
_VERDICTS = {one.value: one for one in Verdict}  # ten times as fast as Verdict(value)
_Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Glance:
    """Median in ms and accuracy drop in points, each with its interval, and the verdict; None if missing."""

    latency_ms: _Interval | None
    drop_points: _Interval | None
    verdict: Verdict | None


def unreadable(variant: str, created: str) -> EdgetfError:
    """The error for a result of another version of edgetf, or a damaged one."""
    message = f"the history holds a result of another version: {variant}, {created}"
    return EdgetfError(message, "name another file with --history")


def prepare(base: sqlite3.Connection) -> None:
    """Add what is missing of TABLE. Glances of an earlier version lack columns: they are made again when needed."""
    columns = {row[1] for row in base.execute("pragma table_info(glance)")}
    if columns and not columns >= set(_COLUMNS):
        base.execute("drop table glance")
    for statement in TABLE:
        base.execute(statement)


def fill(base: sqlite3.Connection) -> None:
    """Add the glances that are missing."""
    of_results, of_glances = (base.execute(f"select count(*) from {one}").fetchone()[0] for one in ("result", "glance"))
    if of_results == of_glances:
        return
    add_glances(base, [row[0] for row in base.execute("select id from result except select id from glance")])
    base.commit()  # not only when what reads them has ended: others can write meanwhile


def add_glances(base: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Add the glances of these rows of `result`; a result that is not one gets a glance without figures."""
    waiting = iter(ids)
    while some := list(islice(waiting, _AT_ONCE)):
        found = base.execute(f"select id, result from result where id in ({_marks(some)})", some).fetchall()
        base.executemany(
            f"insert or replace into glance ({', '.join(_COLUMNS)}) values ({_marks(_COLUMNS)})",
            [(key, *_columns(text)) for key, text in found],
        )


def read_glance(columns: Sequence[Any]) -> Glance | None:
    """The Glance of the columns `FIGURES`; None if the result cannot be read. Raises an error for other values."""
    *figures, verdict, readable = columns
    if not readable:
        return None
    for one in figures:
        if one is not None and not (isinstance(one, float) and -MOST <= one <= MOST):
            raise ValueError("a row has values of other types")
    return Glance(_interval(figures[:3]), _interval(figures[3:]), None if verdict is None else _VERDICTS[verdict])


def nice_of(text: str) -> int:
    """The priority that a result ran with; 0 if that is not stored, or out of range."""
    try:
        return _nice(json.loads(text))
    except Exception:  # a text that is not a Result is an error only if it is compared
        return 0


def _nice(plain: Any) -> int:
    try:
        nice = int(plain["nice"])
    except Exception:
        return 0
    return nice if abs(nice) < _MOST_NICE else 0


def read_session(commit: str, file: Any, median: Any) -> Session:
    """A Session. Raises ValueError for values of other types."""
    if not (isinstance(file, str) and isinstance(median, float) and 0 < median <= MOST):
        raise ValueError("a row has values of other types")
    return Session(commit, file, median)


def _columns(text: str) -> tuple[Any, ...]:
    """The values of the columns after `id` for a result as JSON."""
    plain = None
    try:
        plain = json.loads(text)
        glance = _glance(plain)
        if fault := find_fault(glance):
            raise ValueError(fault)
    except Exception:  # a text that is not a Result can raise any exception
        return (_nice(plain), *[None] * 7, 0, None, 0)
    verdict = None if glance.verdict is None else glance.verdict.value
    figures = (*(glance.latency_ms or [None] * 3), *(glance.drop_points or [None] * 3))
    return (_nice(plain), *figures, verdict, 1, *_file(plain, glance))


def _file(plain: Any, glance: Glance) -> tuple[str | None, int]:
    """The values of the columns `file` and `steady`."""
    file = plain.get("sha256")
    if not isinstance(file, str) or fault_of_text(file, is_file=False):
        return None, 0
    is_timed = glance.latency_ms is not None and glance.latency_ms[0] > 0
    return file, int(is_timed and plain.get("stable") is not False and not plain.get("emulated"))


def _glance(plain: Any) -> Glance:
    times, parity = plain["latency_ms"], plain["parity"]
    outputs = parity["outputs"] if parity else []
    drop = next((found for output in outputs if (found := output["accuracy"])), None)
    return Glance(
        (float(times["median"]), float(times["low"]), float(times["high"])) if times else None,
        (float(drop["drop_points"]), float(drop["low"]), float(drop["high"])) if drop else None,
        Verdict(parity["verdict"]) if parity else None,
    )


def _interval(figures: Sequence[float | None]) -> _Interval | None:
    one, low, high = figures
    return None if one is None or low is None or high is None else (one, low, high)


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def batches(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """The keys of rows, as many at a time as fit in memory."""
    for k in range(0, len(keys), _AT_ONCE):
        yield keys[k : k + _AT_ONCE]
