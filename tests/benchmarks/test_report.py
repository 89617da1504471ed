from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edgetf.benchmarks.plots import tradeoff_svg
from edgetf.benchmarks.report import compare_speed, render, summary, tell, write_report
from edgetf.benchmarks.times import summarize
from edgetf.errors import EdgetfError
from edgetf.results import Failure, Status, Verdict, read_benchmark
from edgetf.schemes import SCHEMES


class Page(html.parser.HTMLParser):
    """Collects tags, their sources, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(benchmarked: Path) -> Page:
    return Page(render(read_benchmark(benchmarked), benchmarked))


def test_it_says_what_was_compared_with_what_and_every_verdict(page: Page) -> None:
    assert "on the CPU" in page.text
    assert "no GPU was used" in page.text
    for name in SCHEMES:
        assert re.search(rf"\b{name} (passes|fails|is undecided)", page.text), name
    assert page.tags.count("svg") == 2


def test_it_needs_no_network(page: Page) -> None:
    outside = [source for source in page.sources if not source.startswith(("#", "data:"))]
    assert outside == []
    assert not {"script", "iframe", "img"} & set(page.tags)


def test_names_are_escaped(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    evil = replace(document.results[0], variant="<script>alert(1)</script>")
    text = render(replace(document, results=(evil,)), benchmarked)
    assert "<script" not in text


def test_verdicts_in_words(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    results = document.results
    int8 = results[3]
    assert int8.parity is not None
    told = tell(replace(int8, parity=replace(int8.parity, verdict=Verdict.FAIL, reason="it is off")), results)
    assert (told.verdict, told.headline) == ("fail", "int8 fails")
    assert told.why[0].startswith("Accuracy drop")
    assert "than float32" in told.gains
    failed = replace(int8, status=Status.FAILED, error=Failure("run", "it died"))
    assert tell(failed, results).headline == "int8 failed"
    assert tell(replace(int8, parity=None), results).headline == "int8 was timed"
    assert summary(replace(document, reference=None)) == (
        "6 of 6 variants were timed; nothing was compared with a reference."
    )


def test_speeds_are_compared_only_when_their_intervals_tell_them_apart() -> None:
    base = summarize([[1_000_000, 1_010_000, 990_000] * 30] * 3)
    assert compare_speed(summarize([[500_000] * 90] * 3), base) == "2.0 times faster here"
    assert compare_speed(summarize([[1_100_000] * 90] * 3), base) == "10 % slower here: not faster on this device"
    assert compare_speed(base, base) == "not told apart from it in speed"
    # six identical files in six processes had medians up to 1.4 % apart: blocks that differ so make a wide interval
    assert compare_speed(summarize([[1_000_000] * 90, [1_014_000] * 90]), base) == "not told apart from it in speed"


def test_the_picture_shows_one_kind_of_cost_and_only_results_that_have_it(benchmarked: Path) -> None:
    results = read_benchmark(benchmarked).results
    failed = replace(results[0], parity=None, error=Failure("run", "it died"))
    picture = tradeoff_svg((failed, *results[1:]))
    assert picture is not None
    assert "accuracy drop" in picture
    assert "float32" not in picture
    assert results[1].parity is not None
    output = replace(results[1].parity.outputs[0], accuracy=None, sqnr_db=None, centred_db=None, max_abs=0.0)
    exact = replace(results[1], parity=replace(results[1].parity, outputs=(output,)))
    picture = tradeoff_svg((exact,))
    assert picture is not None
    assert "float16 (no error)" in picture
    assert tradeoff_svg((replace(failed, latency_ms=None),)) is None


def test_a_benchmark_without_parity_or_without_a_finished_run_still_has_a_report(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    bare = tuple(replace(result, parity=None) for result in document.results)
    assert "TIMED ONLY" in render(replace(document, reference=None, samples=None, results=bare), benchmarked)
    failed = replace(
        document.results[0],
        status=Status.FAILED,
        latency_ms=None,
        measurement=None,
        parity=None,
        error=Failure("device", "unplugged"),
    )
    assert "unplugged" in render(replace(document, results=(failed,)), benchmarked)


def test_the_file_is_written_whole_and_never_over_another(benchmarked: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report(benchmarked, out, force=False)
    assert out.read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(EdgetfError, match="already exists"):
        write_report(benchmarked, out, force=False)
    write_report(benchmarked / "benchmark.json", out, force=True)
    with pytest.raises(EdgetfError, match="is a folder"):
        write_report(benchmarked, tmp_path, force=True)
    with pytest.raises(EdgetfError, match="there is no folder"):
        write_report(benchmarked, tmp_path / "none" / "report.html", force=False)


@pytest.mark.slow
def test_it_renders_in_a_real_browser_without_errors(benchmarked: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's package chromium is not installed")
    write_report(benchmarked, tmp_path / "report.html", force=False)
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--no-first-run", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,2600", "--enable-logging=stderr"]
    address = (tmp_path / "report.html").as_uri()
    shot = subprocess.run(
        [*command, f"--screenshot={tmp_path / 'shot.png'}", address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in shot.stderr, shot.stderr
    dumped = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, timeout=120, check=True)
    assert "variants do what the reference does" in dumped.stdout
    from matplotlib import image

    pixels = image.imread(tmp_path / "shot.png")[..., :3]
    assert pixels.shape[:2] == (2600, 1300)
    coloured = pixels.max(axis=2) - pixels.min(axis=2) > 0.3
    assert coloured.sum() > 5000  # the marks of the verdicts and the pictures are drawn
