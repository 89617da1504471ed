"""Every command and every option in a hint of any error exists; hints are found in the source.

No hint names a command or an option that was renamed. A hint of a command's own module has that command's options;
others may come from several commands, and are checked where they are printed: the fixtures that run commands refuse a
hint at an option that the command lacks. `test_followed_hints` follows them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgetf
from tests.click_tree import EXECUTABLE
from tests.hints import OPTION, dead_end, every_option, options_of

_SOURCES = Path(edgetf.__file__).parent
_ERRORS = {"EdgetfError", "DeviceError", "UnreachableError", "KeptInterrupt"}
_USAGE = {"UsageError"}
_GAP = "\0"  # a value that a hint inserts
_GROUPS = {"models.py": "models", "samples.py": "samples", "history.py": "history", "devices.py": "devices"}


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
    """The second texts of errors, and the first of those of usage, given directly or in a variable."""
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            texts = node.args[:1] if name in _USAGE else node.args[1:2] if name in _ERRORS else []
            for given in texts:
                for value in named.get(given.id, []) if isinstance(given, ast.Name) else [given]:
                    if text := _text(value):
                        yield node.lineno, text


def _known(path: Path) -> set[str]:
    """The options that a hint in this file may name without a command."""
    if path.parent.name != "cli" or path.name in ("console.py", "ending.py", "__init__.py", "budgets.py"):
        return every_option()
    first = _GROUPS.get(path.name, path.stem)
    return set().union(*(options_of(command) for words, command in EXECUTABLE.items() if words[0] in (first, "runner")))


_HINTS = [
    pytest.param(text, path, id=f"{path.relative_to(_SOURCES)}:{line}")
    for path in sorted(_SOURCES.rglob("*.py"))
    for line, text in dict.fromkeys(_texts(ast.parse(path.read_text())))
    if re.search(rf"edgetf [a-z]|{OPTION}", text)
]


def test_the_hints_are_found() -> None:
    assert len(_HINTS) > 80


@pytest.mark.parametrize(("hint", "path"), _HINTS)
def test_commands_and_options_in_hints_exist(hint: str, path: Path) -> None:
    assert not dead_end(hint, _known(path))


@pytest.mark.parametrize(
    ("hint", "reason"),
    [
        ("run: edgetf benchmrk BENCH", "there is no edgetf benchmrk"),
        ("edgetf check BENCH --junit FILE", "edgetf check has no --junit"),
        ("leave --nothing out", "the command has no --nothing"),
        ("see why with: edgetf check; or give --unproven", "the command has no --unproven"),
        ("edgetf benchmark --labels-are class or --junit", "edgetf benchmark has no --junit"),
        ("give another file with -o", "the command has no -o"),
    ],
)
def test_a_hint_that_names_what_does_not_exist_is_found(hint: str, reason: str) -> None:
    assert dead_end(hint, options_of(EXECUTABLE["check",])) == reason


def test_a_hint_may_name_options_of_other_commands_and_programs() -> None:
    for hint in (
        "edgetf benchmark --labels-are class or --labels-are value",
        "convert it first: edgetf convert PLACE -o OUT; edgetf benchmark OUT",
        "give --max-drop; or pip install --upgrade ai-edge-litert",
        "give a folder that edgetf wrote",
    ):
        assert not dead_end(hint, options_of(EXECUTABLE["check",]))
