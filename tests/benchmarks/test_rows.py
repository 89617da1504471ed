from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgetf.benchmarks.judging.parity import compare
from edgetf.benchmarks.judging.verdict import Budgets, judge_output
from edgetf.benchmarks.rows import Outputs, stack, together
from edgetf.results import Verdict


def _side(*samples: list[tuple[float, float]]) -> Outputs:
    """Boxes of two numbers and a score each, of any number of rows."""
    boxes, shapes = stack(
        [np.array([[row[0], -row[0]] for row in rows], np.float32).reshape(1, -1, 2) for rows in samples]
    )
    scores, known = stack([np.array([row[1] for row in rows], np.float32).reshape(1, -1) for rows in samples])
    found = {} if shapes is None or known is None else {"boxes": shapes, "scores": known}
    names = frozenset({"boxes", "scores"})
    return Outputs({"boxes": boxes, "scores": scores}, found, names, names)


def test_rows_that_are_swapped_are_compared_each_with_its_own() -> None:
    theirs, ours = together(_side([(1, 0.9), (5, 0.8)], [(2, 0.7)]), _side([(5.1, 0.81), (1, 0.8)], [(2, 0.7)]))
    np.testing.assert_allclose(np.asarray(ours["boxes"][0, :, 0], np.float64), [1, 5.1], rtol=1e-6)
    np.testing.assert_allclose(
        np.asarray(ours["scores"][0], np.float64), [0.8, 0.81], rtol=1e-6
    )  # a score stays with its box
    assert ours["boxes:rows"].tolist() == theirs["boxes:rows"].tolist() == [2, 1]


def test_a_missing_row_is_zeros_and_the_numbers_of_rows_differ() -> None:
    theirs, ours = together(_side([(1, 0.9), (5, 0.8)]), _side([(5, 0.8)]))
    assert ours["boxes"][0, :, 0].tolist() == [0, 5]
    assert (theirs["boxes:rows"].tolist(), ours["boxes:rows"].tolist()) == ([2], [1])
    theirs, ours = together(_side([(5, 0.8)]), _side([(1, 0.9), (5, 0.8), (7, 0.1)]))
    assert ours["boxes"][0, :, 0].tolist()[0] == 5
    assert sorted(ours["boxes"][0, :, 0].tolist()) == [1, 5, 7]
    assert theirs["boxes"].shape == ours["boxes"].shape == (1, 3, 2)


def test_outputs_of_one_shape_are_unchanged() -> None:
    one = Outputs({"y": np.zeros((4, 3))})
    other = Outputs({"y": np.zeros((4, 2))})  # an error that the comparison reports
    theirs, ours = together(one, other)
    assert (theirs["y"].shape, ours["y"].shape) == ((4, 3), (4, 2))


def test_an_output_without_rows_is_a_row_of_zeros() -> None:
    theirs, ours = together(_side([], [(1, 0.5)]), _side([], []))
    assert theirs["boxes"].shape == ours["boxes"].shape == (2, 1, 2)
    assert theirs["scores:rows"].tolist() == [0, 1]
    assert ours["scores:rows"].tolist() == [0, 0]


def _series(values: Any, lengths: Any) -> Outputs:
    shapes = np.stack([lengths, np.full_like(lengths, values.shape[2])], axis=1)
    return Outputs({"frames": values}, {"frames": shapes}, frozenset({"frames"}), frozenset({"frames"}))


@pytest.mark.parametrize("rarely", [False, True])
@pytest.mark.parametrize("shift", [1, -1])
def test_frames_that_are_shifted_in_time_are_compared_in_their_order(shift: int, rarely: bool) -> None:
    """A column that is 0 but for one frame at a beginning (`rarely`) sorts nothing either."""
    random = np.random.default_rng(0)
    frames = random.normal(size=(40, 20, 6)).astype(np.float32)
    if rarely:
        frames[..., 5], frames[0, 0, 5] = 0, 1
    lengths = np.where(np.arange(40) % 2, 19, 20)
    frames[lengths == 19, 19] = 0
    late = frames.copy()
    for k, length in enumerate(lengths):
        late[k, :length] = np.roll(frames[k, :length], shift, axis=0)
    one, other = together(_series(frames, lengths), _series(late, lengths))
    assert np.array_equal(other["frames"], late)
    judged = judge_output("int8", 40, compare("frames", one["frames"], other["frames"]), Budgets())
    assert judged.verdict is Verdict.FAIL


def test_a_column_of_the_same_output_may_be_the_score() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 6, 5)).astype(np.float32)
    rows[..., 4] = -np.sort(-random.uniform(size=(40, 6)), axis=1)
    rows[:, 1, 4] = rows[:, 0, 4]  # a tie, which either side may put first
    swapped = rows[:, [1, 0, 2, 3, 4, 5]]
    lengths = np.where(np.arange(40) % 2, 5, 6)
    for side in (rows, swapped):
        side[lengths == 5, 5] = 0
    _, other = together(_series(rows, lengths), _series(swapped, lengths))
    assert np.array_equal(other["frames"], rows)


def test_outputs_that_are_empty_for_all_samples_get_a_verdict() -> None:
    names, empty = frozenset({"boxes"}), Outputs({"boxes": np.zeros((40, 0, 4), np.float32)})
    some = Outputs({"boxes": np.ones((40, 3, 4), np.float32)})
    one, other = together(replace(empty, unbatched=names, loose=names), empty)
    assert one["boxes"].shape == other["boxes"].shape == (40, 1, 4)
    assert one["boxes:rows"].tolist() == other["boxes:rows"].tolist() == [0] * 40
    assert all(compare(name, one[name], other[name]).max_abs == 0 for name in one)
    one, other = together(empty, some)
    assert (one["boxes"].shape, other["boxes:rows"][0]) == ((40, 3, 4), 3)
