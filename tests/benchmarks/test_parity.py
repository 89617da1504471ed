from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.benchmarks import parity
from edgetf.benchmarks.parity import compare, fit_labels
from edgetf.errors import EdgetfError

RANDOM = np.random.default_rng(0)
DENSE = RANDOM.normal(size=(50, 4, 3)).astype(np.float32)
LOGITS = RANDOM.normal(size=(50, 4)).astype(np.float32)
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
CLASSES = LOGITS.argmax(axis=1)


def test_no_error_has_no_sqnr() -> None:
    found = compare("y", DENSE, DENSE.copy(), None)
    assert (found.max_abs, found.mean_abs, found.sqnr_db) == (0, 0, None)
    assert found.cosine == pytest.approx(1)
    assert not found.problems
    assert not found.doubts


@given(st.floats(1e-4, 10), st.integers(0, 2**32 - 1))
def test_errors_are_those_of_the_definitions(size: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, size, DENSE.shape)
    found = compare("y", DENSE, DENSE + noise, None)
    assert found.max_abs == pytest.approx(np.abs(noise).max())
    assert found.mean_abs == pytest.approx(np.abs(noise).mean())
    assert found.sqnr_db == pytest.approx(10 * np.log10((DENSE.astype(float) ** 2).sum() / (noise**2).sum()))
    ours = (DENSE + noise).ravel()
    assert found.cosine == pytest.approx(DENSE.ravel() @ ours / np.linalg.norm(DENSE) / np.linalg.norm(ours), abs=1e-6)
    assert found.sqnr_db is not None
    assert found.centred_db is not None
    assert found.centred_low_db is not None
    assert found.centred_high_db is not None
    assert found.centred_low_db <= found.centred_db <= found.centred_high_db
    signal = ((DENSE - DENSE.mean(axis=0, dtype=float)) ** 2).sum()
    assert found.centred_db == pytest.approx(10 * np.log10(signal / (noise**2).sum()))


def test_blocks_do_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = DENSE + RANDOM.normal(0, 0.1, DENSE.shape)
    whole = compare("y", DENSE, noisy, None)
    monkeypatch.setattr(parity, "_BLOCK", 36)  # three samples at once, the last block shorter
    pieces = compare("y", DENSE, noisy, None)
    assert pieces.max_abs == whole.max_abs
    assert (pieces.sqnr_db, pieces.mean_abs) == pytest.approx((whole.sqnr_db, whole.mean_abs))
    assert (pieces.centred_db, pieces.centred_low_db) == pytest.approx((whole.centred_db, whole.centred_low_db))


def test_probabilities_are_decisions_without_labels_and_logits_only_with() -> None:
    flipped = PROBABILITIES.copy()
    flipped[:5] = np.roll(flipped[:5], 1, axis=1)
    found = compare("p", PROBABILITIES, flipped).agreement
    assert found is not None
    assert (found.same, found.n) == (45, 50)
    assert compare("z", LOGITS, LOGITS + 0.1).agreement is None
    accuracy = compare("z", LOGITS, np.roll(LOGITS, 1, axis=1), CLASSES).accuracy
    assert accuracy is not None
    assert (accuracy.reference, accuracy.variant) == (1.0, 0.0)


def test_one_column_decides_at_one_half_when_labels_are_binary() -> None:
    reference = np.array([[0.1], [0.9], [0.6], [0.4]], np.float32)
    variant = np.array([[0.2], [0.8], [0.4], [0.3]], np.float32)
    found = compare("p", reference, variant, np.array([0, 1, 1, 0]))
    assert found.accuracy is not None
    assert found.accuracy.drop_points == 25
    assert compare("p", reference, variant).agreement is None


@pytest.mark.parametrize("labels", [CLASSES, CLASSES.astype(np.float32), np.eye(4)[CLASSES], CLASSES[:, None]], ids=str)
def test_labels_may_be_integers_whole_floats_or_one_hot(labels: parity.Numbers) -> None:
    fitting, doubts = fit_labels({"z": LOGITS}, labels)
    np.testing.assert_array_equal(fitting["z"], CLASSES)
    assert doubts == ()


@pytest.mark.parametrize(
    "labels",
    [np.full(50, -1), np.linspace(0, 1, 50), np.random.default_rng(0).normal(size=(50, 2)), np.full(50, 1 << 40)],
    ids=["negative", "not whole", "two each", "huge"],
)
def test_labels_that_are_no_classes_are_not_used_and_no_doubt(labels: parity.Numbers) -> None:
    assert fit_labels({"z": LOGITS}, labels) == ({}, ())
    assert compare("p", PROBABILITIES, PROBABILITIES).agreement is not None


@pytest.mark.parametrize("labels", [(CLASSES + 1) % 4, np.full(50, 4), np.zeros(50, int)], ids=["off", "large", "same"])
def test_a_reference_that_is_no_better_than_guessing_puts_everything_in_doubt(labels: parity.Numbers) -> None:
    """Labels that are off by one give an accuracy of 0, which any variant would keep."""
    fitting, doubts = fit_labels({"z": LOGITS}, labels)
    assert fitting == {}
    assert "the labels fit no output" in doubts[0]
    assert compare("z", LOGITS, LOGITS + 0.1, None, doubts).doubts == doubts


def test_labels_go_to_the_output_that_they_fit_and_to_no_other() -> None:
    embedding = RANDOM.normal(size=(50, 64))
    fitting, doubts = fit_labels({"embedding": embedding, "z": LOGITS}, CLASSES)
    assert list(fitting) == ["z"]
    assert doubts == ()


def test_nothing_passes_by_being_empty() -> None:
    broken = DENSE.copy()
    broken[3, 0, 0] = np.nan
    broken[4, 0, 0] = np.inf
    assert compare("y", DENSE, broken, None).problems == ("2 values are NaN or infinite",)
    assert "same for every sample" in compare("y", DENSE, np.zeros_like(DENSE) + 0.5, None).problems[0]
    assert "show nothing" in compare("y", np.ones((5, 2)), np.ones((5, 2)), None).doubts[0]
    with pytest.raises(EdgetfError, match=r"has shape \[50, 4\], the reference's has \[50, 4, 3\]"):
        compare("y", DENSE, LOGITS, None)


def test_a_reference_with_nan_is_a_problem_and_never_an_agreement() -> None:
    """On a ladder, what a step is compared with may itself be broken."""
    reference = np.random.default_rng(0).normal(size=(50, 4))
    variant = reference + 50
    reference[3, 1] = np.nan
    found = compare("y", reference, variant)
    assert found.max_abs >= 50
    assert found.problems == ("1 values of what it is compared with are NaN or infinite",)
    assert np.isfinite(found.sqnr_db or 0.0)
