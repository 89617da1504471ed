from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgetf import files
from edgetf.benchmarks.report.render import render
from edgetf.benchmarks.report.tuning import draw_candidates, find_tuning, front_of
from edgetf.recipes import Aim, Tuning
from edgetf.results import Benchmark, read_benchmark
from tests.tuning.made_tuning import made_tuning


@pytest.fixture
def document(benchmarked: Path) -> Benchmark:
    return read_benchmark(benchmarked)


@pytest.fixture
def tuning(document: Benchmark) -> Tuning:
    assert document.samples is not None
    return made_tuning(document.samples)


def test_the_front_has_no_useless_or_failing_candidates(tuning: Tuning) -> None:
    assert [one.name for one in front_of(tuning)] == ["mix-3", "mix-1 <$&", "float16"]


@pytest.mark.parametrize("aim", Aim)
def test_names_are_text_in_the_picture(tuning: Tuning, aim: Aim) -> None:
    picture = draw_candidates(replace(tuning, aim=aim))
    assert picture is not None
    assert "mix-1 &lt;$&amp;" in picture
    assert "mix-2" not in picture  # useless ones are dots without names


def test_without_two_candidates_there_is_no_picture(tuning: Tuning) -> None:
    assert draw_candidates(replace(tuning, candidates=tuning.candidates[:1])) is None
    timeless = tuple(replace(one, latency_ms=None) for one in tuning.candidates)
    assert draw_candidates(replace(tuning, aim=Aim.LATENCY, candidates=timeless)) is None


def test_the_tuning_is_shown_if_the_benchmark_is_its_proof(
    benchmarked: Path, document: Benchmark, tuning: Tuning, tmp_path: Path
) -> None:
    bench = tmp_path / "bench"
    bench.symlink_to(benchmarked)
    files.write_document(tmp_path / "tuning.json", tuning)
    assert find_tuning(bench, document) == tuning
    page = render(document, bench)
    assert "Tuning: the candidates" in page
    assert "mix-1 &lt;$&amp;" in page
    assert "<td>55 of 65</td>" in page


@pytest.mark.parametrize("content", ["", "{}", "none"])
def test_a_missing_or_damaged_tuning_does_not_prevent_the_report(
    benchmarked: Path, document: Benchmark, tmp_path: Path, content: str
) -> None:
    bench = tmp_path / "bench"
    bench.symlink_to(benchmarked)
    if content != "none":
        (tmp_path / "tuning.json").write_text(content)
    assert find_tuning(bench, document) is None
    assert "Tuning: the candidates" not in render(document, bench)


def test_a_tuning_of_other_samples_is_not_shown(document: Benchmark, tuning: Tuning, tmp_path: Path) -> None:
    other = replace(tuning, proven_on=replace(tuning.proven_on, digest="0" * 64))
    files.write_document(tmp_path / "tuning.json", other)
    assert find_tuning(tmp_path / "bench", document) is None
