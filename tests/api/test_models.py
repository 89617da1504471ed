from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetf.api.models import path_of_model
from edgetf.errors import EdgetfError

tf = pytest.importorskip("tensorflow")
import keras  # noqa: E402
import tf_keras  # noqa: E402

X = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def functional(library: Any = keras) -> Any:
    inputs = library.Input((8,), name="image")
    return library.Model(inputs, library.layers.Dense(3, name="out")(inputs), name="small")


def sequential(library: Any = keras) -> Any:
    return library.Sequential([library.layers.Dense(3)])


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(3)
        self.drop = keras.layers.Dropout(0.5)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.drop(self.dense(x), training=training) * 2


class Module(tf.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(tf.ones([8, 3]))

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="image")])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return x @ self.weight


def answers(path: Path) -> Any:
    if path.suffix == ".keras":
        return keras.models.load_model(path).predict(X, verbose=0)
    function = tf.saved_model.load(str(path)).signatures["serving_default"]
    [name] = function.structured_input_signature[1]
    return next(iter(function(**{name: tf.constant(X)}).values())).numpy()


@pytest.mark.parametrize("make", [functional, sequential, Subclassed])
def test_a_live_keras_model_is_stored_and_computes_the_same(make: Callable[[], Any]) -> None:
    model = make()
    expected = model(X, training=False).numpy()
    np.testing.assert_allclose(answers(path_of_model(model)), expected, atol=1e-6)


def test_a_keras_2_model_is_stored_as_a_file_of_its_generation() -> None:
    path = path_of_model(functional(tf_keras))
    assert path.name == "small.keras"
    loaded = tf_keras.models.load_model(path)
    assert loaded.output_shape == (None, 3)


def test_a_module_with_a_signature_is_saved() -> None:
    np.testing.assert_allclose(answers(path_of_model(Module())), X @ np.ones((8, 3)), rtol=1e-6)


def test_a_module_whose_function_is_an_attribute_is_saved() -> None:
    module = tf.Module()
    module.weight = tf.Variable(tf.ones([8, 3]))
    signature = [tf.TensorSpec([None, 8], tf.float32, name="image")]
    module.serve = tf.function(lambda image: image @ module.weight, input_signature=signature)
    np.testing.assert_allclose(answers(path_of_model(module)), X @ np.ones((8, 3)), rtol=1e-6)


@pytest.mark.parametrize("make", [functional, Subclassed])
def test_the_same_model_is_stored_once_and_another_one_separately(make: Callable[[], Any]) -> None:
    model = make()
    model(X)
    first = path_of_model(model)
    assert path_of_model(model) == first
    model.set_weights([weight + 1 for weight in model.get_weights()])
    assert path_of_model(model) != first


def test_the_model_and_the_process_are_unchanged() -> None:
    model = Subclassed()
    model.compile("adam", "mse")
    model.fit(X, np.ones((6, 3)), verbose=0)
    before = [weight.copy() for weight in (*model.get_weights(), *(v.numpy() for v in model.optimizer.variables))]
    environment = dict(os.environ)
    path_of_model(model)
    after = [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert model.trainable
    assert dict(os.environ) == environment
    model.fit(X, np.ones((6, 3)), verbose=0)  # it can be trained on


def test_unknown_shapes_are_an_error_with_a_hint() -> None:
    with pytest.raises(EdgetfError, match="not known") as refused:
        path_of_model(sequential())
    assert "call it once" in refused.value.hint
    with pytest.raises(EdgetfError, match="signature of the module"):
        path_of_model(tf.Module())


def test_a_path_is_kept_and_anything_else_is_refused(tmp_path: Path) -> None:
    assert path_of_model(str(tmp_path)) == tmp_path
    with pytest.raises(EdgetfError, match="is not a model"):
        path_of_model(X)
