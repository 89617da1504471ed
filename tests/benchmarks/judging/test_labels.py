from __future__ import annotations

import numpy as np
import pytest

from edgetf.benchmarks.judging.labels import Interpretation, Numbers, decisions, interpret, settle
from edgetf.benchmarks.judging.parity import compare
from edgetf.benchmarks.report.words import unused_labels
from edgetf.errors import EdgetfError
from edgetf.results import LabelsAre, LabelUse

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(50, 4)).astype(np.float32)
CLASSES = LOGITS.argmax(axis=1)
LOGIT = RANDOM.normal(size=(200, 1)).astype(np.float32) * 4
BINARY = (LOGIT[:, 0] > 0).astype(np.int64)
AGES = RANDOM.integers(1, 90, 200)
GUESSED = (AGES[:, None] + RANDOM.normal(0, 4, (200, 1))).astype(np.float32)


@pytest.mark.parametrize("labels", [CLASSES, CLASSES.astype(np.float32), np.eye(4)[CLASSES], CLASSES[:, None]], ids=str)
def test_labels_may_be_integers_whole_floats_or_one_hot(labels: Numbers) -> None:
    found = interpret({"z": LOGITS}, labels)["z"]
    assert found.use is LabelUse.CLASS
    assert found.truth is not None
    np.testing.assert_array_equal(found.truth, CLASSES)


@pytest.mark.parametrize("labels", [BINARY, BINARY[:, None], BINARY.astype(bool), BINARY.astype(np.float32)], ids=str)
@pytest.mark.parametrize("shape", [(200, 1), (200,)])
def test_a_single_logit_decides_at_zero(labels: Numbers, shape: tuple[int, ...]) -> None:
    found = interpret({"z": LOGIT.reshape(shape)}, labels)["z"]
    assert (found.use, found.right) == (LabelUse.CLASS, 1.0)


@pytest.mark.parametrize("labels", [2 * BINARY - 1, 2.0 * BINARY - 1, 2 * BINARY[:, None] - 1], ids=str)
@pytest.mark.parametrize(
    "output",
    [
        LOGIT,
        LOGIT[:, 0],
        np.tanh(LOGIT),
        1 / (1 + np.exp(-LOGIT)),
        np.hstack([-LOGIT, LOGIT]),
        np.sign(LOGIT).astype(int),
    ],
    ids=["logit", "no axis", "tanh", "probability", "two logits", "signs"],
)
def test_labels_of_minus_one_and_one_are_no_and_yes(output: Numbers, labels: Numbers) -> None:
    found = interpret({"z": output}, labels)["z"]
    assert (found.use, found.right) == (LabelUse.CLASS, 1.0)
    assert found.chance == pytest.approx(max(BINARY.mean(), 1 - BINARY.mean()))
    assert interpret({"z": output}, labels[::-1])["z"].use is LabelUse.UNFIT


def test_labels_of_minus_one_and_one_are_values_if_the_option_says_so() -> None:
    found = interpret({"z": np.tanh(LOGIT)}, 2 * BINARY - 1, asked=LabelsAre.VALUE)["z"]
    assert found.use is LabelUse.VALUE
    assert found.chance == pytest.approx(2 * min(BINARY.mean(), 1 - BINARY.mean()))


def test_the_score_of_one_class_number_for_all_positions_is_a_share() -> None:
    tags = RANDOM.integers(0, 5, (60, 7))
    found = interpret({"tags": tags}, tags)["tags"]
    assert (found.use, found.right) == (LabelUse.POSITIONS, 1.0)
    assert found.chance == pytest.approx(np.bincount(tags.ravel()).max() / tags.size)


def test_a_single_probability_decides_at_one_half() -> None:
    probability = 1 / (1 + np.exp(-LOGIT))
    found = interpret({"p": probability}, BINARY)["p"]
    assert (found.use, found.right) == (LabelUse.CLASS, 1.0)


@pytest.mark.parametrize("labels", [AGES, AGES.astype(np.float32), AGES[:, None]], ids=["whole", "floats", "column"])
def test_whole_number_labels_of_one_column_are_values(labels: Numbers) -> None:
    found = interpret({"age": GUESSED}, labels)["age"]
    assert found.use is LabelUse.VALUE
    assert found.truth is not None
    assert found.truth.shape == GUESSED.shape
    assert found.right == pytest.approx(np.abs(GUESSED[:, 0] - AGES).mean())


