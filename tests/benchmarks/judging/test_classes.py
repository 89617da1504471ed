from __future__ import annotations

import numpy as np

from edgetf.benchmarks.judging.classes import by_class


def test_a_class_that_is_never_answered_is_a_doubt_however_few_labels_it_has() -> None:
    truth = np.array([0] * 398 + [1] * 398 + [2] * 4)
    theirs = truth.copy()
    theirs[:14] = 2  # wrong on these, and
    theirs[797:] = 1  # right on one of its four
    ours = np.where(theirs == 2, 0, theirs)
    found = by_class(theirs, ours, truth)
    assert found.lost == ()
    assert found.fading == ("class 2 may be lost: it is never answered, but 15 times by the reference",)


def test_a_class_that_is_answered_for_other_samples_is_not_lost() -> None:
    truth = np.arange(300) % 3
    theirs, ours = truth.copy(), truth.copy()
    ours[:3] = (1, 2, 0)
    assert by_class(theirs, ours, truth).fading == ()
