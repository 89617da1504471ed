"""Which package may import which."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgetf
from tests.click_tree import COMMANDS
from tests.performance.startup import MOST, measure

PACKAGE = Path(edgetf.__file__).parent
HEAVY = {"tensorflow", "numpy", "keras", "scipy", "rich", "jinja2", "matplotlib", "cattrs", "ai_edge_litert"}


def _loaded(code: str, *arguments: str) -> set[str]:
    """Top-level names of all modules that are loaded after `code` ran."""
    script = f"import sys, json\nsys.argv[1:] = {list(arguments)!r}\ntry:\n{_indent(code)}\nexcept SystemExit: pass\n"
    script += "sys.stderr.write(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # which has `tests/quick`
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=plain)
    return set(json.loads(ended.stderr))


def _indent(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())


def test_help_loads_nothing_heavy() -> None:
    """In one process: each command is a lazy import away from what the others have loaded."""
    script = f"""
import contextlib, io, json, sys
from edgetf.cli import cli
crossed = {{}}
for words in {[*COMMANDS]}:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        cli.main([*words, "--help"], prog_name="edgetf", standalone_mode=False)
    assert "Usage: edgetf" in printed.getvalue()
    crossed[" ".join(words)] = sorted({HEAVY} & set(sys.modules))
print(json.dumps(crossed))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    crossed = json.loads(ended.stdout)
    assert len(crossed) == len(COMMANDS)
    assert not any(crossed.values()), crossed


def test_importing_edgetf_loads_only_the_standard_library() -> None:
    assert _loaded("import edgetf") - _loaded("pass") - set(sys.stdlib_module_names) - {"_typing"} == {"edgetf"}


def test_help_loads_hardly_more_than_the_help_of_any_click_program() -> None:
    program = "import click\n@click.group()\ndef cli(): 'help'\n@cli.command()\ndef sub(): 'help'\ncli()"
    extra = _loaded("from edgetf.cli import main\nmain()", "--help") - _loaded(program, "--help")
    assert extra <= {"edgetf", "signal", "dataclasses", "copy"}


def test_help_takes_hardly_longer_than_importing_click() -> None:
    click, printed = measure(15)
    assert printed < MOST * click, f"{printed * 1e3:.0f} ms, click alone {click * 1e3:.0f} ms"


def _imports_of(path: Path) -> set[str]:
    """Absolute names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return names


# read before any test: CPython 3.11's parser fails in a thread that has run greenlets or asyncssh
_IMPORTS = {path: _imports_of(path) for path in PACKAGE.rglob("*.py")}


def _files(folder: str) -> list[Path]:
    return sorted((PACKAGE / folder).rglob("*.py"))


def test_the_runner_imports_the_standard_library_and_numpy_only() -> None:
    for path in _files("device/runner"):
        outside = {name.split(".")[0] for name in _IMPORTS[path]} - set(sys.stdlib_module_names) - {"numpy"}
        assert not outside, path


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("device", ("tensorflow", "keras", "edgetf.conversion", "edgetf.models", "edgetf.benchmarks", "edgetf.cli")),
        ("targets", ("tensorflow", "keras", "edgetf.conversion", "edgetf.models", "edgetf.benchmarks", "edgetf.cli")),
        ("conversion", ("edgetf.models", "edgetf.benchmarks", "edgetf.device", "edgetf.cli")),
        ("models", ("edgetf.benchmarks", "edgetf.device", "edgetf.cli")),
        ("benchmarks", ("edgetf.models", "edgetf.tuning", "edgetf.api", "edgetf.cli", "tensorflow")),
        ("tuning", ("edgetf.models", "edgetf.api", "edgetf.cli", "tensorflow", "keras")),
    ],
)
def test_imports_between_the_packages_run_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    for path in _files(folder):
        names = {name for name in _IMPORTS[path] if not name.startswith("edgetf.device.runner")}  # it is independent
        crossed = {name for name in names if any(f"{name}.".startswith(f"{part}.") for part in forbidden)}
        assert not crossed, path


def test_nothing_below_the_commands_imports_plans_except_load() -> None:
    importing = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(f"{name}.".startswith("edgetf.plans.") for name in _IMPORTS[path])
    }
    outside = {name for name in importing if not name.startswith(("plans/", "cli/"))}
    assert outside == {"__init__.py", "api/look.py"}


def test_the_base_modules_import_no_other_package() -> None:
    parts = tuple(f"edgetf.{one}" for one in ("conversion", "models", "benchmarks", "tuning", "device", "cli"))
    for path in [*PACKAGE.glob("*.py"), *_files("samples"), *_files("results")]:
        if path.name != "__main__.py":
            assert not {name for name in _IMPORTS[path] if name.startswith(parts)}, path


@pytest.mark.parametrize(
    ("part", "folder"),
    [("convert", "conversion"), ("benchmarks", "benchmarks"), ("models", "models"), ("device", "device")],
)
def test_the_parts_are_linked_at_the_top_of_the_repository(part: str, folder: str) -> None:
    link = PACKAGE.parent / part
    assert link.is_symlink()
    assert link.resolve() == PACKAGE / folder


BENCHMARK_PARTS = ("timing", "judging", "reference", "diagnosis", "report", "history")


@pytest.mark.parametrize("part", BENCHMARK_PARTS)
def test_no_package_of_the_benchmarks_imports_one_above_it(part: str) -> None:
    later = {f"edgetf.benchmarks.{other}" for other in BENCHMARK_PARTS[BENCHMARK_PARTS.index(part) + 1 :]}
    for path in _files(f"benchmarks/{part}"):
        crossed = {name for name in _IMPORTS[path] if any(f"{name}.".startswith(f"{one}.") for one in later)}
        assert not crossed, path


@pytest.mark.parametrize("module", ["edgetf.api.judge", "edgetf.plans.run", "edgetf.api.benchmark, edgetf.api.tune"])
def test_judging_measuring_and_plans_load_scipy_only_where_it_computes(module: str) -> None:
    assert not _loaded(f"import {module}") & {"scipy", "matplotlib", "jinja2", "tensorflow"}


@pytest.mark.parametrize("function", ["convert", "reference"])
def test_functions_that_do_not_judge_load_no_statistics(function: str) -> None:
    assert not _loaded(f"import edgetf\nedgetf.{function}") & {"scipy", "matplotlib", "jinja2", "tensorflow"}
