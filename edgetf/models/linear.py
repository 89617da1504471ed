"""The linear model y = a·X + b: a subclass of `tf.keras.Model` with one dense layer, trained with a GradientTape."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgetf.models.epochs import Epochs
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained
from edgetf.samples import make_samples

keras = tf.keras
STEPS, LEARNING_RATE = 100, 0.01


@keras.utils.register_keras_serializable("edgetf")
class Linear(tf.keras.Model):  # type: ignore[misc]  # keras has no types
    """One dense layer that starts at zero."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = keras.layers.Dense(units=1, kernel_initializer="zeros", bias_initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


def load_data() -> Data:
    """To train on: X of shape (2, 3) and y of shape (2, 1). To judge on: 200 points between the two rows."""
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
    y = np.array([[10.0], [20.0]], np.float32)
    along = np.random.default_rng(0).uniform(0, 1, (200, 1)).astype(np.float32)
    between = make_samples("between the rows", {"x": x[:1] + along * (x[1:] - x[:1])}, y[:1] + along * (y[1:] - y[:1]))
    return Data(make_samples("the handbook's two rows", {"x": x}, y), between)


def build() -> Any:
    model = Linear()
    model(tf.zeros([1, 3]))  # makes the variables
    return model


def train(data: Data, run: Run) -> Trained:
    run.on_one_device("linear")
    x, y = tf.constant(data.train.inputs["x"]), tf.constant(data.train.labels)
    model = build()
    optimizer = keras.optimizers.SGD(learning_rate=LEARNING_RATE)
    steps = Epochs(run, STEPS, every=25, model=model, optimizer=optimizer)
    for step in steps.left():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        steps.done(step, loss=loss)
    error = model(tf.constant(data.test.inputs["x"])) - data.test.labels
    return Trained(model, {"test_mean_squared_error": float(tf.reduce_mean(tf.square(error)))}, data)
