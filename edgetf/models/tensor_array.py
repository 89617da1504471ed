"""A recurrent network by hand: `tf.function` turns a Python loop into WHILE, and a `tf.TensorArray` keeps each state.

It reads a digit row by row, 28 rows of 28 pixels; the mean of its states gives the digit.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgetf.models.digits import load_digits
from edgetf.models.fitting import Recipe, evaluate, fit
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained

keras = tf.keras
RECIPE = Recipe(epochs=20, learning_rate=1e-2)
ROWS, UNITS = 28, 64


@keras.utils.register_keras_serializable("edgetf")
class RowReader(tf.keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """Images of shape (n, 28, 28, 1) to the mean of the states, (n, UNITS)."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(ROWS, UNITS), initializer="glorot_uniform")
        self.recurrent = self.add_weight(name="recurrent", shape=(UNITS, UNITS), initializer="orthogonal")
        self.bias = self.add_weight(name="bias", shape=(UNITS,), initializer="zeros")

    def call(self, image: Any) -> Any:
        rows = tf.transpose(tf.squeeze(image, -1), [1, 0, 2])  # the loop goes along axis 0
        return tf.reduce_mean(self.states(rows), axis=0)

    @tf.function  # type: ignore[untyped-decorator]
    def states(self, rows: Any) -> Any:
        """The state after each row, (28, n, UNITS)."""
        state = tf.zeros([tf.shape(rows)[1], UNITS])
        states = tf.TensorArray(tf.float32, size=ROWS, element_shape=[None, UNITS])
        for k in tf.range(ROWS):
            state = tf.tanh(rows[k] @ self.kernel + state @ self.recurrent + self.bias)
            states = states.write(k, state)
        return states.stack()


def load_data() -> Data:
    return load_digits()


def build() -> Any:
    image = keras.Input((ROWS, ROWS, 1), name="image")
    probability = keras.layers.Dense(10, activation="softmax", name="probability")(RowReader()(image))
    return keras.Model(image, probability, name="tensor_array")


def train(data: Data, run: Run) -> Trained:
    model = fit(build, data.train, RECIPE, run)
    return Trained(model, evaluate(model, data.test), data)
