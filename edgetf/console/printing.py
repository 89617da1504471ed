"""Lines and tables on standard output. rich is imported only when something is printed."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from edgetf.texts import printable, shown
from edgetf.verdicts import LOOKS


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
    long: Sequence[str] = (),
) -> None:
    """Print a table on standard output, within the terminal's width; see `Table` for `right`, `optional` and `long`."""
    from edgetf.console.tables import Table

    console = _console()
    if title:
        console.print(f"[italic]{title}[/]", highlight=False, soft_wrap=not _has_width(console))
    plain = [["\n".join(map(printable, cell.split("\n"))) for cell in row] for row in rows]
    for line in Table(columns, plain, right, optional, long).lines(console.width if _has_width(console) else None):
        console.print(line, soft_wrap=True, highlight=False)


def _has_width(console: Any) -> bool:
    """Whether output has a width: that of a terminal, or the one set by COLUMNS."""
    return bool(console.is_terminal or "COLUMNS" in os.environ)


def print_lines(*lines: str) -> None:
    """Print lines with rich markup on standard output. An unescaped name can only change their colour."""
    for line in lines:
        _console().print(printable(line), soft_wrap=True, highlight=False)


def escape(text: str) -> str:
    """Untrusted text on one line, with rich markup escaped and control sequences removed."""
    from rich.markup import escape as rich_escape

    return rich_escape(printable(text))


def print_note(text: str) -> None:
    """Print a line on standard error; it may contain untrusted text."""
    print(shown(text), file=sys.stderr)  # noqa: T201


def verdict_mark(verdict: str) -> str:
    look = LOOKS[verdict]
    return f"[{look.terminal}]{look.label}[/]"


def to_text(show: Callable[[], None]) -> str:
    """The output of `show` as plain text; in a terminal, with its width."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    out = io.StringIO()
    _redirected.append(Console(file=out, width=width or _WIDE, no_color=True, force_terminal=False))
    try:
        show()
    finally:
        _redirected.pop()
    return out.getvalue().rstrip("\n")


def to_html(show: Callable[[], None]) -> str:
    """The output of `show` as a `<pre>` with colours, for a notebook."""
    from rich.console import Console

    console = Console(file=io.StringIO(), record=True, width=_WIDE, force_jupyter=False)
    _redirected.append(console)
    try:
        show()
    finally:
        _redirected.pop()
    return console.export_html(inline_styles=True, code_format="<pre style='line-height:1.3'>{code}</pre>")


_WIDE = 160
_redirected: list[Any] = []  # consoles that replace standard output; the last one is active


def _console() -> Any:
    from rich.console import Console

    if _redirected:
        return _redirected[-1]
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_WIDE, no_color=True)
    return console
