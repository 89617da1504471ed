from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgetf.benchmarks.judging.front import Cost, Point, dominates, find_front, front_in_words, latency_of, points_of
from edgetf.benchmarks.report.pareto import draw_pareto, marks_in_words
from edgetf.results import Failure, read_benchmark
from tests.benchmarks.made_bench import dropped, variant

few = st.integers(0, 5).map(float)  # so few that ties are common


@st.composite
def costs(draw: st.DrawFn) -> Cost:
    """Exact, or with an interval that may reach far, or to infinity."""
    value = draw(few)
    if draw(st.booleans()):
        return Cost(value)
    ends = st.one_of(few, st.just(math.inf))
    return Cost(value, value - draw(ends), value + draw(ends))


@st.composite
def points(draw: st.DrawFn) -> list[Point]:
    found = []
    for k in range(draw(st.integers(0, 12))):
        device = draw(st.sampled_from(("local", "pi")))
        found.append(Point(f"v{k}", "pass", draw(costs()), draw(costs()), 1 + int(draw(few)), device))
    return found


def reached(start: Point, all_: list[Point]) -> list[Point]:
    """Those that `start` dominates, directly or over others."""
    found: list[Point] = []
    todo = [start]
    while todo:
        one = todo.pop()
        new = [other for other in all_ if other not in found and dominates(one, other)]
        found += new
        todo += new
    return found


@given(points())
def test_one_dominates_only_what_is_measurably_worse_in_something_and_better_in_nothing(given: list[Point]) -> None:
    for one in given:
        assert not dominates(one, one)
        for other in given:
            if not dominates(one, other):
                continue
            assert not dominates(other, one)
            assert one.device == other.device
            assert one.bytes <= other.bytes
            for mine, theirs in ((one.latency, other.latency), (one.cost, other.cost)):
                low, high = (mine.value if end is None else end for end in (mine.low, mine.high))
                assert low <= (theirs.value if theirs.high is None else theirs.high)
                assert high < (theirs.value if theirs.low is None else theirs.low) or low <= high


@given(points())
def test_what_is_off_the_front_is_beaten_by_the_front_and_nothing_on_it_is_but_in_a_circle(given: list[Point]) -> None:
    front = find_front(given)
    assert {point.device for point in front} == {point.device for point in given}  # never empty, for no device
    for point in given:
        beaten = [other for other in front if dominates(other, point)]
        if point not in front:
            assert beaten
        elif beaten:
            assert point in reached(point, given)


def test_of_variants_that_beat_each_other_in_a_circle_the_fastest_is_on_the_front() -> None:
    circle = [  # each is measurably better than the next in one cost, and cannot be distinguished in the other
        Point("a", "pass", Cost(0.5, 0, 1), Cost(10.5, 10, 11), 1),
        Point("b", "pass", Cost(2.5, 2, 3), Cost(5.5, 0, 11), 1),
        Point("c", "pass", Cost(4.5, 4, 5), Cost(0.5, 0, 1), 1),
        Point("d", "pass", Cost(2.5, 0, 5), Cost(3.5, 3, 4), 1),
    ]
    for k in range(4):
        assert dominates(circle[k], circle[(k + 1) % 4])
    assert [point.label for point in find_front(circle)] == ["a", "c"]


def test_a_beaten_variant_does_not_remove_another_from_the_front() -> None:
    fast = Point("fast", "pass", Cost(1.0), Cost(3.0, 2.0, 4.0), 10)
    middle = Point("middle", "pass", Cost(2.0), Cost(2.0, 0.5, 3.5), 10)
    exact = Point("exact", "pass", Cost(2.0), Cost(1.0, 0.0, 1.9), 20)
    assert dominates(fast, middle)
    assert dominates(middle, exact)
    assert not dominates(fast, exact)  # which is measurably more accurate
    assert find_front([exact, middle, fast]) == [exact, fast]


