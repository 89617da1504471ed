"""A convolutional network for handwritten digits: convolution and pooling twice, then two dense layers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgetf.models.digits import load_digits
from edgetf.models.fitting import Recipe, evaluate, fit
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained

keras = tf.keras


def load_data() -> Data:
    return load_digits()


def build() -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax", name="probability"),
        ],
        name="cnn",
    )


def train(data: Data, run: Run) -> Trained:
    model = fit(build, data.train, RECIPE, run)
    return Trained(model, evaluate(model, data.test), data)


def augment(image: Any, label: Any, seed: Any) -> tuple[Any, Any]:
    """Move an image by up to two pixels: four thousand images are few."""
    padded = tf.pad(image, [[2, 2], [2, 2], [0, 0]])
    return tf.image.stateless_random_crop(padded, [28, 28, 1], seed), label


RECIPE = Recipe(epochs=12, learning_rate=3e-3, augment=augment)
