"""An autoencoder that knows what digits look like, and an anomaly score: how far an image is from what it makes of it.

It learns from whole digits. Judged are digits and anomalies: digits whose quarters have changed places. Two outputs:
`reconstruction`, the image again, and `score`, which is above 0.5 if its error passes a threshold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from edgetf.models.digits import load_digits
from edgetf.models.fitting import Recipe, fit
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained
from edgetf.samples import make_samples

keras = tf.keras
layers = keras.layers
RECIPE = Recipe(epochs=30, learning_rate=3e-3)
ALARMS = 0.05  # the share of whole digits that may set off the alarm


@keras.utils.register_keras_serializable("edgetf")
class Score(tf.keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """error / (error + threshold), (n, 1), of the mean squared error between an image and its reconstruction."""

    def __init__(self, threshold: float, **options: Any) -> None:
        super().__init__(**options)
        self.threshold = threshold

    def call(self, images: Any) -> Any:
        error = tf.reduce_mean(tf.square(images[0] - images[1]), axis=[1, 2])
        return error / (error + self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


def load_data() -> Data:
    """Digits, labelled 0; of those to test on every second one has its quarters changed, and is labelled 1."""
    digits = load_digits()
    whole, images = digits.train.inputs, digits.test.inputs["image"].copy()
    images[1::2] = np.roll(images[1::2], (14, 14), axis=(1, 2))
    test = make_samples("digits, half with changed quarters", {"image": images}, np.arange(len(images)) % 2)
    return Data(make_samples(digits.train.source, whole, np.zeros(len(digits.train), np.int64)), test)


def build() -> Any:
    return with_score(reconstructor(), threshold=1.0)


def reconstructor() -> Any:
    image = keras.Input((28, 28, 1), name="image")
    code = layers.Dense(32, activation="relu")(layers.Dense(128, activation="relu")(layers.Flatten()(image)))
    x = layers.Dense(784, activation="sigmoid")(layers.Dense(128, activation="relu")(code))
    return keras.Model(image, layers.Reshape((28, 28, 1), name="reconstruction")(x), name="autoencoder")


def with_score(model: Any, threshold: float) -> Any:
    outputs = {"reconstruction": model.output, "score": Score(threshold, name="score")([model.input, model.output])}
    return keras.Model(model.input, outputs, name="autoencoder")


def train(data: Data, run: Run) -> Trained:
    images = data.train.inputs["image"]
    model = fit(reconstructor, replace(data.train, labels=images), RECIPE, run)
    threshold = float(np.quantile(errors(model, images), 1 - ALARMS))
    both = with_score(model, threshold)
    score, anomalous = both.predict(data.test.inputs["image"], verbose=0)["score"][:, 0], data.test.labels == 1
    above = (score[anomalous][:, None] > score[~anomalous][None]).mean()  # the area under the ROC curve
    right = float(np.mean((score > 0.5) == anomalous))
    squared = float(errors(model, data.test.inputs["image"][~anomalous]).mean())
    metrics = {"test_accuracy": right, "test_auc": float(above), "test_mean_squared_error": squared}
    return Trained(both, metrics, data)


def errors(model: Any, images: Any) -> Any:
    """The mean squared error of each image, (n,)."""
    return np.mean((model.predict(images, verbose=0) - images) ** 2, axis=(1, 2, 3))
