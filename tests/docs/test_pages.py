"""Promises of README.md and the pages that can be checked without running a model."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import edgetf
from edgetf import defaults
from edgetf.cli import cli
from edgetf.plans.plan import load_plan
from edgetf.samples.formats import SAMPLE_FILES
from edgetf.samples.source import PREFIXED
from edgetf.schemes import SCHEMES, Scheme
from tests.api.test_front_door import SCRIPT
from tests.docs.pages import ROOT, TEXTS, blocks, slug

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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


def test_blocks_of_toml_are_toml() -> None:
    found = [tomllib.loads(block.body) for block in blocks() if block.language == "toml"]
    assert len(found) >= 4


def test_the_plan_of_the_page_is_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path))
    [text] = [block.body for block in blocks() if block.page == "docs/plans.md" and block.language == "toml"]
    (tmp_path / "edgetf.toml").write_text(text)
    plan = load_plan(tmp_path / "edgetf.toml")
    assert [model.name for model in plan.models] == ["digits", "faces"]
    assert plan.members("shelf") == ("pi1", "pi2")


def test_the_table_of_schemes_is_the_table_in_the_code() -> None:
    table = r"^\| `([a-z0-9-]+)` \| (\w+) \| (\w+)[^|]*\| (\w+) \| (yes)? ?\|"
    rows = re.findall(table, TEXTS["docs/schemes.md"], re.MULTILINE)
    expected = [(s.name, s.weights, s.activations, s.io, "yes" if s.needs_samples else "") for s in SCHEMES.values()]
    assert rows == expected


def test_the_example_of_a_scheme_is_a_new_row_that_the_table_accepts() -> None:
    [row] = [block.body for block in blocks() if block.page == "docs/extending.md" and block.body.startswith("Scheme(")]
    assert eval(row, {"Scheme": Scheme}).name not in SCHEMES


def test_the_page_and_the_help_of_samples_name_every_source() -> None:
    table = TEXTS["docs/model-and-samples.md"].partition("| source | what it is |")[2].partition("\n\n")[0]
    sources = " ".join(row.split("|")[1] for row in table.splitlines()[2:])
    help_of_samples = cli.commands["samples"].help or ""
    printed = re.sub(r"(\S+)\[(\S+)\]", r"\1 \1\2", help_of_samples)  # .tfrecord[.gz]
    for suffix in SAMPLE_FILES:
        assert f"`test{suffix}`" in sources
        assert f"samples{suffix} " in printed
    for kind in PREFIXED:
        assert f"`'{kind.prefix}" in sources
        assert f"'{kind.prefix}" in printed


def test_defaults_that_the_pages_state_are_those_of_the_code() -> None:
    stated = {
        "docs/model-and-samples.md": f"({defaults.CALIBRATION} are drawn; `--calibration` changes that)",
        "docs/judging.md": f"the budget is {defaults.MAX_METRIC_DROP:g} (`--max-metric-drop`)",
    }
    for page, words in stated.items():
        assert words in " ".join(TEXTS[page].split()), page
    assert f"at least {defaults.MIN_AGREEMENT:.0%}".replace("%", " %") in " ".join(TEXTS["docs/judging.md"].split())


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


def test_extras_that_the_pages_or_errors_name_are_declared() -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    named = {
        extra
        for text in TEXTS.values()
        for group in re.findall(r"\.\[([a-z,-]+)\]", text)
        for extra in group.split(",")
    }
    assert len(named) > 5
    code = "".join(path.read_text() for path in (ROOT / "edgetf").rglob("*.py"))
    named |= set(re.findall(r'MissingExtraError\([^()]+, "([\w-]+)"\)', code.replace('.replace("_", "-")', "")))
    for extra in named:
        assert re.search(rf"^{extra} = ", declared, re.MULTILINE), extra
