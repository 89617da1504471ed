"""All commands of the command line, found by walking it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from edgetf.cli import cli


def _walk(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _walk((*words, name), child)


# by their words; () is edgetf itself
COMMANDS = dict(_walk((), cli))
EXECUTABLE = {words: command for words, command in COMMANDS.items() if not isinstance(command, click.Group)}
