"""Options and functions for printing that commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

# commands import shared names from here
from edgetf.console.printing import escape as escape
from edgetf.console.printing import print_lines as print_lines
from edgetf.console.printing import print_note as print_note
from edgetf.console.printing import print_table as print_table
from edgetf.console.printing import verdict_mark as verdict_mark
from edgetf.console.progress import progress as progress
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.schemes import SCHEMES, find_scheme

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


class Integer(click.IntRange):
    """An integer in a range; a message calls it that."""

    name = "integer"


class Number(click.FloatRange):
    """A number in a range; a message calls it that. NaN is rejected: every comparison with it is false."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        return found


class Checked(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A text that `check` accepts; an EdgetfError that it raises is an error of usage. `known` are for completion."""

    name = "text"

    def __init__(self, check: Callable[[str], object], known: Iterable[str] = ()) -> None:
        self._check, self._known = check, tuple(known)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            self._check(value)
        except MissingExtraError:  # nothing is wrong with the option
            raise
        except EdgetfError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self._known if name.startswith(incomplete)]


class _Duration(click.ParamType):  # type: ignore[type-arg]
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
            self.fail(f"{value!r} is too short: the minimum is one second", param, ctx)
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
                self.fail(f"{value!r} is not a list of CPUs such as 2,3 or 4-7", param, ctx)
            found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
        return tuple(sorted(set(found)))


DURATION, CPUS, SCHEME = _Duration(), _Cpus(), Checked(find_scheme, SCHEMES)

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for programs.")
labels_option = click.option(
    "--labels-are", type=click.Choice(["class", "value"]), help="The meaning of labels that could be both."
)
nan_option = click.option("--allow-nan", is_flag=True, help="Allow NaN in samples, for a model that imputes them.")
force_option = click.option("--force", is_flag=True, help="Replace all existing results.")
no_wait_option = click.option(
    "--no-wait", is_flag=True, help="Fail at once if another run holds the device, instead of waiting."
)
trust_option = click.option(
    "--trust", is_flag=True, help="Allow a model that contains code (a Lambda), or accesses files or the network."
)
