"""The script that measures a report on many variants, with few."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetf.benchmarks.report import render
from edgetf.results import read_benchmark
from tests.performance.many_variants import multiply


def test_the_report_has_all_of_many_variants(benchmarked: Path, tmp_path: Path) -> None:
    made = multiply(benchmarked, 30, tmp_path / "many")
    document = read_benchmark(made)
    names = [result.variant for result in document.results]
    assert len(set(names)) == 30
    page = render.render(document, made)
    table = page[page.index("<table") :]
    assert all(f">{name}<" in table for name in names)
    assert "steadier variants are not drawn" in page
    assert "fastest variants" not in page


def test_of_many_variants_the_latencies_of_the_fastest_are_drawn(
    benchmarked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "_MOST_ROWS", 4)
    made = multiply(benchmarked, 12, tmp_path / "many")
    document = read_benchmark(made)
    fastest = sorted(document.results, key=lambda result: result.latency_ms.median if result.latency_ms else 0.0)[:4]
    page = render.render(document, made)
    assert "These are the 4 fastest variants" in page
    picture = page[page.index("Distribution of latencies") :]
    picture = picture[: picture.index("</svg>")]
    drawn = [result.variant for result in document.results if f">{result.variant}<" in picture]
    assert set(drawn) == {result.variant for result in fastest}
