from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner

from edgetf.cli import cli
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.hub import find_model
from edgetf.conversion.keras_export import export_model
from edgetf.errors import EdgetfError
from edgetf.models.hub import hub_layer
from edgetf.models.serving import export_for_serving
from tests.conftest import Small, ignore


class Features(tf.Module):  # type: ignore[misc]
    """A reusable SavedModel, as TensorFlow Hub has them."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
        self.weights = tf.Variable(random, name="weights")

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32)])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return tf.nn.relu(tf.matmul(x, self.weights))


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "features"
    made = Features()
    tf.saved_model.save(made, str(folder), signatures=made.__call__.get_concrete_function())
    return folder


def _run(tflite: Path, rows: Any) -> Any:
    interpreter = Interpreter(str(tflite))
    runner = interpreter.get_signature_runner()
    (name,) = runner.get_input_details()
    return np.concatenate([next(iter(runner(**{name: row[np.newaxis]}).values())) for row in rows])


def test_a_module_is_fine_tuned_and_reaches_the_device(module: Path, tmp_path: Path) -> None:
    layer = hub_layer(f"hub:{module}")
    model = keras.Sequential([keras.Input((8,)), layer, keras.layers.Dense(2)])
    (weights,) = (variable for variable in layer.trainable_variables if variable.shape == (8, 16))
    before = np.array(weights)
    rows = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    losses = model.fit(rows, rows[:, :2], epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert np.abs(np.array(weights) - before).max() > 1e-3
    export_model(model, tmp_path / "saved_model")
    convert(tmp_path / "saved_model", tmp_path / "out", ConvertOptions(schemes=("float32",)), ignore)
    expected = model.predict(rows, verbose=0)
    np.testing.assert_allclose(_run(tmp_path / "out" / "float32.tflite", rows), expected, atol=1e-5)
    assert (
        np.abs(tf.saved_model.load(str(module)).weights.numpy() - before).max() == 0
    )  # the module itself is unchanged


def test_a_frozen_layer_is_unchanged(module: Path) -> None:
    layer = hub_layer(module, trainable=False)
    model = keras.Sequential([keras.Input((8,)), layer, keras.layers.Dense(2)])
    before = [np.array(weight) for weight in layer.weights]
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 8)), np.ones((8, 2)), verbose=0)
    assert before
    for old, weight in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(old, np.array(weight))
    with pytest.raises(EdgetfError, match="has no endpoint predict"):
        hub_layer(module, endpoint="predict")


def test_a_module_is_converted_by_its_path(module: Path, tmp_path: Path) -> None:
    convert(find_model(f"hub:{module}"), tmp_path / "out", ConvertOptions(schemes=("float32",)), ignore)
    rows = np.ones((2, 8), np.float32)
    expected = tf.saved_model.load(str(module))(rows)
    np.testing.assert_allclose(_run(tmp_path / "out" / "float32.tflite", rows), expected, atol=1e-5)


def test_a_handle_is_found_in_the_cache_and_a_failed_download_is_an_error(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = "https://127.0.0.1:9/features/1"  # nothing listens there
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    with pytest.raises(EdgetfError, match=r"cannot fetch https://127\.0\.0\.1:9/features/1") as caught:
        find_model(f"hub:{handle}")
    assert "TFHUB_CACHE_DIR" in caught.value.hint
    shutil.copytree(module, tmp_path / hashlib.sha1(handle.encode()).hexdigest())
    assert (find_model(f"hub:{handle}") / "saved_model.pb").is_file()


def test_a_folder_that_is_not_a_module_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="there is no folder elsewhere"):
        find_model("hub:elsewhere")
    (tmp_path / "tfhub_module.pb").touch()
    with pytest.raises(EdgetfError, match="a module of TensorFlow 1"):
        find_model(f"hub:{tmp_path}")
    assert find_model(tmp_path) == tmp_path


def test_the_command_line_accepts_hub_and_reports_errors(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["convert", "hub:elsewhere", "-o", str(tmp_path / "out")])
    assert isinstance(done.exception, EdgetfError)
    assert "there is no folder elsewhere" in done.exception.message


def test_versions_for_serving_count_up_and_can_be_asked(small: Small, tmp_path: Path) -> None:
    served = tmp_path / "served"
    command = ["models", "export", str(small.keras_file), "--serving", str(served), "--name", "digits"]
    done = CliRunner().invoke(cli, [*command, "--json"])
    assert json.loads(done.stdout)["saved_model"] == str(served / "digits" / "1")
    assert CliRunner().invoke(cli, [*command, "-o", "out"]).exit_code == 2
    assert export_for_serving(str(small.saved_model), served / "digits", None, False, ignore) == served / "digits" / "2"
    for version in ("1", "2"):
        loaded = tf.saved_model.load(str(served / "digits" / version))
        outputs = loaded.signatures["serving_default"](tf.zeros([2, 8, 8, 1]))
        assert next(iter(outputs.values())).shape == (2, 3)
    assert {child.name for child in (served / "digits").iterdir()} == {"1", "2"}
    with pytest.raises(EdgetfError, match="already holds 2"):
        export_for_serving(str(small.saved_model), served / "digits", 2, False, ignore)


def test_a_model_that_a_server_cannot_call_is_not_exported(tmp_path: Path) -> None:
    made = Features()
    tf.saved_model.save(made, str(tmp_path / "mute"), signatures={"other": made.__call__})
    with pytest.raises(EdgetfError, match="has no signature 'serving_default'"):
        export_for_serving(str(tmp_path / "mute"), tmp_path / "served" / "mute", None, False, ignore)
    assert not (tmp_path / "served").exists()
