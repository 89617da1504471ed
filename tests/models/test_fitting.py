from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from edgetf.errors import EdgetfError
from edgetf.models.fitting import Recipe, evaluate, fit
from edgetf.samples import Array, Samples, make_samples

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(256, 4)).astype(np.float32)
CLASSES = (X[:, 0] > 0).astype(np.int64)


def _model(units: int, activation: str) -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(units, activation=activation)])


@pytest.mark.parametrize(
    ("units", "activation", "labels", "metric", "reached"),
    [
        (2, "softmax", CLASSES, "test_accuracy", 0.9),
        (2, "linear", CLASSES, "test_accuracy", 0.9),
        (2, "softmax", np.eye(2, dtype=np.float32)[CLASSES], "test_accuracy", 0.9),
        (1, "sigmoid", CLASSES, "test_accuracy", 0.9),
        (1, "linear", CLASSES, "test_accuracy", 0.9),
        (1, "linear", (3 * X[:, :1]).astype(np.float32), "test_mean_squared_error", 0.05),
        (1, "linear", np.rint(10 * X[:, 0]).astype(np.int64), "test_mean_squared_error", 60.0),
    ],
)
def test_the_loss_follows_from_the_labels(
    units: int, activation: str, labels: Array, metric: str, reached: float
) -> None:
    samples = make_samples("x", {"x": X}, labels)
    model = fit(lambda: _model(units, activation), samples, Recipe(30, 0.1))
    value = evaluate(model, samples)[metric]
    assert value > reached if metric == "test_accuracy" else value < reached


def test_samples_without_labels_are_refused() -> None:
    with pytest.raises(EdgetfError, match="has no labels"):
        fit(lambda: _model(2, "softmax"), Samples("x", {"x": X}, None, "d", None), Recipe(1, 0.1))


def test_a_model_with_other_inputs_than_the_samples_is_refused() -> None:
    samples = make_samples("two", {"x": X, "y": X}, CLASSES)
    with pytest.raises(EdgetfError, match="has 1 inputs, the samples have 2"):
        fit(lambda: _model(2, "softmax"), samples, Recipe(1, 0.1))
