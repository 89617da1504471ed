"""What differs between sessions, and comparisons that include it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgetf.benchmarks.history.sessions import ASSUMED, WEIGHT, Ratio, Session, Side, Spread, compare_sides, spread_of
from tests.performance.sessions import compare_measured, draw, simulate

_ALPHA = 0.05


def _compare(
    random: np.random.Generator, deviation: float, sessions: tuple[int, int], repeats: int, ratio: float = 1.0
) -> Ratio:
    """Two files, the second `ratio` times as slow, each measured in so many sessions; the first also `repeats` times
    before."""
    old, new, before = (np.exp(random.normal(0, deviation, n)) for n in (*sessions, repeats))
    history = [Session("before", "a", x) for x in before] + [Session("old", "a", x) for x in old]
    history += [Session("new", "b", ratio * x) for x in new]
    one, other = (Side([s.median_ms for s in history if s.commit == name], 0.0, 5) for name in ("old", "new"))
    return compare_sides(one, other, spread_of(history, ("old", "new")), _ALPHA)


@pytest.mark.parametrize(
    ("deviation", "sessions", "repeats"),
    [
        (ASSUMED, (1, 1), 0),
        (ASSUMED, (1, 1), 10),
        (ASSUMED, (3, 2), 0),
        (ASSUMED / 4, (1, 1), 0),
        (3 * ASSUMED, (1, 1), 60),
        (3 * ASSUMED, (5, 5), 60),
    ],
)
def test_sessions_of_equal_files_are_called_different_in_at_most_five_of_100_cases(
    deviation: float, sessions: tuple[int, int], repeats: int
) -> None:
    random = np.random.default_rng(1)
    found = [_compare(random, deviation, sessions, repeats) for _ in range(1000)]
    assert np.mean([one.p < _ALPHA for one in found]) < 0.065  # more happens once in 70 times at 5 %
    assert all((one.low > 1 or one.high < 1) == (one.p < _ALPHA) for one in found)


def test_a_real_difference_is_found_and_more_sessions_find_a_smaller_one() -> None:
    random = np.random.default_rng(2)
    shares = [
        np.mean([_compare(random, ASSUMED, (n, n), 10, ratio=1 + 2.5 * ASSUMED).low > 1 for _ in range(300)])
        for n in (1, 2, 4)
    ]
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.9


def test_the_deviation_is_that_of_sessions_of_one_file_and_the_assumption() -> None:
    found = spread_of([Session("x", "a", 1.0), Session("y", "a", 1.1), Session("y", "b", 7.0), Session("z", "b", 7.7)])
    square = math.log(1.1) ** 2 / 2  # of each file: the squared deviations of two sessions
    assert found.repeats == 2
    assert found.deviation == pytest.approx(math.sqrt((WEIGHT * ASSUMED**2 + 2 * square) / (WEIGHT + 2)))
    assert spread_of([]).deviation == pytest.approx(ASSUMED)


def test_the_difference_that_is_asked_about_does_not_count_as_one_between_sessions() -> None:
    sessions = [Session("old", "a", 1.0), Session("new", "a", 2.0)]
    assert spread_of(sessions, ("old", "new")).repeats == 0
    assert spread_of([*sessions, Session("old", "a", 1.1), Session("other", "a", 5.0)], ("old", "new")).repeats == 1


def test_the_ratio_is_that_of_students_distribution() -> None:
    spread = Spread(0.03, 4)
    found = compare_sides(Side([1.0, 1.02], 0.0, 5), Side([1.2], 0.0, 5), spread, _ALPHA)
    apart, error = math.log(1.2) - math.log(1.02) / 2, 0.03 * math.sqrt(1 / 2 + 1)
    known = stats.t(WEIGHT + 4, apart, error)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx(known.interval(1 - _ALPHA))
    assert found.p == pytest.approx(2 * stats.t(WEIGHT + 4).sf(apart / error))


def test_a_session_with_blocks_that_differ_more_counts_with_their_error() -> None:
    calm, shaky = Side([1.0], 0.0, 5), Side([1.0], 0.1**2, 3)
    found = compare_sides(calm, shaky, Spread(0.02, 0), _ALPHA)
    assert math.log(found.high) == pytest.approx(stats.t(2).isf(_ALPHA / 2) * math.hypot(0.02, 0.1))


def test_the_script_that_simulates_sessions_shows_what_their_own_blocks_do_not_cover() -> None:
    by_blocks, _, by_sessions, found = simulate((ASSUMED, 0.01, 3, 5), 60)
    assert by_blocks > 0.4
    assert by_sessions < 0.15 < found
    measured = list(draw(ASSUMED, 0.01, 8, np.random.default_rng(3)))
    shares = compare_measured(measured)
    assert shares["by blocks"] > 0.4
    assert shares["by sessions"] < 0.15
