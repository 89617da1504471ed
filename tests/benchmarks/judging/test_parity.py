from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgetf.benchmarks.judging import labels
from edgetf.benchmarks.judging.columns import find_groups, is_image
from edgetf.benchmarks.judging.labels import Interpretation, Numbers, interpret
from edgetf.benchmarks.judging.parity import _moments, compare
from edgetf.benchmarks.judging.verdict import Budgets, judge_output
from edgetf.errors import EdgetfError
from edgetf.limits import find_fault
from edgetf.results import LabelUse, Verdict

RANDOM = np.random.default_rng(0)
DENSE = RANDOM.normal(size=(50, 4, 3)).astype(np.float32)
LOGITS = RANDOM.normal(size=(50, 4)).astype(np.float32)
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
CLASSES = LOGITS.argmax(axis=1)


def test_no_error_has_no_sqnr() -> None:
    found = compare("y", DENSE, DENSE.copy())
    assert (found.max_abs, found.mean_abs, found.sqnr_db) == (0, 0, None)
    assert found.cosine == pytest.approx(1)
    assert not found.problems
    assert not found.doubts


@given(st.floats(1e-4, 10), st.integers(0, 2**32 - 1))
def test_errors_are_those_of_the_definitions(size: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, size, DENSE.shape)
    found = compare("y", DENSE, DENSE + noise)
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
    whole = compare("y", DENSE, noisy)
    monkeypatch.setattr(labels, "BLOCK", 36)  # three samples at once, the last block shorter
    pieces = compare("y", DENSE, noisy)
    assert pieces.max_abs == whole.max_abs
    assert (pieces.sqnr_db, pieces.mean_abs) == pytest.approx((whole.sqnr_db, whole.mean_abs))
    assert (pieces.centred_db, pieces.centred_low_db) == pytest.approx((whole.centred_db, whole.centred_low_db))


def _read(reference: Numbers, truth: Numbers | None = None) -> Interpretation:
    return interpret({"y": reference}, truth)["y"]


def test_probabilities_are_decisions_without_labels_and_logits_only_with() -> None:
    flipped = PROBABILITIES.copy()
    flipped[:5] = np.roll(flipped[:5], 1, axis=1)
    found = compare("p", PROBABILITIES, flipped, _read(PROBABILITIES)).agreement
    assert found is not None
    assert (found.same, found.n) == (45, 50)
    assert compare("z", LOGITS, LOGITS + 0.1, _read(LOGITS)).agreement is None
    accuracy = compare("z", LOGITS, np.roll(LOGITS, 1, axis=1), _read(LOGITS, CLASSES)).accuracy
    assert accuracy is not None
    assert (accuracy.reference, accuracy.variant) == (1.0, 0.0)


def test_whole_numbers_are_decisions_for_each_position() -> None:
    classes = RANDOM.integers(0, 5, (40, 6, 6))
    other = classes.copy()
    other[:20, 0, 0] += 1
    found = compare("map", classes, other, _read(classes))
    assert found.integer
    assert found.agreement is not None
    assert (found.agreement.n, found.agreement.positions) == (40, 36)
    assert found.agreement.share == pytest.approx(1 - 20 / (40 * 36))
    assert found.agreement.low < found.agreement.share < found.agreement.high
    assert not found.columns


def test_an_argmax_head_with_labels_has_an_accuracy() -> None:
    found = compare("class", CLASSES, np.roll(CLASSES, 1), _read(CLASSES, CLASSES))
    assert found.accuracy is not None
    assert found.accuracy.reference == 1.0
    assert found.labels is LabelUse.CLASS


def test_one_column_decides_at_one_half_when_labels_are_binary() -> None:
    reference = np.tile(np.array([[0.1], [0.9], [0.6], [0.4]], np.float32), (5, 1))
    variant = np.tile(np.array([[0.2], [0.8], [0.4], [0.3]], np.float32), (5, 1))
    found = compare("p", reference, variant, _read(reference, np.tile([0, 1, 1, 0], 5)))
    assert found.accuracy is not None
    assert found.accuracy.drop_points == 25
    assert compare("p", reference, variant, _read(reference)).agreement is None


# columns ----------------------------------------------------------------------------------------------------------


def _detector(n: int = 60, scores: int = 3) -> NDArray[np.float64]:
    """Boxes from 0 to 640 and scores from 0 to 1, (n, 8, 4 + scores)."""
    return np.concatenate([640 * RANDOM.uniform(size=(n, 8, 4)), RANDOM.uniform(size=(n, 8, scores))], axis=-1)


def test_each_of_a_few_columns_has_its_own_signal_to_noise() -> None:
    reference = _detector()
    variant = reference.copy()
    variant[..., 4:] = 0
    variant[..., :4] += RANDOM.normal(0, 1, variant[..., :4].shape)
    found = compare("y", reference, variant)
    assert found.centred_db is not None
    assert found.centred_db > 40  # over all columns it is excellent
    assert [one.spans for one in found.columns] == [((k, k),) for k in range(7)]
    assert [one.constant for one in found.columns] == [False] * 4 + [True] * 3
    assert all(one.centred_db is not None and one.centred_db > 40 for one in found.columns[:4])
    assert all(one.centred_db is not None and one.centred_db < 0 for one in found.columns[4:])


