"""The commands and options that a text names: whether the user who follows it finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

import click

from tests.click_tree import COMMANDS, EXECUTABLE

_WORD = r"[a-z][a-z-]*"
OPTION = rf"(?<![\w-])(?:--{_WORD}|-o)(?![\w-])"
# options of other programs and of functions that hints name
_FOREIGN = {"--upgrade", "--index-url"}
_USAGE = 2
_NO_COMMAND = {"wrote", "itself", "without"}  # words after "edgetf" that begin a sentence

# "benchmark it with --reference" needs no "edgetf"
_BARE = re.compile(r"\b(benchmark|check|convert)(?: again| it)?(?: with| without)? (?=--)")
_COMMAND = re.compile(rf"(?<![\w./-])edgetf ((?:{_WORD}(?: |$))+)")

Words = tuple[str, ...]


def options_of(command: click.Command) -> set[str]:
    named = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {*named, "--help"}


def every_option() -> set[str]:
    return set().union(*map(options_of, COMMANDS.values()))


def refuse_dead_ends(words: Sequence[str], code: int, out: str, err: str) -> None:
    """Raise AssertionError if what a command printed names an option that neither it nor a named command has.

    What click prints about wrong usage, and JSON, which holds notes for all commands, are not looked at. Words after
    "edgetf" that are no command are a sentence here; those in the source are commands.
    """
    ran = next((EXECUTABLE[key] for k in (2, 1) if (key := tuple(words[:k])) in EXECUTABLE), None)
    if ran is None or code == _USAGE or {"--help", "-h", "--version"} & set(words):
        return
    for line in [*err.splitlines(), *([] if "--json" in words else out.splitlines())]:
        assert not (fault := _unknown_option(line, options_of(ran))), f"{fault}: {line}"


def dead_end(text: str, known: AbstractSet[str]) -> str:
    """The first command or option in a text that does not exist; "" if there is none."""
    return _unknown_command(text) or _unknown_option(text, known)


def _unknown_command(text: str) -> str:
    for piece, named in _pieces(text):
        asked = _COMMAND.search(f"{piece.rstrip()} ")
        if named is None and asked and asked[1].split()[0] not in _NO_COMMAND:
            return f"there is no edgetf {' '.join(asked[1].split())}"
    return ""


def _unknown_option(text: str, known: AbstractSet[str]) -> str:
    """An option belongs to the command that is named before it in the same part of the text, up to a semicolon; without
    one it must be among `known`: those of the command that printed the text."""
    for piece, named in _pieces(text):
        options = known if named is None else options_of(EXECUTABLE[named])
        if unknown := {*re.findall(OPTION, piece)} - options - _FOREIGN:
            return f"{'edgetf ' + ' '.join(named) if named else 'the command'} has no {', '.join(sorted(unknown))}"
    return ""


def _pieces(text: str) -> Iterator[tuple[str, Words | None]]:
    """The pieces of a text, with the command that each is about, if one was named."""
    for part in re.split(r"[;:](?= |$)|(?<!\.)[.!?](?= |$)", text.replace("edgetf: ", "")):
        named: Words | None = None
        for piece in re.split(r",| or | and |\(|\)|`", part):
            if asked := _COMMAND.search(f"{piece.rstrip()} ") or _BARE.search(piece):
                words = tuple(asked[1].split())
                named = next((words[:k] for k in range(len(words), 0, -1) if words[:k] in EXECUTABLE), None)
            yield piece, named