@pytest.mark.parametrize("trailing", [False, True])
def test_maps_of_classes_are_positions(trailing: bool) -> None:
    truth = RANDOM.integers(0, 3, (30, 5, 5))
    scores = np.eye(3, dtype=np.float32)[truth] + RANDOM.normal(0, 0.1, (30, 5, 5, 3)).astype(np.float32)
    labels = truth[..., None] if trailing else truth
    outputs = {"scores": scores, "map": truth.copy(), "mask": (truth[..., None] > 0).astype(np.float32)}
    found = interpret(outputs, labels)
    assert [found[name].use for name in ("scores", "map")] == [LabelUse.POSITIONS] * 2
    assert found["map"].right == 1.0
    binary = interpret({"mask": outputs["mask"]}, labels > 0)["mask"]
    assert (binary.use, binary.right) == (LabelUse.POSITIONS, 1.0)


def test_several_binary_answers_are_positions_compared_with_the_majority_of_each() -> None:
    truth = (RANDOM.uniform(size=(200, 4)) < [0.1, 0.9, 0.5, 0.5]).astype(np.int64)
    found = interpret({"tags": np.clip(truth * 0.9, 0, 1).astype(np.float32)}, truth)["tags"]
    assert (found.use, found.right) == (LabelUse.POSITIONS, 1.0)
    assert found.chance == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize(
    "labels",
    [
        np.arange(50) - 60,
        np.linspace(0, 1, 50),
        RANDOM.normal(size=(50, 2)),
        np.arange(50) + (1 << 40),
        np.arange(50) % 5,
    ],
    ids=["negative", "not whole", "two each", "huge", "beyond the columns"],
)
def test_labels_that_cannot_belong_to_an_output_are_ignored_with_the_reason(labels: Numbers) -> None:
    found = interpret({"z": LOGITS}, labels)["z"]
    assert found.use is LabelUse.IGNORED
    assert "neither classes nor values of z" in found.reason
    assert unused_labels([("z", found.use, found.reason)]) == [f"labels of z are not used: {found.reason}"]
    assert compare("z", LOGITS, LOGITS, found).labels_reason == found.reason


def test_labels_that_count_from_1_are_unfit_and_the_reason_is_named() -> None:
    found = interpret({"z": LOGITS}, CLASSES + 1)["z"]
    assert (found.use, found.reason.endswith("from 0 to 3: subtract 1")) == (LabelUse.UNFIT, True)
    texts = interpret({"z": LOGITS}, CLASSES.astype(str))["z"]
    assert (texts.use, "neither class numbers" in texts.reason) == (LabelUse.IGNORED, True)


def test_labels_that_are_all_the_same_show_nothing() -> None:
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    found = interpret({"p": probabilities}, np.ones(50, int))["p"]
    assert (found.use, "the same for every sample" in found.reason) == (LabelUse.IGNORED, True)
    assert compare("p", probabilities, probabilities, found).agreement is not None


def test_classes_on_which_the_reference_is_no_better_than_guessing_are_unfit_with_true_numbers() -> None:
    """Labels that are off by one give an accuracy of 0, which any variant would keep."""
    found = interpret({"z": LOGITS}, (CLASSES + 1) % 4)["z"]
    assert found.use is LabelUse.UNFIT
    assert "the reference is right on 0.0%, always answering the most common label would be right on" in found.reason
    assert found.truth is None


def test_values_on_which_the_reference_is_no_better_than_the_median_are_unfit() -> None:
    truth = RANDOM.normal(size=(100, 1)).astype(np.float32)
    found = interpret({"y": truth[::-1]}, truth)["y"]
    assert (found.use, "do not fit y" in found.reason) == (LabelUse.UNFIT, True)


def test_rare_classes_fit_although_the_most_common_label_is_nearly_as_accurate() -> None:
    truth = (np.arange(300) % 33 == 0).astype(np.int64)  # 3 %
    probability = np.where(truth == 1, 0.9, 0.1)[:, None]
    probability[:5] = 1 - probability[:5]
    found = interpret({"p": probability}, truth)["p"]
    assert found.use is LabelUse.CLASS
    assert found.chance == pytest.approx(0.9667, abs=1e-3)
    nothing = interpret({"p": np.full((300, 1), 0.1) + RANDOM.uniform(0, 0.01, (300, 1))}, truth)["p"]
    assert nothing.use is LabelUse.UNFIT  # it always gives the most common label


