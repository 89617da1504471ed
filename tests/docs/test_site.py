"""The site that `make docs` builds: strict, complete, and with nothing from other hosts."""

from __future__ import annotations

import ast
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import edgetf
from tests.click_tree import COMMANDS
from tests.docs.pages import PAGES, ROOT

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc(?:set)?=["']?([^"'\s>]+)"""
    r"""|<link\b[^>]*?\bhref=["']?([^"'\s>]+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(out)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return out


def _ids(page: Path) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', page.read_text()))


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        addresses = [a or b for a, b in LOADED.findall(page.read_text())]
        assert len(addresses) > 3
        assert not [one for one in addresses if re.match(r"(?:https?:)?//", one)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


def test_the_index_of_the_search_holds_every_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {Path(page).with_suffix(".html").name for page in PAGES if page != "README.md"} <= found | {"index.html"}


def test_the_page_of_the_command_line_has_every_command_and_option(site: Path) -> None:
    page = site / "command-line.html"
    text, ids = html.unescape(re.sub(r"<[^>]+>", "", page.read_text())), _ids(page)
    for words, command in COMMANDS.items():
        assert "-".join(["edgetf", *words]) in ids
        begin = text.index(f"Usage: {' '.join(['edgetf', *words])} [OPTIONS]")
        section = text[begin : text.find("Usage: edgetf", begin + 1)]
        for option in command.params:
            if isinstance(option, click.Option):
                assert max(option.opts, key=len) in section, (words, option.name)


def _classes_of(module: str) -> set[str]:
    """The public classes of a module of edgetf."""
    body = ast.parse((Path(edgetf.__file__).parent / f"{module.replace('.', '/')}.py").read_text()).body
    names = (node.name for node in body if isinstance(node, ast.ClassDef))
    return {f"edgetf.{module}.{name}" for name in names if not name.startswith("_")}


# read before any test: CPython's parser fails in a thread that has run playwright's greenlets
_CLASSES = _classes_of("api.results") | _classes_of("api.verdicts") | {"edgetf.plans.ran.Ran"}


def test_the_page_of_python_has_every_name_and_every_class_of_results(site: Path) -> None:
    ids = _ids(site / "python.html")
    assert {f"edgetf.{name}" for name in edgetf.__all__} <= ids
    assert {"edgetf.api.results.Bench", "edgetf.api.verdicts.Tuned", "edgetf.plans.ran.Ran"} <= _CLASSES <= ids


def test_parameters_that_share_a_description_have_their_own_types_and_defaults(site: Path) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (site / "python.html").read_text()))
    assert re.search(r" mse bool How ranges are chosen: [^|]+ False ", text)
    assert re.search(r" max_bytes int \| None ", text)


@pytest.mark.slow
def test_search_works_in_pages_that_are_opened_as_files_without_a_network(site: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True).new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.fill("input.md-search__input", "benchmark_model")
        page.wait_for_selector(".md-search-result__item a[href*='android.html']", timeout=120_000)  # of a busy machine
        browser.close()
    assert asked
    assert not [address for address in asked if not address.startswith(("file:", "data:", "blob:"))]
