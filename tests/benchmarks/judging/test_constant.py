"""Columns that are the same for every sample fail, whatever the output is judged by."""

from __future__ import annotations

import numpy as np
import pytest

from edgetf.benchmarks.judging.distinct import Distinct
from edgetf.benchmarks.judging.label_metrics import built_in_metrics
from edgetf.benchmarks.judging.labels import Numbers, interpret
from edgetf.benchmarks.judging.parity import compare
from edgetf.benchmarks.judging.verdict import Budgets, judge_parity
from edgetf.results import OutputFigures, Parity, Verdict

RANDOM = np.random.default_rng(0)
ONE = "column 7 of axis 1 is the same for every sample, but the reference's is not"


def _with(values: Numbers, column: int, what: Numbers | float) -> Numbers:
    values = values.copy()
    values[:, column] = what
    return values


def _figures(reference: Numbers, variant: Numbers, labels: Numbers | None = None) -> OutputFigures:
    return compare("y", reference, variant, interpret({"y": reference}, labels)["y"])


def _judge(reference: Numbers, variant: Numbers, labels: Numbers | None = None) -> Parity:
    read = interpret({"y": reference}, labels)
    metrics = built_in_metrics({"y": reference}, {"y": variant}, read)
    return judge_parity("int8", len(reference), [_figures(reference, variant, labels)], Budgets(), metrics)


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("labelled", [False, True])
def test_a_constant_column_of_whole_numbers_fails_and_is_named(columns: int, labelled: bool) -> None:
    reference = RANDOM.integers(0, 5, (300, columns))
    found = _judge(reference, _with(reference, 7, 0), reference if labelled else None)
    assert found.outputs[0].agreement is not None
    assert found.outputs[0].agreement.share > 0.98
    assert (found.verdict, found.outputs[0].reason) == (Verdict.FAIL, ONE)


def test_a_constant_column_of_a_regression_fails_and_is_named() -> None:
    truth = RANDOM.normal(size=(400, 150)).astype(np.float32)
    reference = truth + RANDOM.normal(0, 0.3, truth.shape).astype(np.float32)
    found = _judge(reference, _with(reference, 7, 0), truth)
    assert found.metrics[0].verdict is Verdict.PASS
    assert (found.verdict, ONE in found.reason) == (Verdict.FAIL, True)
    assert _judge(reference, reference + np.float32(1e-3), truth).verdict is Verdict.PASS


@pytest.mark.parametrize("shape", [(200, 200), (200, 40, 9), (200, 9, 200)])
def test_a_constant_column_of_numbers_fails_along_every_axis(shape: tuple[int, ...]) -> None:
    reference = RANDOM.normal(size=shape)
    variant = _with(reference + RANDOM.normal(0, 0.01, shape), 7, 0.2)
    figures = _figures(reference, variant)
    assert ONE in figures.problems
    assert judge_parity("int8", 200, [figures], Budgets()).verdict is Verdict.FAIL
    assert not _figures(reference, variant + 1e-3 * RANDOM.normal(size=shape)).problems


def test_several_constant_columns_are_named_together() -> None:
    reference = RANDOM.integers(0, 5, (300, 100))
    variant = reference.copy()
    variant[:, [3, 7, 8, 9]] = 1
    assert _figures(reference, variant).problems == (
        "columns 3, 7 to 9 of axis 1 are the same for every sample, but the reference's are not",
    )


def test_a_faint_column_that_quantization_makes_constant_is_no_problem() -> None:
    """Features that are hardly ever used are zero in int8: the SQNR decides, or the labels."""
    reference = RANDOM.normal(size=(200, 100)) * np.where(np.arange(100) == 7, 0.05, 1)
    step = np.abs(reference).max() / 127
    assert not _figures(reference, _with(reference, 7, 0)).problems
    coarse = reference * np.where(np.arange(100) == 7, 3, 1)
    assert not _figures(coarse, _with(np.round(coarse / (8 * step)) * 8 * step, 7, 0)).problems


@pytest.mark.parametrize("whole", [False, True])
def test_a_column_that_varies_in_few_samples_shows_nothing(whole: bool) -> None:
    reference = RANDOM.integers(0, 5, (300, 100)) if whole else RANDOM.normal(size=(300, 100))
    rare, often = (_with(reference, 7, np.where(np.arange(300) < n, 4, 1)) for n in (3, 30))
    assert not _figures(rare, _with(rare, 7, 1)).problems
    assert _figures(often, _with(often, 7, 1)).problems == (ONE,)


def test_copies_of_a_sample_are_no_more_evidence() -> None:
    reference = RANDOM.integers(0, 5, (10, 100)).repeat(30, axis=0)
    variant, distinct = _with(reference, 7, reference[0, 7]), Distinct(np.arange(10).repeat(30))
    read = interpret({"y": reference}, None)["y"]
    assert compare("y", reference, variant, read).problems == (ONE,)
    assert not compare("y", reference, variant, read, distinct=distinct).problems


def test_probabilities_of_classes_that_hardly_occur_may_be_constant() -> None:
    logits = RANDOM.normal(size=(200, 300)) * 2 - RANDOM.uniform(0, 9, 300)
    reference = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    quantized = np.round(reference * 256) / 256
    assert (quantized == 0).all(axis=0).any()
    assert not _figures(reference, quantized).problems


def test_the_border_of_a_map_may_be_one_class() -> None:
    """The first row of the reference has another class in four samples, and a few positions."""
    reference = RANDOM.integers(0, 3, (100, 20, 30))
    reference[:, 0] = 0
    reference[:4, 0, 3:5] = 1
    assert not _figures(reference, _with(reference, 0, 0)).problems


def test_labels_show_which_decisions_are_lost() -> None:
    truth = RANDOM.integers(0, 5, (300, 50))
    truth[:, 7] = 0
    reference = _with(truth, 7, RANDOM.integers(0, 5, 300))  # of this column the reference knows nothing
    assert not _figures(reference, truth, truth).problems


def test_a_probability_on_one_side_of_a_half_for_every_sample_is_undecided_without_labels() -> None:
    """The signal-to-noise ratio is fine: the few samples of the other class lie just above a half."""
    random = np.random.default_rng(0)
    reference = random.uniform(0, 0.3, size=(10_000, 1)).astype(np.float32)
    reference[:50] = 0.6
    variant = np.where(reference > 0.5, 0.49, reference).astype(np.float32)
    judged = _judge(reference, variant)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "it is at most 0.5 for every sample, but the reference is not" in judged.reason
    assert _judge(reference, reference - np.float32(1e-3)).verdict is Verdict.PASS
    assert _judge(10 * reference, 10 * variant).verdict is Verdict.PASS  # numbers, which decide nothing
    assert _judge(reference, variant, (reference[:, 0] > 0.5).astype(np.int64)).verdict is Verdict.FAIL
