"""What commands share: options, tables, and progress on standard error. rich is imported only when something shows."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgetf.process import Event, OnEvent

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """Seconds from "90", "90s", "10m" or "1h"."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value.strip())
        if found is None:
            self.fail(f"{value!r} is not a time such as 90 (seconds), 90s, 10m or 1h", param, ctx)
        seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
        if seconds < 1:
            self.fail(f"{value!r} is too short: a second is the least", param, ctx)
        return seconds


class _Cpus(click.ParamType):  # type: ignore[type-arg]
    """Numbers of CPUs from "2,3" or "4-7"."""

    name = "cpus"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        found: list[int] = []
        for part in value.split(","):
            ends = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
            if ends is None:
                self.fail(f"{value!r} are not CPUs such as 2,3 or 4-7", param, ctx)
            found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
        return tuple(sorted(set(found)))


DURATION, CPUS = _Duration(), _Cpus()

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for programs.")
force_option = click.option("--force", is_flag=True, help="Replace results that are already there, all of them.")

VERDICT_STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
VERDICT_WORDS = {"pass": "PASS", "fail": "FAIL", "inconclusive": "NOT ENOUGH DATA"}


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """A table on standard output; the columns named in `right` are aligned to the right. Cells may hold rich markup."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    kept = [k for k in range(len(columns)) if columns[k] in ("", *columns[:1]) or any(row[k] for row in rows)]
    for k in kept:  # a column without any entry is left out; numbers are never broken
        numbers = columns[k] in right
        table.add_column(columns[k], justify="right" if numbers else "left", no_wrap=numbers, overflow="fold")
    for row in rows:
        table.add_row(*(row[k] for k in kept))
    _console().print(table)


def print_lines(*lines: str) -> None:
    """Lines on standard output, with rich markup."""
    for line in lines:
        _console().print(line, soft_wrap=True, highlight=False)


def escape(text: str) -> str:
    """Text that must not be read as rich markup."""
    from rich.markup import escape as rich_escape

    return rich_escape(text)


def verdict_mark(verdict: str) -> str:
    return f"[{VERDICT_STYLES[verdict]}]{VERDICT_WORDS[verdict]}[/]"


def _console() -> Any:
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=160, no_color=True)
    return console


@contextlib.contextmanager
def progress(title: str, total: int | None = None) -> Iterator[OnEvent]:
    """Turns events into a progress bar on standard error; where that is no terminal, into a line for each step.

    `total` counts the steps ("scheme" or "variant" events) that are to come.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        yield _Bars(title, bars, total)


class _Bars:
    def __init__(self, title: str, bars: Any, total: int | None) -> None:
        self._title, self._bars = title, bars
        self._steps = bars.add_task(title, total=total, completed=-1) if total else None
        self._task = bars.add_task(title, total=None)
        self._step = ""

    def __call__(self, event: Event) -> None:
        kind = event["event"]
        if kind in ("scheme", "variant"):
            self._step = f" {event[kind]}"
            self._bars.update(self._task, description=f"{self._title}{self._step}", total=None, completed=0)
            if self._steps is not None:
                self._bars.advance(self._steps)
        elif kind == "phase":
            self._bars.update(
                self._task, description=f"{self._title}{self._step}: {event['phase']}", total=None, completed=0
            )
        elif kind == "progress":
            self._bars.update(self._task, total=event["of"], completed=event["done"])


class _Lines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._step = ""

    def __call__(self, event: Event) -> None:
        kind = event["event"]
        if kind in ("scheme", "variant"):
            self._step = f" {event[kind]}"
            click.echo(f"{self._title}{self._step}", err=True)
        elif kind == "phase" and not self._step:
            click.echo(f"{self._title}: {event['phase']}", err=True)
