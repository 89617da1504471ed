from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgetf.benchmarks.report.canvas import style_of
from edgetf.benchmarks.report.plots import curves_of_minutes, curves_of_turns, draw_minutes, draw_turns
from edgetf.figures import Minute, Sustained
from edgetf.results import read_benchmark


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
