from __future__ import annotations

import html.parser
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgetf.benchmarks import report
from edgetf.benchmarks.judging.check import check_one
from edgetf.benchmarks.judging.choose import Objective, choose, rank
from edgetf.benchmarks.judging.choose_words import answer
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.report.render import render, write_report
from edgetf.benchmarks.report.stories import Story, answers_of, stories_of
from edgetf.benchmarks.report.table import build_table, change
from edgetf.errors import EdgetfError
from edgetf.figures import Energy, Minute, OpTime, Sustained
from edgetf.results import Benchmark, Failure, LabelUse, Status, Verdict, read_benchmark
from edgetf.schemes import DEFAULT_SCHEMES
from tests.benchmarks.made_bench import broken, dropped, float32, int8, variant, with_results
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


def test_it_names_what_was_compared_and_every_verdict(page: Page) -> None:
    assert "on the CPU" in page.text
    assert "no GPU was used" in page.text
    verbs = "|".join(verdict.look.verb for verdict in Verdict)
    for name in DEFAULT_SCHEMES:
        assert re.search(rf"\b{name} ({verbs})", page.text), name
    assert all(f"a {verdict.look.shape} {verdict.label}" in page.text for verdict in Verdict)
    assert page.tags.count("svg") == 3  # the front, the turns and the distribution
    assert page.text.count("TensorFlow takes") == len(DEFAULT_SCHEMES)


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


def test_lines_of_the_templates_are_short_enough_to_read() -> None:
    templates = [*Path(report.__file__).parent.glob("*.j2")]
    assert len(templates) == 3
    for template in templates:
        assert max(len(line) for line in template.read_text().splitlines()) <= 120, template.name


