"""Kinds of models that users bring: each converts, float32 gives TensorFlow's numbers, int8 runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.results import Status, Variant
from edgetf.samples import Array
from tests.conftest import ignore

layers = keras.layers
RANDOM = np.random.default_rng(0)
SERIES = RANDOM.normal(size=(30, 8, 4)).astype(np.float32)
TOKENS = RANDOM.integers(0, 50, (30, 8)).astype(np.int32)


@keras.saving.register_keras_serializable("edgetf-tests")
class Scale(keras.layers.Layer):  # type: ignore[misc]
    """A user's own layer."""

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(shape=(shape[-1],), initializer="random_normal")

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


class Loop(tf.Module):  # type: ignore[misc]
    """A recurrent network by hand, with a while loop and a TensorArray."""

    def __init__(self) -> None:
        self.weights = tf.Variable(RANDOM.normal(size=(8, 4), scale=0.3).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 4], tf.float32, name="series")])  # type: ignore[untyped-decorator]
    def call(self, series: tf.Tensor) -> dict[str, tf.Tensor]:
        states = tf.TensorArray(tf.float32, 8, element_shape=[None, 4])
        state = tf.zeros_like(series[:, 0])
        for k in tf.range(8):
            state = tf.tanh(tf.matmul(tf.concat([state, series[:, k]], 1), self.weights))
            states = states.write(k, state)
        return {"output": tf.transpose(states.stack(), [1, 0, 2])}


class Reusable(tf.Module):  # type: ignore[misc]
    """A reusable SavedModel as TensorFlow Hub serves them: called with `training`, with variables and losses."""

    def __init__(self) -> None:
        self.kernel = tf.Variable(RANDOM.normal(size=(4, 6), scale=0.5).astype(np.float32))
        self.trainable = [self.kernel]
        self.regularization_losses = [self.loss]

    @tf.function(input_signature=[])  # type: ignore[untyped-decorator]
    def loss(self) -> tf.Tensor:
        return tf.reduce_sum(self.kernel**2)

    @tf.function  # type: ignore[untyped-decorator]
    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return tf.nn.dropout(tf.nn.relu(x @ self.kernel), 0.5) if training else tf.nn.relu(x @ self.kernel)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"output": self(x)}


def _sequential(*chain: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    return keras.Sequential([keras.Input(shape, name="x", dtype=dtype), *chain])


def _two_of_each() -> Any:
    numbers, tokens = keras.Input((8, 4), name="numbers"), keras.Input((8,), name="tokens", dtype="int32")
    mixed = layers.Concatenate()([numbers, layers.Embedding(50, 4)(tokens)])
    flat = layers.Flatten()(mixed)
    return keras.Model([numbers, tokens], {"a": layers.Dense(3, name="a")(flat), "b": layers.Dense(2, name="b")(flat)})


def _attention() -> Any:
    inputs = keras.Input((8, 4), name="x")
    attended = layers.MultiHeadAttention(2, 4)(inputs, inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.LayerNormalization()(attended + inputs))))


KINDS: dict[str, tuple[Callable[[], Any], dict[str, Array]]] = {
    "embedding": (
        lambda: _sequential(layers.Embedding(50, 16), layers.Flatten(), layers.Dense(3), shape=(8,), dtype="int32"),
        {"x": TOKENS},
    ),
    "two inputs, two outputs": (_two_of_each, {"numbers": SERIES, "tokens": TOKENS}),
    "custom layer": (lambda: _sequential(layers.Dense(6), Scale(), layers.Dense(2), shape=(4,)), {"x": SERIES[:, 0]}),
    "convolution over time": (
        lambda: _sequential(layers.Conv1D(8, 3, activation="gelu"), layers.GlobalMaxPooling1D(), shape=(8, 4)),
        {"x": SERIES},
    ),
    "GRU": (lambda: _sequential(layers.GRU(6), layers.Dense(3), shape=(8, 4)), {"x": SERIES}),
    "bidirectional LSTM": (
        lambda: _sequential(layers.Bidirectional(layers.LSTM(4)), layers.Dense(3), shape=(8, 4)),
        {"x": SERIES},
    ),
    "attention": (_attention, {"x": SERIES}),
    "reusable module": (Reusable, {"x": SERIES[:, 0]}),
    "while loop and TensorArray": (Loop, {"series": SERIES}),
}


def _save(model: Any, place: Path) -> None:
    if isinstance(model, tf.Module) and not isinstance(model, keras.Model):
        tf.saved_model.save(model, str(place), signatures=model.call)
    else:
        model.export(str(place), verbose=False)


def _run(path: Path, inputs: dict[str, Array]) -> dict[str, Array]:
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    n = len(next(iter(inputs.values())))
    pieces = [runner(**{name: array[k : k + 1] for name, array in inputs.items()}) for k in range(n)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


@pytest.mark.parametrize("how", ["export", "save"])
def test_a_saved_model_of_keras_2_converts_and_computes_the_same(how: str, tmp_path: Path) -> None:
    code = (
        "import tf_keras as k\n"
        "k.utils.set_random_seed(0)\n"
        "m = k.Sequential([k.layers.Input((8, 4), name='x'), k.layers.Conv1D(8, 3), k.layers.BatchNormalization(),\n"
        "                  k.layers.Flatten(), k.layers.Dense(3, name='y')])\n"
        f"m.{how}('model')\n"
    )
    env = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, env=env)
    _check(tmp_path, {"x": SERIES}, how)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_model_converts_and_computes_the_same(kind: str, tmp_path: Path) -> None:
    build, inputs = KINDS[kind]
    keras.utils.set_random_seed(0)
    _save(build(), tmp_path / "model")
    _check(tmp_path, inputs, kind)


def _check(tmp_path: Path, inputs: dict[str, Array], kind: str) -> None:
    """The SavedModel in `tmp_path/model` converts; float32 gives its numbers, int8 is close to them."""
    np.savez(tmp_path / "s.npz", **inputs)
    options = ConvertOptions(("float32", "dynamic", "int8"), samples=tmp_path / "s.npz")
    variants: tuple[Variant, ...] = convert(tmp_path / "model", tmp_path / "out", options, ignore).variants
    for variant in variants:
        assert variant.status is Status.OK, variant.error
    function = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    expected = {
        name: value.numpy() for name, value in function(**{n: tf.constant(a) for n, a in inputs.items()}).items()
    }
    float32 = _run(tmp_path / "out" / "float32.tflite", inputs)
    int8 = _run(tmp_path / "out" / "int8.tflite", inputs)
    assert set(float32) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(np.asarray(float32[name], float), values, atol=1e-5 * max(1, np.abs(values).max()))
        error = np.sqrt(np.mean((np.asarray(int8[name], float) - values) ** 2))
        assert error < 0.1 * values.std(), (kind, name)
