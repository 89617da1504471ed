from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgetf.convert.convert import ConvertOptions, convert
from edgetf.convert.mend import mend
from edgetf.convert.ranges import Choice, RangeChoice
from edgetf.flatbuffer import pack, unpack
from edgetf.results import Status
from tests.conftest import ignore

_TRAIN = """
import numpy as np, tf_keras as keras
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Input((40, 2), name="series"), keras.layers.LSTM(4), keras.layers.Dense(1)])
weights = model.layers[0].get_weights()
weights[0][:], weights[1][:], weights[2][:] = 0.0, 0.0, 0.0
weights[2][0:8] = 20.0   # input and forget gates are open: the cell adds its input up
weights[0][:, 8:12] = 1.0
weights[2][12:16] = -3.0
model.layers[0].set_weights(weights)
model.save("model.h5")
series = np.ones((30, 40, 2), np.float32) * np.linspace(0.8, 1.2, 30, dtype=np.float32)[:, None, None]
series[:, 20:] *= -0.4  # the cell counts up to 19 and down to 7; clipped at 10 it ends below zero
np.savez("s.npz", x=series)
np.save("expected.npy", model.predict(series, verbose=0))
"""


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras 2 LSTM (which becomes one fused op) whose cells count beyond 10, with what Keras says of samples."""
    folder = tmp_path_factory.mktemp("counting")
    env = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    subprocess.run([sys.executable, "-c", _TRAIN], cwd=folder, check=True, capture_output=True, env=env)
    return folder


def _run(content: bytes, series: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    runner = Interpreter(model_content=content).get_signature_runner()
    return np.concatenate([next(iter(runner(series=one[None]).values())) for one in series])


def test_cells_beyond_ten_are_not_clipped_and_float_parity_holds(counting: Path, tmp_path: Path) -> None:
    options = ConvertOptions(("float32", "dynamic"), samples=counting / "s.npz")
    float32, dynamic = convert(counting / "model.h5", tmp_path / "out", options, ignore).variants
    assert "clipping of the cell state taken out of 1 LSTM op" in float32.notes[0]
    assert dynamic.status is Status.OK
    series, expected = np.load(counting / "s.npz")["x"], np.load(counting / "expected.npy")
    content = (tmp_path / "out" / "float32.tflite").read_bytes()
    np.testing.assert_allclose(_run(content, series), expected, atol=1e-5)

    # without the mend, the same file is far off
    model, _ = unpack(content)
    for operator in model.subgraphs[0].operators:
        if hasattr(operator.builtinOptions, "cellClip"):
            operator.builtinOptions.cellClip = 10.0
    assert np.abs(_run(pack(model), series) - expected).max() > 1e-3


def test_the_int8_of_a_fused_lstm_is_made_by_the_official_converter(counting: Path, tmp_path: Path) -> None:
    choice = RangeChoice(Choice.MSE)
    [int8] = convert(
        counting / "model.h5", tmp_path / "out", ConvertOptions(("int8",), counting / "s.npz", choice=choice), ignore
    ).variants
    assert int8.status is Status.OK, int8.error
    assert int8.engine == "official"
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM has values inside" in (int8.why_official or "")
    assert "the official converter knows no other choice" in " ".join(int8.notes)


def test_what_is_unharmed_is_returned_as_it_is(converted: Path) -> None:
    content = (converted / "float32.tflite").read_bytes()
    assert mend(content) == (content, ())


def test_a_keras_3_model_inside_of_a_module_gives_its_own_numbers(tmp_path: Path) -> None:
    """The converter (2.21) leaves its variables empty, whichever of its entry points is used."""
    import keras
    import tensorflow as tf

    class Wrapped(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            keras.utils.set_random_seed(0)
            layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(3)]
            self.model = keras.Sequential(layers)

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            scores = self.model(x)
            return {"scores": scores, "best": tf.argmax(scores, 1, output_type=tf.int32)}

    wrapped = Wrapped()
    tf.saved_model.save(wrapped, str(tmp_path / "wrapped"), signatures=wrapped.call)
    images = np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "s.npz", x=images)
    expected = wrapped.call(tf.constant(images))["scores"].numpy()

    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "wrapped"))
    runner = Interpreter(model_content=converter.convert()).get_signature_runner()
    garbage = runner(x=images[:1])["scores"]  # what was in that memory: NaN, or any number
    assert not np.allclose(garbage, expected[:1], atol=1e-3)  # else the mend is no longer needed

    options = ConvertOptions(("dynamic", "float32", "int8"), samples=tmp_path / "s.npz")
    variants = convert(tmp_path / "wrapped", tmp_path / "out", options, ignore).variants
    for variant, tolerance in zip(variants, (0.05, 1e-5, 0.1), strict=True):
        assert variant.status is Status.OK, variant.error
        assert "variables that the converter left empty" in variant.notes[0]
        runner = Interpreter(model_path=str(tmp_path / "out" / str(variant.path))).get_signature_runner()
        found = np.concatenate([runner(x=one[None])["scores"] for one in images])
        np.testing.assert_allclose(found, expected, atol=tolerance)
    assert sorted(p.suffix for p in (tmp_path / "out").iterdir()) == [".json", ".json", ".tflite", ".tflite", ".tflite"]