def test_maps_of_other_samples_do_not_fit_however_alike_all_samples_are() -> None:
    truth = np.zeros((60, 8, 8), np.int64)
    truth[:, 2:6, 2:6] = RANDOM.integers(0, 2, (60, 4, 4))  # a middle value, whatever the sample
    scores = np.eye(2, dtype=np.float32)[truth]
    assert interpret({"map": scores}, truth)["map"].use is LabelUse.POSITIONS
    assert interpret({"map": scores}, np.roll(truth, 1, axis=0))["map"].use is not LabelUse.POSITIONS


@pytest.mark.parametrize("shape", [(50, 1, 4), (50, 1, 1, 4)])
def test_axes_of_one_do_not_matter(shape: tuple[int, ...]) -> None:
    found = interpret({"z": LOGITS.reshape(shape)}, CLASSES)["z"]
    assert (found.use, found.right) == (LabelUse.CLASS, 1.0)
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    assert interpret({"p": probabilities.reshape(shape)}, None)["p"].decide is not None


def test_ambiguous_labels_are_ignored_until_an_option_decides() -> None:
    """A linear regression of zeros and ones decides at 0.5, which no logit does."""
    output = (BINARY[:, None] * 0.8 + 0.1 + RANDOM.normal(0, 0.2, (200, 1))).astype(np.float32)
    found = interpret({"y": output}, BINARY)["y"]
    assert found.use is LabelUse.IGNORED
    assert "--labels-are class or --labels-are value" in found.reason
    assert interpret({"y": output}, BINARY, asked=LabelsAre.VALUE)["y"].use is LabelUse.VALUE
    assert interpret({"y": output}, BINARY, asked=LabelsAre.CLASS)["y"].use in (LabelUse.CLASS, LabelUse.UNFIT)
    with pytest.raises(EdgetfError, match="no output can have labels that are a value"):
        interpret({"z": LOGITS}, CLASSES, asked=LabelsAre.VALUE)


def test_labels_belong_only_to_the_output_that_they_fit() -> None:
    embedding = RANDOM.normal(size=(50, 64))
    found = interpret({"embedding": embedding, "z": LOGITS}, CLASSES)
    assert [found[name].use for name in ("embedding", "z")] == [LabelUse.NONE, LabelUse.CLASS]
    assert found["embedding"].reason == "the labels are those of z"
    assert unused_labels(_uses(found)) == []


def test_labels_of_a_named_output_are_its_own() -> None:
    outputs = {"age": GUESSED, "sex": LOGIT}
    found = interpret(outputs, None, {"age": AGES, "sex": BINARY})
    assert [found[name].use for name in outputs] == [LabelUse.VALUE, LabelUse.CLASS]
    with pytest.raises(EdgetfError, match="has no output 'ages'"):
        interpret(outputs, None, {"ages": AGES})


def test_each_output_whose_own_labels_are_ignored_is_reported_beside_others_whose_labels_are_used() -> None:
    outputs = {"age": LOGITS, "sex": LOGIT[:50], "height": GUESSED[:50]}
    own = {"age": AGES[:50], "sex": BINARY[:50], "height": np.full(50, 3.0)}
    age, height = unused_labels(_uses(interpret(outputs, None, own)))
    assert age.startswith("labels of age are not used: labels of shape [50] are neither classes nor values of age")
    assert height == "labels of height are not used: the labels are the same for every sample, which shows nothing"


def test_labels_for_any_output_are_reported_if_only_labels_of_single_outputs_are_used() -> None:
    found = interpret({"age": LOGITS, "sex": LOGIT[:50]}, AGES[:50], {"sex": BINARY[:50]})
    [age] = unused_labels(_uses(found))
    assert age.startswith("labels of age are not used: labels of shape [50]")


def test_outputs_that_ignore_labels_for_the_same_reason_are_one_sentence() -> None:
    [both] = unused_labels(_uses(interpret({"a": LOGITS, "b": LOGITS}, np.ones(50, int))))
    assert both.startswith("labels of a, b are not used: the labels are the same")


def _uses(found: dict[str, Interpretation]) -> list[tuple[str, LabelUse, str]]:
    return [(name, one.use, one.reason) for name, one in found.items()]