@given(points())
def test_the_words_name_every_point_once_on_the_front_or_behind_it(given: list[Point]) -> None:
    sentences = front_in_words(given)
    front = {point.label for point in find_front(given)}
    first = sentences[0].removeprefix("On the front, the fastest first: ").rstrip(".").split(", ") if sentences else []
    assert set(first) == front
    behind = [name for line in sentences[1:] for name in re.findall(r"v\d+", line.split(" than ")[1])]
    assert sorted(behind) == sorted(point.label for point in given if point.label not in front)


def test_a_failing_variant_on_the_front_is_marked_and_what_it_beats_is_named() -> None:
    near = [
        Point("small", "fail", Cost(1.0, 0.9, 1.1), Cost(0.0), 10),
        Point("large", "pass", Cost(1.05, 1.0, 1.2), Cost(0.0), 20),
        Point("slow", "pass", Cost(1.5, 1.4, 1.6), Cost(0.0), 30),
    ]
    first, second, third = front_in_words(near)
    assert "small (which fails)" in first
    assert second == "small is smaller than large, and not measurably worse in anything."
    assert third == "small is faster and smaller than slow, and not measurably worse in anything."


def test_of_many_variants_that_are_beaten_a_dozen_are_named() -> None:
    slow = [Point(f"v{k}", "pass", Cost(2.0), Cost(0.0), 10) for k in range(20)]
    _, sentence = front_in_words([Point("fast", "pass", Cost(1.0), Cost(0.0), 10), *slow])
    assert sentence.startswith("fast is faster than v0, v1, ")
    assert sentence.endswith("v11 and 8 others, and not measurably worse in anything.")


def test_neither_one_sample_of_a_thousand_nor_an_unstable_timing_beats_anything(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    plain = variant(document, "plain", ms=1.0)
    lucky = variant(document, "lucky", ms=1.1, parity=dropped(plain, lost=0, won=1))
    one, other = points_of([plain, lucky])
    assert dominates(one, other)  # measurably faster; one more sample is not a difference
    blocks = tuple(replace(block, median_ms=ms) for block, ms in zip(lucky.blocks, (1.0, 1.2), strict=False))
    shaky = replace(lucky, stable=False, blocks=blocks)
    wide = latency_of(shaky)
    assert wide == Cost(1.1, 1.0, 1.2, turns=(1.0, 1.2))
    assert find_front(points_of([plain, shaky])) == points_of([plain, shaky])
    emulated = [replace(result, emulated=True) for result in (plain, lucky)]
    assert latency_of(emulated[0]) is None
    assert len(find_front(points_of(emulated))) == 2
    lost = variant(document, "lost", ms=1.0, parity=dropped(plain, lost=40, won=0))
    assert [point.label for point in find_front(points_of([plain, lost]))] == ["plain"]


def test_variants_on_two_devices_do_not_beat_each_other(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    here, there = variant(document, "int8", ms=1.0), variant(document, "int8", ms=5.0, device="pi")
    both = points_of([here, there])
    assert [point.label for point in find_front(both)] == ["int8 on local", "int8 on pi"]


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
    assert one.cost.value < other.cost.value  # no error is better than any error
    assert other.cost == Cost(-30.0, -33.0, -28.0)  # the worst output, with its interval
    picture = draw_pareto(both)
    assert picture is not None
    assert "a $b_$ &amp; &lt;c&gt; (no error)" in picture  # not a formula, and escaped
    assert "SQNR" in picture


def test_of_many_variants_only_those_on_the_front_have_their_names_in_the_picture(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    beaten = [variant(document, f"slow-{k}", ms=2.0 + k, size=2000) for k in range(24)]
    best = variant(document, "best", ms=1.0, size=1000)
    picture = draw_pareto((best, *beaten))
    assert picture is not None
    assert "best" in picture
    assert "slow-" not in picture
    assert marks_in_words((best, *beaten)).endswith("of 25 variants those on the front have their names.")
    equal = [variant(document, f"equal-{k}", ms=1.0 + k / 1e6) for k in range(30)]
    picture = draw_pareto(equal)
    assert picture is not None
    assert "equal-0" in picture
    assert "equal-29" not in picture
    assert "the fastest 24 of 30 on the front have" in marks_in_words(equal)
    assert "names" not in marks_in_words(beaten)
