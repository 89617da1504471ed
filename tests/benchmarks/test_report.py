from __future__ import annotations

import html.parser
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgetf.benchmarks.report import render, write_report
from edgetf.benchmarks.report_words import compare_speed, summary, tell
from edgetf.benchmarks.times import summarize
from edgetf.errors import EdgetfError
from edgetf.results import Failure, Status, Verdict, read_benchmark
from edgetf.schemes import SCHEMES
from tests.conftest import Run


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
    assert page.tags.count("svg") == 3  # the front, the turns and the distribution
    assert page.text.count("TensorFlow takes") == len(SCHEMES)


def test_it_needs_no_network(page: Page) -> None:
    outside = [source for source in page.sources if not source.startswith(("#", "data:"))]
    assert outside == []
    assert not {"iframe", "object", "embed"} & set(page.tags)
    assert page.tags.count("script") == 1


def test_names_are_escaped(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    evil = replace(document.results[0], variant="<script>alert(1)</script>")
    text = render(replace(document, results=(evil,)), benchmarked)
    assert "<script>alert" not in text


def test_verdicts_in_words(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    int8 = document.results[3]
    assert int8.parity is not None
    told = tell(replace(int8, parity=replace(int8.parity, verdict=Verdict.FAIL, reason="it is off")), document)
    assert (told.verdict, told.headline) == ("fail", "int8 fails")
    assert told.why[0].startswith("Accuracy drop")
    assert "than float32" in told.gains
    failed = replace(int8, status=Status.FAILED, error=Failure("run", "it died"))
    assert tell(failed, document).headline == "int8 failed"
    assert tell(replace(int8, parity=None), document).headline == "int8 was timed"
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


def test_the_latency_is_told_beside_that_of_tensorflow_where_it_ran(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    assert document.reference is not None
    latency = replace(document.results[0].latency_ms, median=3.0)  # type: ignore[type-var]
    phone = replace(document.results[0], device="phone", latency_ms=latency)
    on_gpu = replace(
        document.reference,
        device=replace(document.reference.device, kind="gpu", name="NVIDIA H100"),
        latency_ms=replace(document.reference.latency_ms, median=1.1),
    )
    told = replace(document, reference=on_gpu, machine={"model": "Pixel 8"})
    sentence = "One sample takes 3 ms on phone (Pixel 8); TensorFlow takes 1.1 ms on the GPU (NVIDIA H100)."
    assert tell(phone, told).latency == sentence
    assert "emulated: that is not the hardware's time" in tell(replace(phone, emulated=True), told).latency
    assert tell(replace(phone, latency_ms=None), told).latency == ""


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


@pytest.mark.slow
def test_what_check_finds_on_the_ladder_is_in_the_report(
    benchmarked: Path, converted: Path, reference: Path, tmp_path: Path, edgetf: Run
) -> None:
    shutil.copytree(benchmarked, tmp_path / "bench")
    asked = ["--variant", "int8", "--ladder", "--layers", "--variants", converted, "--reference", reference]
    assert "Layers" in edgetf("check", "bench", *asked).stdout
    done = edgetf("report", "bench", "-o", "report.html", "--reference", reference)
    assert done.returncode == 0, done.stderr
    page = Page((tmp_path / "report.html").read_text())
    assert "The ladder of int8" in page.text
    assert "SavedModel to float32" in page.text
    assert "conv2d" in page.text
    assert "The reference's outputs lie neither" not in page.text


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
