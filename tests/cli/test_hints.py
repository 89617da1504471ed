"""Every command and every option in a hint of any error exists; hints are found in the source.

No hint names a command or an option that was renamed. The tests of each error follow its hint.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import edgetf
from tests.click_tree import COMMANDS, EXECUTABLE

_SOURCES = Path(edgetf.__file__).parent
_ERRORS = {"EdgetfError", "DeviceError", "UnreachableError", "UsageError", "KeptInterrupt"}
_WORD = r"[a-z][a-z-]*"
_GAP = "\0"  # a value that a hint inserts
# options of other programs and of functions that hints name
_FOREIGN_OPTIONS = {"--upgrade", "--index-url"}


def _text(node: ast.expr) -> str | None:
    """A text as in the source, with gaps for inserted values; None if it is not a text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join((_text(part) if isinstance(part, ast.Constant) else None) or _GAP for part in node.values)
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body) or _GAP} ; {_text(node.orelse) or _GAP}"
    if isinstance(node, ast.BinOp):
        return f"{_text(node.left) or _GAP}{_text(node.right) or _GAP}"
    return None


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The second texts of errors, given directly or in a variable."""
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            given = node.args[1]
            for value in named.get(given.id, []) if isinstance(given, ast.Name) else [given]:
                if name in _ERRORS and (text := _text(value)):
                    yield node.lineno, text


_HINTS = [
    pytest.param(text, id=f"{path.relative_to(_SOURCES)}:{line}")
    for path in sorted(_SOURCES.rglob("*.py"))
    for line, text in dict.fromkeys(_texts(ast.parse(path.read_text())))
    if re.search(rf"edgetf {_WORD}|--{_WORD}", text)
]


def _options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_the_hints_are_found() -> None:
    assert len(_HINTS) > 80


@pytest.mark.parametrize("hint", _HINTS)
def test_commands_and_options_in_hints_exist(hint: str) -> None:
    every = set().union(*map(_options, COMMANDS.values()), {"--help"}, _FOREIGN_OPTIONS)
    for piece in re.split(r"[;,]| or | and |\(", hint):
        asked = re.search(rf"edgetf ((?:{_WORD} ?)+)", piece)
        words = tuple(asked[1].split()) if asked else ()
        command = next((words[:k] for k in range(len(words), 0, -1) if words[:k] in EXECUTABLE), None)
        if asked and words[0] != "wrote":  # a sentence, not a command
            assert command is not None, f"there is no edgetf {' '.join(words)}"
        known = _options(EXECUTABLE[command]) | {"--help"} if command else every
        unknown = set(re.findall(rf"(?<![\w-])--{_WORD}", piece)) - known
        assert not unknown, f"{'edgetf ' + ' '.join(command) if command else 'no command'} has {', '.join(unknown)}"


def test_a_hint_that_names_what_does_not_exist_is_found() -> None:
    for hint in ("run: edgetf benchmrk BENCH", "edgetf check BENCH --junit FILE", "leave --nothing out"):
        with pytest.raises(AssertionError):
            test_commands_and_options_in_hints_exist(hint)
