"""Quantities of different size in one output, in any layout, and outputs that are one quantity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetf.benchmarks.judging.columns import find_groups, find_quantities, is_image
from edgetf.benchmarks.judging.parity import _moments, compare
from edgetf.benchmarks.judging.verdict import Budgets, Judged, judge_output
from edgetf.results import Verdict

Floats = NDArray[np.float64]
RANDOM = np.random.default_rng(0)


def _judged(reference: Floats, variant: Floats, image: bool = False) -> Judged:
    figures = compare("y", reference, variant, one_quantity=image)
    assert figures.centred_db is not None
    assert figures.centred_db > 20  # over all columns it would pass
    return judge_output("int8", len(reference), figures, Budgets())


@pytest.mark.parametrize(
    ("boxes", "scores", "axis", "columns"),
    [
        ((4, 4, 4), (4, 4, 3), 3, "columns 4 to 6 of axis 3"),
        ((4, 4, 4), (3, 4, 4), 1, "columns 4 to 6 of axis 1"),
        ((3, 4, 16), (3, 3, 16), 2, "columns 4 to 6 of axis 2"),
        ((3, 4, 16), (3, 80, 16), 2, "columns 4 to 83 of axis 2"),
        ((4, 6, 8), (81, 6, 8), 1, "columns 4 to 84 of axis 1"),
        ((4, 7, 7), (3, 7, 7), 1, "columns 4 to 6 of axis 1"),
    ],
)
def test_scores_that_are_all_zero_beside_boxes_fail_in_every_layout(
    boxes: tuple[int, ...], scores: tuple[int, ...], axis: int, columns: str
) -> None:
    parts = 640 * RANDOM.uniform(size=(80, *boxes)), RANDOM.uniform(size=(80, *scores))
    reference = np.concatenate(parts, axis=axis)
    dead = np.concatenate([parts[0], np.zeros_like(parts[1])], axis=axis) + RANDOM.normal(0, 1e-3, reference.shape)
    judged = _judged(reference, dead)
    assert judged.verdict is Verdict.FAIL
    assert judged.reason.startswith(columns)
    assert _judged(reference, reference + RANDOM.normal(0, 1e-3, reference.shape)).verdict is Verdict.PASS


def test_classes_of_which_some_are_rare_are_still_found_beside_boxes() -> None:
    """The spreads of the classes are 0.3, 0.05 and 0.008, which alone could be places."""
    reference = RANDOM.normal(size=(80, 7, 5, 6)) * np.reshape([185] * 4 + [0.3, 0.05, 0.008], (7, 1, 1))
    judged = _judged(reference, reference * np.reshape([1.001] * 4 + [0] * 3, (7, 1, 1)))
    assert (judged.verdict, judged.reason.startswith("columns 4 to 6 of axis 1")) == (Verdict.FAIL, True)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("steps", [20, 32])
@pytest.mark.parametrize("spreads", [[150.0] * 4 + [0.5] * 20, np.geomspace(1e-3, 100, 24)], ids=["two kinds", "many"])
def test_a_table_of_sensors_is_no_image_although_an_input_has_its_shape(
    spreads: list[float], steps: int, first: bool
) -> None:
    spread = RANDOM.permutation(spreads)
    reference, keep = RANDOM.normal(size=(100, steps, 24)) * spread, spread > 1
    dead = reference * np.where(keep, 1.001, 0)
    if first:
        reference, dead = np.swapaxes(reference, 1, 2), np.swapaxes(dead, 1, 2)
    assert is_image(reference.shape[1:], [reference.shape[1:]])
    judged = _judged(reference, dead, image=True)
    assert judged.verdict is Verdict.FAIL
    assert f"of axis {1 if first else 2}" in judged.reason


def test_the_confidences_of_poses_are_no_third_colour() -> None:
    reference = RANDOM.uniform(size=(60, 30, 17, 3)) * [640, 480, 1]
    assert is_image((30, 17, 3), [(30, 17, 3)])
    judged = _judged(reference, reference * [1.001, 1.001, 0], image=True)
    assert (judged.verdict, "column 2 of axis 3" in judged.reason) == (Verdict.FAIL, True)


def _smooth(values: Floats, axes: tuple[int, ...]) -> Floats:
    for axis in axes:
        for _ in range(4):
            values = (np.roll(values, 1, axis) + values + np.roll(values, -1, axis)) / 3
    return values


def _digits() -> Floats:
    """Strokes around the middle of the picture, hardly ever at its border."""
    y, x = np.mgrid[0:28, 0:28]
    places = 14 + 4 * RANDOM.normal(size=(200, 2, 5, 1, 1))
    return np.asarray(np.exp(-((y - places[:, 0]) ** 2 + (x - places[:, 1]) ** 2) / 4.5).max(axis=1))


def _bordered() -> Floats:
    """Pictures with a border that is nearly black."""
    picture = _smooth(RANDOM.uniform(size=(60, 32, 40)), (1, 2))
    picture[:, :, :3] *= 1e-3
    picture[:, :, -3:] *= 1e-3
    return picture


IMAGES: dict[str, Callable[[], Floats]] = {
    "digits": _digits,
    "digits with a channel": lambda: _digits()[..., None],
    "a nearly black border": _bordered,
    "colours": lambda: _smooth(RANDOM.uniform(size=(60, 16, 20, 3)), (1, 2)),
    "colours first": lambda: _smooth(RANDOM.uniform(size=(60, 3, 16, 20)), (2, 3)),
    "alike sensors": lambda: RANDOM.normal(size=(60, 32, 24)) * RANDOM.uniform(0.5, 2, 24),
    "padded sequences": lambda: RANDOM.normal(size=(90, 40, 24)) * (np.arange(40)[:, None] < _lengths(90)),
}


def _lengths(n: int) -> NDArray[np.int64]:
    return RANDOM.integers(5, 41, (n, 1, 1))


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_one_quantity_where_its_spreads_are_alike_or_fade(name: str) -> None:
    image = IMAGES[name]()
    row = image.shape[1:]
    assert is_image(row, [row])
    assert find_groups(row, _moments(image), image=True) == []


def _sky() -> Floats:
    """The probability of a road, which the horizon limits: it is never seen at the top."""
    horizon = np.arange(64)[:, None] - 32 - 5 * RANDOM.normal(size=(60, 1, 1))
    return np.asarray(1 / (1 + np.exp(-horizon - 2 * RANDOM.normal(size=(60, 64, 48)))))[..., None]


def _events() -> Floats:
    """Probabilities of events that are rare: at most times of the recording there is none in any sample."""
    score = 2 * np.abs(_smooth(RANDOM.normal(size=(30, 100, 10)), (1,))) * 12 - 30
    return np.asarray(1 / (1 + np.exp(-score)))


def _detections() -> Floats:
    """Probabilities of objects on a grid whose upper rows show the sky."""
    there = RANDOM.uniform(size=(60, 13, 17, 3)) < 0.3 * np.exp(-(((np.arange(13) - 8) / 2) ** 2))[:, None, None]
    return np.where(there, RANDOM.uniform(0.3, 1, there.shape), 10 ** RANDOM.uniform(-5, -2, there.shape))


PLACES: dict[str, tuple[Callable[[], Floats], tuple[int, ...]]] = {
    "a map of probabilities": (_sky, (1,)),
    "rare events": (_events, (1,)),
    "objects on a grid": (_detections, (1, 2)),
    "a path": (lambda: np.cumsum(RANDOM.normal(1, 0.3, (60, 30, 2)), axis=1), (1,)),
    "a sound that fades": (lambda: RANDOM.normal(size=(60, 400, 2)) * np.exp(-np.arange(400) / 40)[:, None], (1,)),
    "a spectrum": (lambda: np.abs(RANDOM.normal(size=(60, 129, 60))) * np.exp(-np.arange(129) / 20)[:, None], (1,)),
    "features, channels first": (
        lambda: np.maximum(RANDOM.normal(size=(60, 128, 7, 9)) - RANDOM.uniform(0, 2, (128, 1, 1)), 0), (1, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_the_columns_of_places_and_times_belong_together(name: str) -> None:
    make, axes = PLACES[name]
    values = make()
    found = find_quantities(values.shape[1:], _moments(values))
    assert [len(found[axis - 1]) for axis in axes] == [1] * len(axes)


def test_an_axis_of_one_column_is_none() -> None:
    assert find_groups((1, 1), _moments(RANDOM.normal(size=(20, 1, 1)))) == []
    assert find_groups((), _moments(RANDOM.normal(size=20))) == []
    assert find_groups((3, 4), _moments(np.ones((20, 3, 4))), image=True) == []
