"""A multilayer perceptron for handwritten digits: flatten, one hidden layer, ten probabilities.

Its samples come through a `tf.data` pipeline (`pipeline`): shuffled, batched and prepared while the last batch trains.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgetf.models.cnn import augment
from edgetf.models.digits import load_digits
from edgetf.models.fitting import Recipe, evaluate, fit
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained

keras = tf.keras
RECIPE = Recipe(epochs=25, learning_rate=3e-3, augment=augment)


def load_data() -> Data:
    return load_digits()


def build() -> Any:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="probability"),
        ],
        name="mlp",
    )


def train(data: Data, run: Run) -> Trained:
    model = fit(build, data.train, RECIPE, run)
    return Trained(model, evaluate(model, data.test), data)
