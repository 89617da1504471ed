from __future__ import annotations

import numpy as np

from edgetf.benchmarks.report.confusion import MOST_SWAPS, count_swaps

NAMES = ("int8", "scores")


def test_few_classes_are_a_matrix_of_those_that_take_part_with_who_was_right() -> None:
    theirs, ours = np.array([0, 0, 1, 2, 4, 4]), np.array([0, 1, 1, 1, 2, 2])
    found = count_swaps(*NAMES, theirs, ours, classes=5, truth=np.array([0, 0, 1, 0, 2, 4]))
    assert (found.n, found.differ) == (6, 4)
    assert found.classes == (0, 1, 2, 4)
    assert [[found.count(a, b) for b in found.classes] for a in found.classes] == [
        [0, 1, 0, 0],
        [0, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 2, 0],
    ]
    assert (found.reference_right, found.variant_right) == (2, 1)
    assert found.swaps[0].n == 2  # the most common first
    assert (found.swaps[0].reference_right, found.swaps[0].variant_right) == (1, 1)
    assert (found.shade(0), found.shade(1), found.shade(2)) == (0, 2, 4)


def test_many_classes_are_a_list_of_the_most_common_swaps_and_a_count_of_the_others() -> None:
    theirs = np.concatenate([np.arange(30), np.zeros(5, np.int64)])
    ours = np.concatenate([np.arange(30) + 100, np.full(5, 100)])
    found = count_swaps(*NAMES, theirs, ours, classes=1000, truth=None)
    assert found.classes == ()
    assert len(found.swaps) == MOST_SWAPS
    assert (found.swaps[0].reference, found.swaps[0].variant, found.swaps[0].n) == (0, 100, 6)
    assert found.more == 30 - MOST_SWAPS
    assert found.reference_right is None


def test_equal_decisions_have_no_confusion() -> None:
    same = np.array([1, 2, 3])
    found = count_swaps(*NAMES, same, same, classes=4, truth=same)
    assert (found.differ, found.swaps, found.classes, found.more) == (0, (), (), 0)
