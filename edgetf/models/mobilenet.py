"""A small MobileNet for digits in the dark: depthwise separable convolutions, batch norm, hard-swish, residuals.

The digits are exposed by factors from 1/64 to 1, as by a camera without flash. float32 reads the dark ones as well as
the bright ones; int8, whose steps are made for the bright ones, can lose them when it comes after the training.
Training with the arithmetic of int8 (`edgetf models train mobilenet --qat`) keeps them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgetf.models import cnn
from edgetf.models.digits import load_digits
from edgetf.models.fitting import Recipe, evaluate, fit
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained
from edgetf.samples import Samples, make_samples

keras = tf.keras
layers = keras.layers
DARKEST = 1 / 64
SEED = 5  # one whose network int8 has hurt; how much is a matter of luck (docs/models.md)
WIDTH = 16


@keras.utils.register_keras_serializable("edgetf")
class HardSwish(tf.keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """x * min(max(x + 3, 0), 6) / 6: one op in TFLite."""

    def call(self, inputs: Any) -> Any:
        return inputs * tf.nn.relu6(inputs + 3.0) / 6.0


def load_data() -> Data:
    """The digits, each at an exposure drawn once and for all, evenly in its logarithm."""
    data = load_digits()
    return Data(_expose(data.train, 0), _expose(data.test, 1))


def build() -> Any:
    image = keras.Input((28, 28, 1), name="image")
    x = _activated(image, layers.Conv2D(WIDTH, 3, strides=2, padding="same", use_bias=False))
    for filters, strides, expand in [(16, 1, 3), (24, 2, 4), (24, 1, 4), (32, 2, 4), (32, 1, 4)]:
        x = _block(x, filters, strides, expand)
    x = _activated(x, layers.Conv2D(96, 1, use_bias=False))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="probability")(x), name="mobilenet")


def train(data: Data, run: Run) -> Trained:
    model = fit(build, data.train, RECIPE, run)
    return Trained(model, evaluate(model, data.test), data)


def augment(image: Any, label: Any, seed: Any) -> tuple[Any, Any]:
    """Move an image by up to two pixels, and take it at another exposure."""
    image, label = cnn.augment(image, label, seed)
    brightest = tf.reduce_max(image)
    exposure = tf.exp(tf.random.stateless_uniform([], seed + 1, float(np.log(DARKEST)), 0.0))
    return image / tf.maximum(brightest, 1e-6) * exposure, label


RECIPE = Recipe(epochs=18, learning_rate=5e-3, augment=augment, seed=SEED)


def _activated(x: Any, layer: Any) -> Any:
    return HardSwish()(layers.BatchNormalization()(layer(x)))


def _block(x: Any, filters: int, strides: int, expand: int) -> Any:
    """Widen, filter each channel by itself, narrow; the input is added if the shapes allow it."""
    entered = x
    x = _activated(x, layers.Conv2D(x.shape[-1] * expand, 1, use_bias=False))
    x = _activated(x, layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False))
    x = layers.BatchNormalization()(layers.Conv2D(filters, 1, use_bias=False)(x))
    return layers.Add()([entered, x]) if entered.shape == x.shape else x


def _expose(digits: Samples, seed: int) -> Samples:
    images = digits.inputs["image"]
    exposure = np.exp(np.random.default_rng(seed).uniform(np.log(DARKEST), 0, (len(images), 1, 1, 1)))
    dark = (images * exposure).astype(np.float32)
    return make_samples(f"{digits.source} in the dark", {"image": dark}, digits.labels)
