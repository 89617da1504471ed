from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgetf.benchmarks.pareto import Cost, Point, dominates, draw_pareto, find_front, points_of, tell_front
from edgetf.results import Failure, read_benchmark

few = st.integers(0, 5).map(float)  # so few that ties are common


@st.composite
def points(draw: st.DrawFn) -> list[Point]:
    found = []
    for k in range(draw(st.integers(0, 12))):
        found.append(Point(f"v{k}", "pass", Cost(draw(few) + 1), Cost(draw(few) - 2), 1 + int(draw(few))))
    return found


@given(points())
def test_nothing_on_the_front_is_beaten_and_everything_off_it_is_beaten_by_the_front(given: list[Point]) -> None:
    front = find_front(given)
    assert bool(front) == bool(given)
    for point in given:
        beaten = [other for other in given if dominates(other, point)]
        assert (point in front) == (not beaten)
        if beaten:
            assert any(dominates(other, point) for other in front)
        assert not dominates(point, point)


@given(points())
def test_the_words_name_every_point_once_on_the_front_or_behind_it(given: list[Point]) -> None:
    told = tell_front(given)
    front = {point.label for point in find_front(given)}
    first = told[0].removeprefix("On the front, the fastest first: ").rstrip(".").split(", ") if told else []
    assert set(first) == front
    behind = [name for line in told[1:] for name in line.split("ahead of ")[1].rstrip(".").split(", ")]
    assert sorted(behind) == sorted(point.label for point in given if point.label not in front)


def test_a_front_that_is_not_told_apart_in_speed_or_that_fails_is_told() -> None:
    near = [
        Point("small", "fail", Cost(1.0, 0.9, 1.1), Cost(0.0), 10),
        Point("large", "pass", Cost(1.05, 1.0, 1.2), Cost(0.0), 20),
    ]
    first, second = tell_front(near)
    assert "small (which fails)" in first
    assert "large (in speed the two are not told apart)" in second


def test_the_picture_shows_one_kind_of_cost_and_only_results_that_have_it(benchmarked: Path) -> None:
    results = read_benchmark(benchmarked).results
    failed = replace(results[0], parity=None, error=Failure("run", "it died"))
    picture = draw_pareto((failed, *results[1:]))
    assert picture is not None
    assert "accuracy drop" in picture
    assert "float32" not in picture
    assert draw_pareto((failed,)) is None


def test_without_accuracy_the_noise_is_the_cost_and_no_error_beats_any(benchmarked: Path) -> None:
    float16, dynamic = read_benchmark(benchmarked).results[1:3]
    assert float16.parity is not None
    assert dynamic.parity is not None
    exact = replace(float16.parity.outputs[0], accuracy=None, sqnr_db=None, centred_db=None, max_abs=0.0)
    noisy = replace(
        dynamic.parity.outputs[0], accuracy=None, centred_db=30.0, centred_low_db=28.0, centred_high_db=33.0
    )
    both = (
        replace(float16, variant="a $b_$ & <c>", parity=replace(float16.parity, outputs=(exact,))),
        replace(dynamic, parity=replace(dynamic.parity, outputs=(noisy, replace(noisy, centred_db=40.0)))),
    )
    one, other = points_of(both)
    assert one.cost.value < other.cost.value  # no error is better than any
    assert other.cost == Cost(-30.0, -33.0, -28.0)  # the worst output, with its interval
    picture = draw_pareto(both)
    assert picture is not None
    assert "a $b_$ &amp; &lt;c&gt; (no error)" in picture  # no formula, and escaped
    assert "SQNR" in picture
