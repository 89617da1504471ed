"""The front of candidates, and the bisection on it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edgetf.recipes import Aim
from edgetf.results import Verdict
from edgetf.tuning.search import Standing, Work, bisect, find_front

STANDINGS = st.lists(
    st.builds(
        lambda plain, size, ms, db: (plain, size, ms, db),
        st.booleans(),
        st.integers(1000, 1060),
        st.sampled_from([0.5, 0.51, 0.6, 1.0]),
        st.sampled_from([10.0, 20.0, 30.0, 40.0]),
    ),
    min_size=1,
    max_size=12,
)


@given(STANDINGS, st.sampled_from(list(Aim)))
def test_whoever_costs_more_on_the_front_is_nearer_and_all_others_are_beaten(
    rows: list[tuple[bool, int, float, float]], aim: Aim
) -> None:
    standings = [Standing(f"c{k}", *row) for k, row in enumerate(rows)]
    by_name = {one.name: one for one in standings}
    front, beaten = find_front(standings, aim)
    assert front
    for one, other in pairwise(front):
        assert one.cost(aim) <= other.cost(aim)
        assert one.db < other.db
    assert {one.name for one in front} | {one.name for one in beaten} == set(by_name)
    assert max(one.db for one in standings) == front[-1].db
    for pair in beaten:
        assert by_name[pair.by].db >= by_name[pair.name].db
        (step, size), (other_step, other_size) = (by_name[name].cost(aim) for name in (pair.by, pair.name))
        assert (step, 0.99 * size) <= (other_step, other_size)


def test_a_mixture_that_is_hardly_smaller_than_a_plain_variant_is_useless() -> None:
    plain = Standing("dynamic", True, 10_000, 1.0, 40.0)
    a_little, enough = (Standing(f"mix-{size}", False, size, 1.0, 39.0) for size in (9_950, 9_800))
    front, beaten = find_front([plain, a_little, enough], Aim.SIZE)
    assert [one.name for one in front] == ["mix-9800", "dynamic"]
    assert [(one.name, one.by) for one in beaten] == [("mix-9950", "dynamic")]


def test_the_smaller_file_is_cheaper_if_the_latencies_are_equivalent() -> None:
    large, small = Standing("float16", True, 2000, 1.0, 70.0), Standing("weights", True, 1000, 1.01, 60.0)
    slow = Standing("dynamic", True, 900, 1.4, 50.0)
    front, beaten = find_front([large, small, slow], Aim.LATENCY)
    assert [one.name for one in front] == ["weights", "float16"]
    assert [one.name for one in beaten] == ["dynamic"]


def test_a_candidate_that_is_larger_and_farther_is_useless() -> None:
    small, large = Standing("mix-1", False, 900, 1.0, 40.0), Standing("int8", True, 1000, 1.0, 30.0)
    front, beaten = find_front([large, small], Aim.SIZE)
    assert [one.name for one in front] == ["mix-1"]
    assert beaten[0].by == "mix-1"


@given(st.integers(1, 40), st.integers(0, 40))
def test_bisection_finds_the_cheapest_that_passes_with_few_evaluations(count: int, first: int) -> None:
    asked = []

    def evaluate(number: int) -> Verdict:
        asked.append(number)
        return Verdict.PASS if number >= first else Verdict.FAIL

    found = bisect(count, evaluate, most=6)
    assert found == (first if first < count else None)
    assert len(asked) == len(set(asked)) <= count.bit_length()


@given(st.integers(1, 200), st.integers(1, 8))
def test_no_more_evaluations_than_are_allowed_and_the_best_so_far_counts(count: int, most: int) -> None:
    asked = []

    def evaluate(number: int) -> Verdict:
        asked.append(number)
        return Verdict.PASS

    found = bisect(count, evaluate, most)
    assert len(asked) <= most
    assert found == min(asked)


@given(st.integers(1, 200), st.integers(1, 8))
def test_nothing_passes_only_after_the_nearest_to_float32_was_evaluated(count: int, most: int) -> None:
    asked = []

    def evaluate(number: int) -> Verdict:
        asked.append(number)
        return Verdict.FAIL

    assert bisect(count, evaluate, most) is None
    assert asked[-1] == count - 1
    assert bisect(count, lambda number: Verdict.PASS if number == count - 1 else Verdict.FAIL, most) == count - 1


def test_a_mixture_with_hybrid_operations_may_be_faster_than_float32() -> None:
    float32, same_size = Work(0, 0, 1, 800, 120.0), Work(0, 0, 1, 800, 60.0)
    weights, hybrid, fixed = Work(0, 0, 1, 200, 60.0), Work(0, 4, 1, 200, 50.0), Work(4, 4, 1, 200, 40.0)
    assert float32.beats(same_size)
    for one in (float32, hybrid, fixed):
        for other in (weights, hybrid, fixed):
            assert not one.beats(other)
    assert not float32.beats(float32)


def test_an_inconclusive_verdict_is_not_a_pass() -> None:
    assert bisect(3, lambda number: Verdict.INCONCLUSIVE, most=6) is None