def test_there_is_a_space_between_the_sentences_on_a_variant(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    full = variant(
        document,
        "full",
        stable=False,
        stable_reason="blocks differ",
        sustained=Sustained(180.0, (Minute(1.0, 100, None, None), Minute(1.2, 100, None, None)), 1.2),
        energy=Energy("pmic", 1.0, 0.9, 1.1, 2.0, 3.0),
        ops=(
            OpTime("CONV_2D", "", 1.0, 0.6),
            OpTime("FULLY_CONNECTED", "a/b", 0.5, 0.3, "dense", True, estimated=True),
        ),
    )
    text = " ".join(Page(render(with_results(document, full), benchmarked)).text.split())
    assert "Its timing was not stable: blocks differ. After 3 minutes of load" in text
    assert "Most of the time goes to CONV_2D (60 %), FULLY_CONNECTED of dense (about 30 %)." in text
    story = text[text.index("Each variant in words") : text.index("Latency over time")]
    assert not re.search(r"[a-z)]\.[A-Z]", story)


def test_operations_and_what_ran_where_have_sections_if_they_are_known(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    text = Page(render(document, benchmarked)).text
    ran, longest = text.index("What ran where"), text.index("Operations that take longest")
    assert "SOFTMAX" in text[ran:longest]
    assert "conv2d" in text[longest:]
    assert "≈" in text[longest:]
    library = [
        replace(one, coverage=one.coverage and replace(one.coverage, accelerator="libvx.so"))
        for one in document.results
    ]
    text = Page(render(with_results(document, *library), benchmarked)).text
    assert "libvx.so took all of" in text
    assert "Libvx" not in text  # the name of a file
    assert "left on TFLite's kernels" not in text  # XNNPACK takes what a library leaves
    older = [replace(result, coverage=None, ops=()) for result in document.results]
    text = Page(render(with_results(document, *older), benchmarked)).text
    assert "What ran where" not in text
    assert "Operations that take longest" not in text


def stories(document: Benchmark) -> dict[str, Story]:
    checked = [check_one(result, Budgets(), False, document.reference is not None) for result in document.results]
    choices = rank(document, checked, Objective.BOTH, Budgets())
    return {story.name: story for story in stories_of(document, choices)}


def test_verdicts_in_words(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    base = float32(document)
    lossy = variant(document, "lossy", 210.0, 5000, parity=dropped(int8(document), 60, 0))
    slow, fast = variant(document, "slow", 210.0), variant(document, "fast", 1.0)
    gone, unmade = broken(document, "gone"), broken(document, "unmade", "conversion")
    found = stories(with_results(document, base, lossy, slow, fast, gone, unmade))
    assert {name: story.headline for name, story in found.items()} == {
        "float32": "float32 passes, 3.0 times slower, 4.0 times larger than fast",
        "lossy": "lossy fails, and is 70 times slower, 25 % larger than float32",
        "slow": "slow passes, 210 times slower than fast (70 times slower than float32)",
        "fast": "fast passes, and is chosen",
        "gone": "gone failed",
        "unmade": "unmade was not converted",
    }
    assert found["slow"].remark == "70 times slower than float32"
    assert found["fast"].gains == "It is 3.0 times faster, 4.0 times smaller than float32."
    assert found["lossy"].why[0].startswith("Accuracy drop +6.00 points")
    assert found["gone"].why == ("it died.",)
    bare = replace(with_results(document, replace(base, parity=None), replace(fast, parity=None)), reference=None)
    assert stories(bare)["fast"].headline == "fast was timed"
    assert stories(bare)["fast"].gains.startswith("It is 3.0 times faster")


def test_the_latency_is_shown_next_to_that_of_tensorflow(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    assert document.reference is not None
    on_gpu = replace(
        document.reference,
        device=replace(document.reference.device, kind="gpu", name="NVIDIA H100"),
        latency_ms=replace(document.reference.latency_ms, median=1.1),
    )
    document = replace(document, reference=on_gpu)
    phone = variant(document, "int8", 0.03, device="phone")
    (story,) = stories(with_results(document, phone)).values()
    assert story.latency == "One sample takes 30 µs; TensorFlow takes 1.1 ms on the GPU."
    (story,) = stories(with_results(document, replace(phone, emulated=True))).values()
    assert "on an emulated device, whose times differ from those of the hardware" in story.latency
    (story,) = stories(with_results(document, replace(phone, latency_ms=None))).values()
    assert story.latency == ""


def test_the_first_screen_shows_the_answer_and_its_context(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    document = with_results(document, float32(document), variant(document, "int8", 0.9))
    (choice,) = choose(document)
    (shown,) = answers_of(document, [choice])
    assert shown.sentence == answer(choice)
    assert list(shown.context) == ["model", "device", "measured", "budgets"]
    text = Page(render(document, benchmarked)).text
    assert text.index(shown.sentence) < text.index("Results")
    bare = replace(document, reference=None, results=tuple(replace(r, parity=None) for r in document.results))
    (shown,) = answers_of(bare, [choice])
    assert shown.sentence == "2 of 2 variants were timed; nothing was compared with a reference."


def test_labels_that_are_not_used_are_named_once_with_the_reason(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    results = []
    for result in document.results:
        assert result.parity is not None
        [output] = result.parity.outputs
        ignored = replace(output, labels=LabelUse.IGNORED, labels_reason="they are neither <classes> nor values")
        results.append(replace(result, parity=replace(result.parity, outputs=(ignored,))))
    shown = render(replace(document, results=tuple(results)), benchmarked)
    warning = f"labels of {output.name} are not used: they are neither &lt;classes&gt; nor values"
    assert shown.count(warning) == 1
    assert "are not used" not in render(document, benchmarked)


def test_the_name_of_the_cpu_is_shown_once(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    assert document.reference is not None
    device = replace(document.reference.device, name="Some CPU 9", sentence="TensorFlow on the CPU (Some CPU 9)")
    named = replace(
        document,
        machine={**document.machine, "cpu": "Some CPU 9"},
        reference=replace(document.reference, device=device),
    )
    assert Page(render(named, benchmarked)).text.count("Some CPU 9") == 1
    another = replace(named, machine={**document.machine, "cpu": "Cortex-A76", "model": "Raspberry Pi 5"})
    text = Page(render(another, benchmarked)).text
    assert [text.count(name) for name in ("Some CPU 9", "Cortex-A76", "Raspberry Pi 5")] == [1, 1, 1]


def test_the_table_has_no_empty_column_and_units_that_people_read(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    like = int8(document)
    lossy = variant(document, "lossy", 0.0375, 228_232, parity=dropped(like, 60, 0, 10_000))
    table = build_table(list(stories(with_results(document, lossy)).values()))
    (body,) = table.bodies
    assert table.columns[:5] == ("variant", "verdict", "median", "accuracy change, points", "size")
    assert [cell.text for cell in body.rows[0][:5]] == ["lossy", "PASS", "37.5 µs", "0.60 lost", "228 kB"]
    assert body.rows[0][3].small == "0.47 to 0.77 lost"
    timed = build_table(list(stories(with_results(document, replace(lossy, parity=None))).values()))
    assert timed.columns[:4] == ("variant", "verdict", "median", "size")
    for column in range(len(table.columns)):
        assert any(row[column].text for body in table.bodies for row in body.rows)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((0.0, -0.38, 0.38), ("unchanged", "±0.38")),
        ((-0.1, -0.56, 0.28), ("0.10 gained", "0.56 gained to 0.28 lost")),
        ((0.6, 0.47, 0.77), ("0.60 lost", "0.47 to 0.77 lost")),
        ((-0.6, -0.77, -0.47), ("0.60 gained", "0.47 to 0.77 gained")),
    ],
)
def test_gains_and_losses_are_in_words(figures: tuple[float, float, float], words: tuple[str, str]) -> None:
    cell = change(*figures, ".2f")
    assert (cell.text, cell.small) == words
    assert cell.value == figures[0]


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
def test_what_explain_finds_is_in_the_report(
    benchmarked: Path, converted: Path, reference: Path, tmp_path: Path, edgetf: Run
) -> None:
    shutil.copytree(benchmarked, tmp_path / "bench")
    asked = ["--variant", "int8", "--variants", converted, "--reference", reference]
    assert "Layers" in edgetf("explain", "bench", *asked).stdout
    done = edgetf("report", "bench", "-o", "report.html", "--reference", reference)
    assert done.returncode == 0, done.stderr
    page = Page((tmp_path / "report.html").read_text())
    assert "The ladder of int8" in page.text
    assert "SavedModel to float32" in page.text
    assert "conv2d" in page.text
    assert "The reference's outputs are neither" not in page.text


def test_the_file_is_written_atomically_and_replaces_another_only_with_force(benchmarked: Path, tmp_path: Path) -> None:
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
