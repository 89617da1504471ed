"""In a separate process, in which `tf.keras` is Keras 2."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SETUP = """
import keras, numpy as np
from edgetf.errors import EdgetfError
from edgetf.models.keras2 import is_keras3, to_keras2
L = keras.layers
keras.utils.set_random_seed(0)

class Mine(L.Layer):
    def call(self, x):
        return x + 1

def refused(model, message):
    try:
        to_keras2(model)
    except EdgetfError as error:
        assert message in error.message, error.message
    else:
        raise AssertionError("it was not refused")
"""


def _run(code: str) -> None:
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = subprocess.run([sys.executable, "-c", SETUP + code], capture_output=True, text=True, env=env, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.slow
def test_the_twin_computes_the_same_and_has_the_same_input_names() -> None:
    _run(
        """
image = keras.Input((16, 16, 3), name="image")
x = L.Conv2D(8, 3, padding="same", use_bias=False)(image)
x = L.ReLU(6.0)(L.BatchNormalization()(x))
y = L.DepthwiseConv2D(3, padding="same", dilation_rate=2)(x)
x = L.Concatenate()([L.Add()([x, y]), y])
x = L.LayerNormalization()(L.GlobalAveragePooling2D()(L.Activation("gelu")(x)))
model = keras.Model(image, L.Dense(4, activation="softmax")(x))
model(np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32"), training=True)  # moves batch norm
twin = to_keras2(model)
assert not is_keras3(twin) and is_keras3(model)
assert twin.input_names == ["image"]
given = np.random.default_rng(1).normal(size=(5, 16, 16, 3)).astype("float32")
np.testing.assert_allclose(twin.predict(given, verbose=0), model.predict(given, verbose=0), atol=1e-6)

tokens = keras.Input((10,), name="tokens", dtype="int32")
shared = L.Dense(3)
a, b = shared(L.Embedding(20, 8)(tokens)), shared(L.Embedding(20, 8)(tokens))
model = keras.Model(tokens, L.Dense(2)(L.Flatten()(L.Add()([a, b]))))
given = np.arange(20).reshape(2, 10).astype("int32")
np.testing.assert_allclose(to_keras2(model).predict(given, verbose=0), model.predict(given, verbose=0), atol=1e-6)
"""
    )


@pytest.mark.slow
def test_a_layer_without_a_twin_is_refused_by_name() -> None:
    _run(
        """
refused(keras.Sequential([keras.Input((4,)), Mine(name="plus")]), "layer plus (Mine) is unknown to Keras 2")

class Whole(keras.Model):
    def call(self, x):
        return x

refused(Whole(), "subclassed Keras 3 model")
"""
    )
