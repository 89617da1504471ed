"""Untrusted names in everything that is printed or drawn: they are shown as text and have no effect."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from edgetf.api.tables.benchmark import show_benchmark
from edgetf.benchmarks.history.glances import Glance
from edgetf.benchmarks.history.mlflow import export
from edgetf.benchmarks.history.store import Row
from edgetf.benchmarks.history.trend import draw_trend
from edgetf.benchmarks.judging.check import Checked
from edgetf.benchmarks.judging.gate import to_junit, to_markdown
from edgetf.benchmarks.judging.verdict import Judged
from edgetf.benchmarks.reference.serving import connect
from edgetf.cli.console import escape, print_lines, print_table
from edgetf.console.progress import State, _Lines
from edgetf.errors import EdgetfError
from edgetf.events import Note, Phase, Step
from edgetf.figures import Latency
from edgetf.results import BENCHMARK_SCHEMA, Benchmark, Result, Source, Status, TensorSpec, Verdict

EVIL = '\x1b[2J\x1b]0;title\x07\x00\x9b31m"/><script>alert(1)</script>&lt;\n::error::stolen|[x](http://evil)`$x$\u202e\ud800'
LATENCY = Latency(1.0, 0.9, 1.1, None, None, 1.0, 0.1, 10)
RESULT = Result(EVIL, None, EVIL, Status.OK, "litert", 10, None, 1, "xnnpack", latency_ms=LATENCY)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]")


def _row(variant: str, commit: str) -> Row:
    glance = Glance((LATENCY.median, LATENCY.low, LATENCY.high), None, None)
    return Row(f"{variant}{commit}", f"2026-01-01{EVIL}", commit, "m", variant, EVIL, glance)


def test_the_picture_of_a_trend_is_xml_in_which_names_are_text() -> None:
    svg = draw_trend([_row(EVIL, EVIL), _row("_hidden", ""), _row("x" * 500, "c")], EVIL).svg
    root = ElementTree.fromstring(svg)
    assert not [element for element in root.iter() if element.tag.rpartition("}")[2] not in _DRAWN]
    assert not [name for element in root.iter() for name in element.attrib if name.lower().startswith("on")]
    assert not _CONTROL.search(svg)
    assert "<script>alert(1)</script>" in root.attrib["aria-label"]
    texts = " ".join(element.text or "" for element in root.iter() if element.tag.endswith("text"))
    assert "_hidden" in texts
    assert "x" * 100 not in texts


_DRAWN = {
    "svg",
    "g",
    "path",
    "text",
    "tspan",
    "defs",
    "clipPath",
    "rect",
    "use",
    "style",
    "metadata",
    "RDF",
    "Work",
} | {
    *("type", "format", "title", "image"),
}


def _checked() -> list[Checked]:
    return [Checked(EVIL, EVIL, Verdict.FAIL, {EVIL: Judged(Verdict.FAIL, EVIL)}, False, model=EVIL)]


def test_junit_is_xml_in_which_names_are_text() -> None:
    text = to_junit(_checked()).decode()
    [case] = ElementTree.fromstring(text).iter("testcase")
    assert "<script>alert(1)</script>" in case.attrib["name"]
    assert not _CONTROL.search(text)


def test_names_in_a_markdown_table_are_text_in_one_row() -> None:
    *_, row, _, _ = to_markdown(_checked()).split("\n")
    assert row.startswith("| ")
    assert "script" in row
    assert len(re.findall(r"(?<!\\)\|", row)) == 7  # of six cells
    assert not re.search(r"(?<!\\)[\[<`]", row)
    assert not any(line.startswith("::") for line in to_markdown(_checked()).split("\n"))


def test_a_terminal_receives_no_control_sequences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # a wrapped line may begin with any word
    document = Benchmark(BENCHMARK_SCHEMA, "1", "now", {"cpu": EVIL}, EVIL, (EVIL,), None, None, None, (RESULT,))
    show_benchmark(document)
    show_benchmark(replace(document, results=(replace(RESULT, stable=False, stable_reason=EVIL),)))
    print_table(escape(EVIL), ["name"], [[escape(EVIL)]], long=["name"])
    print_lines(escape(EVIL), EVIL.replace("[", ""))  # even if it was not escaped
    print_table("", ["name"], [[EVIL.replace("[", "").replace("\n", " ")]])
    reported = _Lines(EVIL)
    for event in (
        Note(EVIL),
        Phase(EVIL),
        Step(EVIL),
    ):
        reported(event)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert "alert(1)" in text
        assert not _CONTROL.search(text)
        assert not any(line.startswith("::") for line in text.split("\n"))
    state = State("Measuring")
    state.take(Phase(EVIL))
    assert state.words.isprintable()


def _document() -> Benchmark:
    return Benchmark(BENCHMARK_SCHEMA, "1", "now", {}, "random", (), None, None, None, ())


# passwords ------------------------------------------------------------------------------------------------------------

SOURCE = Source("m", "0" * 64, "serving_default", (TensorSpec("x", (None, 3), "float32"),), ())


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:s3cret@127.0.0.1:9/v1/models/digits",
        "grpc://ann:s3cret@127.0.0.1:9/digits",
        "http://ann:s3cret@127.0.0.1:9/elsewhere",
        "http://ann:s3/cret@127.0.0.1:9/v1/models/digits",
    ],
)
def test_the_password_of_a_server_is_never_printed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetf.benchmarks.reference.serving._RETRIES", 0)
    monkeypatch.setattr("edgetf.benchmarks.reference.serving._TIMEOUT_S", 0.3)
    with pytest.raises(EdgetfError) as caught:
        connect(url, SOURCE)
    reported = f"{caught.value.message} {caught.value.hint} {caught.value}"
    assert "cret" not in reported
    assert "ann" not in reported


def test_the_password_of_mlflow_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for scheme in ("htp", "http"):
        with pytest.raises(EdgetfError, match=r"cannot send to MLflow at .*127.0.0.1:9") as caught:
            export(_document(), "", f"{scheme}://ann:s3cret@127.0.0.1:9")
        assert "s3cret" not in f"{caught.value.message} {caught.value.hint} {caught.value}"
