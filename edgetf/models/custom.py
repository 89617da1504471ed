"""Own parts: a layer with `add_weight`, a loss, and a metric, which stay what they are when saved, loaded and exported.

They do what Keras's Dense, MeanSquaredError and SparseCategoricalAccuracy do: the two can be compared.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgetf.models.digits import load_digits
from edgetf.models.fitting import Recipe, evaluate, fit
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained

keras = tf.keras
registered = keras.utils.register_keras_serializable("edgetf.custom")


@registered
class Linear(tf.keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """(n, k) to (n, units): x·w + b."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(name="w", shape=(shape[-1], self.units), initializer="glorot_uniform")
        self.b = self.add_weight(name="b", shape=(self.units,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return tf.matmul(inputs, self.w) + self.b

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@registered
class MeanSquaredError(tf.keras.losses.Loss):  # type: ignore[misc]
    """The mean of (prediction - truth)^2; class numbers are taken as rows with a 1 at the class."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if y_true.shape[-1] != y_pred.shape[-1]:
            y_true = tf.one_hot(tf.reshape(tf.cast(y_true, tf.int32), [-1]), y_pred.shape[-1])
        return tf.reduce_mean(tf.square(y_pred - y_true), axis=-1)


@registered
class SparseCategoricalAccuracy(tf.keras.metrics.Metric):  # type: ignore[misc]
    """The share of samples whose largest output is at their class."""

    def __init__(self, name: str = "own_accuracy", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.total = self.add_weight(name="total", shape=(), initializer="zeros")
        self.right = self.add_weight(name="right", shape=(), initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        predicted = tf.argmax(y_pred, axis=-1, output_type=tf.int32)
        right = tf.cast(tf.equal(tf.reshape(tf.cast(y_true, tf.int32), [-1]), predicted), tf.float32)
        self.total.assign_add(tf.cast(tf.size(right), tf.float32))
        self.right.assign_add(tf.reduce_sum(right))

    def result(self) -> Any:
        return self.right / self.total


RECIPE = Recipe(20, 5e-3, loss=MeanSquaredError(), metrics=(SparseCategoricalAccuracy(),))


def load_data() -> Data:
    return load_digits()


def build() -> Any:
    image = keras.Input((28, 28, 1), name="image")
    hidden = keras.layers.ReLU()(Linear(100)(keras.layers.Flatten()(image)))
    return keras.Model(image, keras.layers.Softmax(name="probability")(Linear(10)(hidden)), name="custom")


def train(data: Data, run: Run) -> Trained:
    model = fit(build, data.train, RECIPE, run)
    return Trained(model, evaluate(model, data.test), data)
