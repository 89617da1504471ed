from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgetf.benchmarks.report.canvas import style_of
from edgetf.benchmarks.report.plots import curves_of_minutes, curves_of_turns, draw_minutes, draw_turns, latencies_of
from edgetf.figures import Minute, Sustained
from edgetf.results import Result, read_benchmark


def test_turns_are_drawn_with_heat_and_frequency_only_where_the_device_reported_them(benchmarked: Path) -> None:
    results = read_benchmark(benchmarked).results
    bare = [replace(r, blocks=tuple(replace(b, temperature_c="", frequency_mhz="") for b in r.blocks)) for r in results]
    picture = draw_turns(bare)
    assert picture is not None
    assert "temperature" not in picture
    assert "frequency" not in picture
    warm = [replace(r, blocks=tuple(replace(b, temperature_c="51.5") for b in r.blocks)) for r in bare]
    picture = draw_turns(warm)
    assert picture is not None
    assert "temperature" in picture
    assert "frequency" not in picture
    for result in results:
        assert result.variant in picture
    assert [at for curve in curves_of_turns(results) for at in curve.at] == [
        block.turn for result in results for block in result.blocks
    ]
    assert draw_turns([replace(r, blocks=r.blocks[:1]) for r in results]) is None


def test_minutes_of_load_are_drawn_if_there_are_several(benchmarked: Path) -> None:
    result = read_benchmark(benchmarked).results[0]
    minutes = tuple(Minute(ms, 100, 40 + 10 * ms, 1500.0) for ms in (1.0, 1.2, 1.5))
    loaded = replace(result, sustained=Sustained(150.0, minutes, 1.5))
    [curve] = curves_of_minutes([loaded])
    assert curve.at == (1.0, 2.0, 2.5)  # the last minute was half of one
    assert curve.heat == (50.0, 52.0, 55.0)
    picture = draw_minutes([loaded])
    assert picture is not None
    assert "temperature" in picture
    assert "frequency" in picture
    assert draw_minutes([result]) is None


def test_lines_of_many_variants_differ_in_colour_mark_or_dash() -> None:
    assert len({tuple(style_of(k).values()) for k in range(18)}) == 18


def test_of_many_variants_the_lines_that_move_most_are_drawn_and_the_others_are_counted(benchmarked: Path) -> None:
    like = read_benchmark(benchmarked).results[0]
    first, *_, last = like.blocks

    def moved(k: int) -> Result:
        blocks = (replace(first, median_ms=1.0), replace(last, median_ms=1.0 + k / 100))
        return replace(like, variant=f"variant-{k:02d}", blocks=blocks)

    picture = draw_turns([moved(k) for k in range(20)])
    assert picture is not None
    assert "2 steadier variants are not drawn" in picture
    assert [k for k in range(20) if f"variant-{k:02d}" not in picture] == [0, 1]


def test_a_row_of_the_distribution_has_the_percentiles_of_all_runs_in_milliseconds() -> None:
    row = latencies_of("int8", np.arange(0, 101_000_000, 1_000_000), "pass")
    assert (row.low, row.lower, row.median, row.upper, row.high) == (1.0, 25.0, 50.0, 75.0, 99.0)
