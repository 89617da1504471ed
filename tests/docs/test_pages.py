"""Promises of README.md and the pages that can be checked without running a model."""

from __future__ import annotations

import re

import pytest

import edgetf
from edgetf.schemes import SCHEMES, Scheme
from tests.api.test_front_door import SCRIPT
from tests.docs.pages import ROOT, TEXTS, blocks, slug

README = TEXTS["README.md"]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_python_script_is_the_one_that_a_test_runs(page: str) -> None:
    [script] = [block.body for block in blocks() if block.page == page and "import edgetf" in block.body]
    assert script == f"import edgetf\n{SCRIPT}"


def test_the_readme_names_every_verb() -> None:
    verbs = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", README, re.MULTILINE))))
    assert verbs == {name for name in edgetf.__all__ if name not in ("EdgetfError", "load")}


def test_commands_are_in_blocks_that_run_or_are_marked_as_not_run() -> None:
    for block in blocks():
        if re.search(r"^edgetf ", block.body, re.MULTILINE):
            assert block.language in ("sh", "console"), block
        if block.language == "console":
            assert re.search(r"not\s+run\s+by\s+the\s+tests", TEXTS[block.page]), block.page


def test_the_table_of_schemes_is_the_table_in_the_code() -> None:
    table = r"^\| `([a-z0-9-]+)` \| (\w+) \| (\w+)[^|]*\| (\w+) \| (yes)? ?\|"
    rows = re.findall(table, TEXTS["docs/schemes.md"], re.MULTILINE)
    expected = [(s.name, s.weights, s.activations, s.io, "yes" if s.needs_samples else "") for s in SCHEMES.values()]
    assert rows == expected


def test_the_example_of_a_scheme_is_a_new_row_that_the_table_accepts() -> None:
    [row] = [block.body for block in blocks() if block.page == "docs/extending.md" and block.body.startswith("Scheme(")]
    assert eval(row, {"Scheme": Scheme}).name not in SCHEMES


@pytest.mark.parametrize("page", list(TEXTS))
def test_targets_of_links_and_pictures_exist(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", target):
            continue
        file = folder / path if path else ROOT / page
        assert file.is_file(), target
        if anchor:
            assert anchor in {slug(heading) for heading in re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("target", ["demo", "test", "docs"])
def test_the_targets_of_make_exist(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_extras_that_the_pages_name_are_declared() -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    named = {
        extra
        for text in TEXTS.values()
        for group in re.findall(r"\.\[([a-z,-]+)\]", text)
        for extra in group.split(",")
    }
    assert len(named) > 5
    for extra in named:
        assert re.search(rf"^{extra} = ", declared, re.MULTILINE), extra
