"""Tables in terminals of any width, and in pipes: important cells are never cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetf.console.tables import Table
from edgetf.results import read_benchmark
from tests.cli.terminal import terminal
from tests.conftest import Run

TABLE = Table(
    columns=("name", "verdict", "median ms", "memory", "because"),
    rows=(
        ("int8", "[yellow]NOT ENOUGH DATA[/]", "0.00111\n[0.00107, 0.00114]", "42.8 MB", "some more samples decide"),
        ("a-name-that-is-long", "PASS", "12.5\n[12.4, 12.6]", "", "it is good"),
    ),
    right=("median ms", "memory"),
    optional=("memory",),
    long=("because",),
)


def _shown(table: Table, width: int | None) -> str:
    return "\n".join(line.plain for line in table.lines(width))


@pytest.mark.parametrize("width", [20, 30, 40, 60, 70, 80, 100, 130, 140])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_broken(width: int) -> None:
    shown = _shown(TABLE, width)
    assert max(map(len, shown.splitlines())) <= width
    words = shown.split()
    for cell in ("int8", "NOT", "ENOUGH", "DATA", "0.00111", "[0.00107,", "0.00114]", "a-name-that-is-long", "12.5"):
        assert cell in words, cell


def test_columns_go_before_intervals_move_before_rows_become_paragraphs() -> None:
    whole = len(_shown(TABLE, None).splitlines()[2])
    assert "memory" in _shown(TABLE, whole).splitlines()[0]
    narrower = _shown(TABLE, 72)
    assert "Left out to fit the terminal: memory." in narrower
    assert "0.00111 [0.00107, 0.00114]" in narrower
    below = _shown(TABLE, 60)
    assert "0.00111 [" not in below
    assert "[0.00107, 0.00114]" in below
    assert "verdict: NOT ENOUGH DATA" in _shown(TABLE, 30)


def test_a_sentence_without_space_is_printed_below_its_row() -> None:
    lines = _shown(TABLE, 70).splitlines()
    row = next(k for k, line in enumerate(lines) if line.startswith("int8"))
    assert lines[row + 1].strip() == "some more samples decide"


def test_a_pipe_gets_a_line_for_each_row_with_all_columns() -> None:
    head, _, *rows = _shown(TABLE, None).splitlines()
    assert head.split() == ["name", "verdict", "median", "ms", "memory", "because"]
    assert len(rows) == 2
    assert "0.00111 [0.00107, 0.00114]  42.8 MB  some more samples decide" in rows[0]


def test_a_column_without_any_entry_is_left_out() -> None:
    shown = _shown(Table(("name", "drop", "size"), [("a", "", "1"), ("b", "", "2")]), None)
    assert shown.splitlines()[0].split() == ["name", "size"]


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_a_benchmark_keeps_its_figures_in_a_terminal(benchmarked: Path, columns: int, tmp_path: Path) -> None:
    with terminal("report", benchmarked, columns=columns, cwd=tmp_path) as shell:
        lines = shell.finish().splitlines()
    table = lines[1 : next(k for k, line in enumerate(lines) if line.startswith("Compared with"))]
    assert max(map(len, table)) <= columns
    for result in read_benchmark(benchmarked).results:
        row = next(line for line in table if line.split()[0] == result.variant)
        assert result.parity is not None
        assert result.latency_ms is not None
        assert result.parity.verdict.label in row
        accuracy = result.parity.outputs[0].accuracy
        assert accuracy is not None
        for figure in (f"{result.latency_ms.median:.3g}", f"{accuracy.drop_points:+.2f}"):
            assert figure in row.split()
        assert " kB" in row


def test_a_report_without_a_file_prints_the_benchmark_again(edgetf: Run, benchmarked: Path) -> None:
    ended = edgetf("report", benchmarked)
    assert ended.returncode == 0
    assert "float16" in ended.stdout
    assert "Compared with TensorFlow" in ended.stdout
    document = json.loads(edgetf("report", benchmarked, "--json").stdout)
    assert document == json.loads((benchmarked / "benchmark.json").read_text())


def test_verdicts_of_a_check_are_not_cut_in_a_narrow_terminal(benchmarked: Path, tmp_path: Path) -> None:
    with terminal("check", benchmarked, "--max-bytes", 10, columns=60, cwd=tmp_path) as shell:
        lines = shell.finish().splitlines()
    assert max(map(len, lines)) <= 60
    for name in ("float32", "int16x8"):
        assert any(line.startswith(name) and "parity of output_0" in line for line in lines)
    variants = json.loads((benchmarked / "benchmark.json").read_text())["results"]
    assert sum(line.split() == ["size", "FAIL"] for line in lines) == len(variants)
