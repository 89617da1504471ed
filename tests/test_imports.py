"""The walls of the house: what may be imported where."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgetf

HOUSE = Path(edgetf.__file__).parent
HEAVY = {"tensorflow", "numpy", "keras", "scipy", "rich", "jinja2", "matplotlib", "cattrs", "ai_edge_litert"}


def _loaded(code: str, *arguments: str) -> set[str]:
    """Top-level names of all modules that are loaded after `code` ran."""
    script = f"import sys, json\nsys.argv[1:] = {list(arguments)!r}\ntry:\n{_indent(code)}\nexcept SystemExit: pass\n"
    script += "sys.stderr.write(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(ended.stderr))


def _indent(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())


COMMANDS = [
    [],
    ["demo"],
    ["convert"],
    ["reference"],
    ["benchmark"],
    ["check"],
    ["gate"],
    ["bundle"],
    ["runner"],
    ["report"],
    ["inspect"],
    ["samples"],
    ["samples", "show"],
    ["samples", "convert"],
    ["models"],
    ["models", "train"],
    ["models", "export"],
    ["devices"],
    ["devices", "list"],
    ["devices", "probe"],
    ["devices", "doctor"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    assert not _loaded("from edgetf.cli import main\nmain()", *command, "--help") & HEAVY


def test_importing_edgetf_loads_only_the_standard_library() -> None:
    assert _loaded("import edgetf") - _loaded("pass") == {"edgetf"}


def test_help_loads_hardly_more_than_the_help_of_any_click_program() -> None:
    program = "import click\n@click.group()\ndef cli(): 'help'\n@cli.command()\ndef sub(): 'help'\ncli()"
    extra = _loaded("from edgetf.cli import main\nmain()", "--help") - _loaded(program, "--help")
    assert extra <= {"edgetf", "signal", "dataclasses", "copy"}


def _imports(path: Path) -> set[str]:
    """Absolute names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return names


def _files(folder: str) -> list[Path]:
    return sorted((HOUSE / folder).rglob("*.py"))


def test_the_runner_imports_the_standard_library_and_numpy_only() -> None:
    for path in _files("device/runner"):
        outside = {name.split(".")[0] for name in _imports(path)} - set(sys.stdlib_module_names) - {"numpy"}
        assert not outside, path


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("device", ("tensorflow", "keras", "edgetf.convert", "edgetf.models", "edgetf.benchmarks", "edgetf.cli")),
        ("convert", ("edgetf.models", "edgetf.benchmarks", "edgetf.device", "edgetf.cli")),
        ("models", ("edgetf.benchmarks", "edgetf.device", "edgetf.cli")),
        ("benchmarks", ("edgetf.models", "edgetf.cli", "tensorflow")),
    ],
)
def test_arrows_between_the_parts_run_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    for path in _files(folder):
        crossed = {name for name in _imports(path) if any(f"{name}.".startswith(f"{part}.") for part in forbidden)}
        assert not crossed, path


def test_the_ground_floor_stands_on_nothing_of_the_house() -> None:
    parts = ("edgetf.convert", "edgetf.models", "edgetf.benchmarks", "edgetf.device", "edgetf.cli")
    for path in [*HOUSE.glob("*.py"), *_files("samples")]:
        if path.name != "__main__.py":
            assert not {name for name in _imports(path) if name.startswith(parts)}, path


@pytest.mark.parametrize("part", ["convert", "benchmarks", "models", "device"])
def test_the_parts_are_also_at_the_top_of_the_repository(part: str) -> None:
    link = HOUSE.parent / part
    assert link.is_symlink()
    assert link.resolve() == HOUSE / part