def test_an_interpretation_follows_the_order_of_the_samples() -> None:
    order = RANDOM.permutation(50)
    found = interpret({"z": LOGITS}, CLASSES)["z"].shuffled(order)
    assert found.decide is not None
    assert found.truth is not None
    np.testing.assert_array_equal(found.truth, decisions(found.decide, LOGITS[order]))


# whole numbers in a float output ----------------------------------------------------------------------------------

MAP = RANDOM.integers(0, 5, (60, 12, 9))
DIGITS = RANDOM.integers(0, 10, 400)


def _confused(classes: Numbers, share: float) -> Numbers:
    wrong = RANDOM.uniform(size=classes.shape) < share
    return np.where(wrong, RANDOM.permutation(classes.ravel()).reshape(classes.shape), classes)


@pytest.mark.parametrize("trailing", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_a_float_map_of_class_numbers_decides_as_one_of_integers_does(trailing: bool, labelled: bool) -> None:
    theirs, ours = (one[..., None] if trailing else one for one in (MAP, _confused(MAP, 0.01)))
    truth = theirs if labelled else None
    whole, floats = (interpret({"map": theirs.astype(dtype)}, truth)["map"] for dtype in (np.int64, np.float32))
    assert floats.use is whole.use is (LabelUse.POSITIONS if labelled else LabelUse.NONE)
    as_ints = compare("map", theirs, ours, whole)
    as_floats = compare("map", theirs.astype(np.float32), ours.astype(np.float32), floats)
    assert as_floats == as_ints
    assert as_floats.integer


@pytest.mark.parametrize("shape", [(400,), (400, 1)])
def test_an_argmax_that_was_made_a_float_has_an_accuracy(shape: tuple[int, ...]) -> None:
    output = _confused(DIGITS, 0.3).astype(np.float32).reshape(shape)
    found = interpret({"class": output}, DIGITS)["class"]
    assert found.use is LabelUse.CLASS
    assert found.right == pytest.approx(0.73, abs=0.05)
    accuracy = compare("class", output, output, found).accuracy
    assert accuracy is not None
    assert accuracy.drop_points == 0


def test_rounded_ages_are_values_unless_that_is_asked_for() -> None:
    rounded = np.round(GUESSED)
    assert interpret({"age": rounded}, AGES)["age"].use is LabelUse.VALUE
    asked = interpret({"age": rounded}, AGES, asked=LabelsAre.CLASS)["age"]
    assert asked.use is LabelUse.CLASS
    assert asked.right == pytest.approx(0.1, abs=0.05)
    assert interpret({"class": DIGITS.astype(np.float32)}, DIGITS, asked=LabelsAre.VALUE)["class"].use is LabelUse.VALUE


@pytest.mark.parametrize(
    "output",
    [
        np.round(RANDOM.uniform(0, 255, (60, 12, 9))),
        RANDOM.integers(0, 5, (60, 9)).astype(np.float32),
        RANDOM.integers(0, 5, 60).astype(np.float32),
        RANDOM.integers(-2, 3, (60, 12, 9)).astype(np.float32),
        np.eye(5, dtype=np.float32)[MAP],
        np.moveaxis(np.eye(5, dtype=np.float32)[MAP], -1, 1),
        np.ones((60, 12, 9), np.float32),
        MAP + np.float32(0.5),
    ],
    ids=["an image", "counts", "a count", "negative", "one-hot", "one-hot, classes first", "all equal", "not whole"],
)
def test_other_whole_numbers_of_a_float_output_are_numbers(output: Numbers) -> None:
    assert interpret({"y": output}, None)["y"].decide is None


@pytest.mark.parametrize("labelled", [False, True])
def test_whole_numbers_are_decisions_only_if_the_variants_are_whole_too(labelled: bool) -> None:
    reference = MAP.astype(np.float32)
    read = interpret({"map": reference}, MAP if labelled else None)["map"]
    figures = compare("map", reference, reference * np.float32(1.01), read)
    assert figures.agreement is None
    assert figures.centred_db is not None
    assert not figures.integer
    assert figures.labels is (LabelUse.VALUE if labelled else LabelUse.NONE)
    assert settle("map", read, reference, reference[:20]) is read
    broken = reference.copy()
    broken[0, 0, 0] = np.nan
    assert compare("map", reference, broken, read).problems == ("1 values are NaN or infinite",)
