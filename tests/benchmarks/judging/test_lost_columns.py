"""Columns of values that labels show to be lost."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgetf.benchmarks.judging import labels
from edgetf.benchmarks.judging.label_metrics import built_in_metrics
from edgetf.benchmarks.judging.labels import Numbers, interpret
from edgetf.benchmarks.judging.lost_columns import lost_columns
from edgetf.benchmarks.judging.parity import compare
from edgetf.benchmarks.judging.verdict import Budgets, judge_parity
from edgetf.results import Parity, Verdict

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.normal(size=(400, 150))
REFERENCE = TRUTH + RANDOM.normal(0, 0.3, TRUTH.shape)


def _judge(reference: Numbers, variant: Numbers, truth: Numbers) -> Parity:
    read = interpret({"y": reference}, truth)
    figures = compare("y", reference, variant, read["y"])
    metrics = built_in_metrics({"y": reference}, {"y": variant}, read)
    return judge_parity("int8", len(reference), [figures], Budgets(), metrics)


def _lost(reference: Numbers, variant: Numbers, truth: Numbers) -> tuple[str, ...]:
    return lost_columns(reference, variant, truth, np.ones(len(truth), bool))


def test_a_column_that_is_no_better_than_a_constant_answer_fails_although_the_error_passes() -> None:
    variant = REFERENCE.copy()
    variant[:, 7] = RANDOM.normal(size=400)
    found = _judge(REFERENCE, variant, TRUTH)
    assert found.metrics[0].verdict is Verdict.PASS
    assert found.verdict is Verdict.FAIL
    assert re.search(r"column 7 of axis 1 is lost: the error is 1\d\d% of .* the reference's is \d\d%", found.reason)


def test_scores_beside_boxes_are_lost_in_every_layout() -> None:
    truth = np.concatenate([640 * RANDOM.uniform(size=(100, 4, 5, 6)), RANDOM.uniform(size=(100, 3, 5, 6))], axis=1)
    reference = truth * RANDOM.uniform(0.95, 1.05, truth.shape)
    variant = reference.copy()
    variant[:, 4:] = 0
    found = _judge(reference, variant, truth)
    assert (found.verdict, "columns 4 to 6 of axis 1 are lost" in found.reason) == (Verdict.FAIL, True)
    assert _lost(reference, variant, truth) == _lost(reference, variant, truth)[:1]


def test_what_the_reference_does_not_know_cannot_be_lost() -> None:
    """A column that nothing predicts: the reference's answers hardly vary, and the variant's not at all."""
    reference, variant = REFERENCE.copy(), REFERENCE.copy()
    reference[:, 7] = RANDOM.normal(0, 0.02, 400)
    variant[:, 7] = 0
    assert _lost(reference, variant, TRUTH) == ()
    assert _judge(reference, variant, TRUTH).verdict is Verdict.PASS


@pytest.mark.parametrize(("kept", "lost"), [(1.0, False), (0.6, False), (0.05, True)])
def test_a_column_is_lost_only_if_hardly_anything_is_kept(kept: float, lost: bool) -> None:
    variant = REFERENCE.copy()
    variant[:, 7] *= kept
    assert bool(_lost(REFERENCE, variant, TRUTH)) is lost


@pytest.mark.parametrize("n", [5, 9])
def test_a_few_samples_show_nothing(n: int) -> None:
    assert _lost(REFERENCE[:n], 0 * REFERENCE[:n], TRUTH[:n]) == ()


def test_blocks_do_not_change_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    variant = REFERENCE.copy()
    variant[:, 7] = RANDOM.normal(size=400)
    whole = _lost(REFERENCE, variant, TRUTH)
    monkeypatch.setattr(labels, "BLOCK", 1000)
    assert _lost(REFERENCE, variant, TRUTH) == whole
    assert whole[0].startswith("column 7")


def test_a_good_variant_hardly_ever_loses_a_column() -> None:
    """200 variants of weak references with twenty columns, of which the noise of the variant is a fifth."""
    lost = 0
    for _ in range(200):
        truth = RANDOM.normal(size=(20, 20))
        reference = truth * RANDOM.uniform(0, 1, 20) + RANDOM.normal(0, 0.3, truth.shape)
        lost += bool(_lost(reference, reference + RANDOM.normal(0, 0.2, truth.shape), truth))
    assert lost <= 2