def test_many_columns_are_grouped_where_their_spread_leaps() -> None:
    reference = _detector(scores=80)
    variant = reference + RANDOM.normal(0, 0.5, reference.shape)
    boxes, scores = compare("y", reference, variant).columns
    assert (boxes.spans, scores.spans) == (((0, 3),), ((4, 83),))
    assert boxes.centred_db is not None
    assert scores.centred_db is not None
    assert boxes.centred_db - scores.centred_db > 50


def test_channels_first_detectors_are_grouped_along_axis_1() -> None:
    reference = np.concatenate([640 * RANDOM.uniform(size=(30, 4, 50)), RANDOM.uniform(size=(30, 3, 50))], axis=1)
    found = compare("y", reference, reference + RANDOM.normal(0, 0.5, reference.shape)).columns
    assert [(one.axis, one.spans) for one in found] == [(1, ((0, 3),)), (1, ((4, 6),))]


def test_columns_of_one_quantity_are_not_examined_separately() -> None:
    image = RANDOM.uniform(size=(30, 8, 8))
    image[:, :, 0] *= 1e-4  # a border that is nearly always black
    assert compare("y", image, np.round(255 * image) / 255, one_quantity=True).columns == ()
    embedding = RANDOM.normal(size=(60, 128)) * RANDOM.uniform(0.3, 3, 128)
    assert compare("y", embedding, embedding + 0.1).columns == ()  # many of one size are one group
    assert compare("p", PROBABILITIES, PROBABILITIES, _read(PROBABILITIES)).columns == ()


def test_many_quantities_whose_spreads_form_a_chain_are_several_groups() -> None:
    spreads = np.array([150, 150, 60, 60, 30, 5, 2] + [0.3] * 12)  # pixels, degrees, metres, speeds, scores
    reference = RANDOM.normal(size=(200, 19)) * spreads
    variant = reference + RANDOM.normal(0, 1e-3, reference.shape)
    variant[:, 7:] = 0
    judged = judge_output("int8", 200, compare("y", reference, variant), Budgets())
    assert (judged.verdict, "to 18 of axis 1" in judged.reason) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    ("row", "inputs", "image"),
    [((8, 8), [(8, 8)], True), ((32, 32, 3), [(32, 32, 3)], True), ((6,), [(6,)], False), ((40, 7), [(40, 7)], False)],
)
def test_only_an_image_of_an_inputs_shape_is_one_quantity(
    row: tuple[int, ...], inputs: list[tuple[int, ...]], image: bool
) -> None:
    assert is_image(row, inputs) is image
    assert not is_image(row, [(9, 9)])


def test_a_column_that_varies_only_by_rounding_is_not_a_group() -> None:
    reference = RANDOM.normal(size=(60, 3)).astype(np.float32)
    reference[:, 1] = np.float32(7) + RANDOM.choice(np.array([0, 4.8e-7], np.float32), 60)
    found = compare("y", reference, reference + np.float32(1e-3)).columns
    assert [one.spans for one in found] == [((0, 0),), ((2, 2),)]


@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_powers_of_all_columns_add_up_to_the_whole(columns: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    reference = random.normal(size=(20, rows, columns)) * 10.0 ** random.integers(-3, 4, columns)
    groups = find_groups((rows, columns), _moments(reference))
    values = np.square(reference).reshape(20, -1)
    for group in groups:
        members = np.concatenate(group.members)
        assert len(members) == len(set(members.tolist()))
        if len(members) == group.row[group.axis - 1]:
            np.testing.assert_allclose(group.sums(values).sum(axis=1), values.sum(axis=1))


def test_nothing_passes_by_being_empty() -> None:
    broken = DENSE.copy()
    broken[3, 0, 0] = np.nan
    broken[4, 0, 0] = np.inf
    assert compare("y", DENSE, broken).problems == ("2 values are NaN or infinite",)
    assert "same for every sample" in compare("y", DENSE, np.zeros_like(DENSE) + 0.5).problems[0]
    assert "show nothing" in compare("y", np.ones((5, 2)), np.ones((5, 2))).doubts[0]
    with pytest.raises(EdgetfError, match=r"has shape \[50, 4\], the reference's has \[50, 4, 3\]"):
        compare("y", DENSE, LOGITS)


@pytest.mark.parametrize("value", [1e100, 1e200, -1e308])
def test_values_whose_squares_overflow_are_a_problem_and_can_be_stored(value: float) -> None:
    broken = DENSE.astype(np.float64)
    broken[3, 1] = value
    for found in (compare("y", DENSE, broken), compare("y", broken, DENSE.astype(np.float64))):
        assert any("beyond 1e+99" in problem for problem in found.problems)
        assert judge_output("int8", len(DENSE), found, Budgets()).verdict is Verdict.FAIL
        assert not find_fault(found)


def test_a_reference_with_nan_is_a_problem_and_never_an_agreement() -> None:
    """On a ladder, the output that a step is compared with may itself be broken."""
    reference = np.random.default_rng(0).normal(size=(50, 4))
    variant = reference + 50
    reference[3, 1] = np.nan
    found = compare("y", reference, variant)
    assert found.max_abs >= 50
    assert found.problems == ("1 values of the reference are NaN or infinite",)
    assert np.isfinite(found.sqnr_db or 0.0)
