"""Two pages that mkdocs generates from the code: the command line from the click tree, the Python API from `edgetf`.

mkdocs calls `on_page_markdown` for every page. A marker in command-line.md becomes a section for each command, one in
python.md a directive of mkdocstrings for each function and each class of results. No list is kept by hand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click

import edgetf
from edgetf.cli import cli

API = Path(edgetf.__file__).parent / "api"
_GENERATED = "The list is generated: `make docs` builds it.\n"  # for who reads the page in the checkout


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    return (
        markdown.replace(_GENERATED, "")
        .replace("<!-- commands -->", "\n".join(command_sections(cli, None)))
        .replace("<!-- functions -->", "\n".join(f"::: edgetf.{name}" for name in edgetf.__all__))
        .replace("<!-- results -->", "\n".join(f"::: {name}" for name in result_classes()))
    )


def command_sections(command: click.Command, parent: click.Context | None) -> Iterator[str]:
    """Markdown for a command and all below it: what it does, usage, options."""
    context = click.Context(command, info_name=command.name if parent else "edgetf", parent=parent)
    path = context.command_path
    yield f"{'##' if parent is None or parent.parent is None else '###'} {path} {{ #{path.replace(' ', '-')} }}\n"
    yield from _paragraphs(command.help or "")
    yield f"```text\n{context.get_usage()}\n```\n"
    options = [one for one in command.params if isinstance(one, click.Option)]
    if rows := [record for one in options if (record := one.get_help_record(context))]:
        yield "| option | what it does |\n|---|---|"
        yield from (f"| `{names}` | {_cell(text)} |" for names, text in rows)
        yield ""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from command_sections(child, context)


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs as Markdown; those that click leaves as they are (after a line with \\b) as text."""
    for paragraph in cleandoc(text).split("\n\n"):
        literal = paragraph.startswith("\b\n")
        title, _, rest = paragraph.removeprefix("\b\n").partition("\n")
        if not literal:
            yield f"{_angles(paragraph)}\n"
        elif title.endswith(":"):
            yield f"{title}\n\n```text\n{cleandoc(rest)}\n```\n"
        else:
            yield f"```text\n{cleandoc(paragraph.removeprefix(chr(8)))}\n```\n"


def _cell(text: str) -> str:
    return _angles(text).replace("|", r"\|")


def _angles(text: str) -> str:
    """Text without markup, as Markdown that shows it as it is."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;")
    return plain if "`" in text else re.sub(r"([*_\[\]])", r"\\\1", plain)


_RESULTS = ("results", "verdicts")  # files of edgetf/api all of whose classes are results
_PLANS = (
    *("plans.ran.Ran", "plans.record.Answer", "plans.record.StepRecord", "plans.cache.Cached", "plans.store.Kept"),
    *(f"plans.fleet.status.{name}" for name in ("Status", "WorkerStatus", "RunStatus")),
)


def result_classes() -> list[str]:
    """The classes of edgetf/api that its functions return, and what these hold; they are read, not imported."""
    found = []
    for path in sorted(API.glob("*.py"), key=lambda one: (one.stem not in _RESULTS, one.stem)):
        body = ast.parse(path.read_text()).body
        returned = " ".join(
            ast.unparse(one.returns)
            for one in body
            if isinstance(one, ast.FunctionDef) and one.returns and one.name in edgetf.__all__
        )
        names = [one.name for one in body if isinstance(one, ast.ClassDef) and not one.name.startswith("_")]
        found += [f"edgetf.api.{path.stem}.{name}" for name in names if path.stem in _RESULTS or name in returned]
    return [*found, *(f"edgetf.{name}" for name in _PLANS)]
