"""Models of the zoo, trained briefly, and the variants that must compute the same."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.greedy import greedy_policy
from edgetf.flatbuffer import read_contents
from edgetf.models import custom, dqn, keras_pipeline, rnn
from edgetf.models.cartpole import INPUT, play, policy_of_model
from edgetf.models.run import Run
from edgetf.models.training import train_and_export
from edgetf.models.zoo import Data, find_zoo_model
from edgetf.results import Status
from tests.conftest import ignore


def _run(variant: Path, rows: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(variant)).get_signature_runner()
    (name,) = runner.get_input_details()
    return np.concatenate([next(iter(runner(**{name: row[None]}).values())) for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mark", "op"), [("gru", 0.5, "WHILE"), ("tensor_array", 0.5, "WHILE"), ("rnn", 0.6, "FULLY_CONNECTED")]
)
def test_recurrent_networks_agree_after_conversion(name: str, mark: float, op: str, tmp_path: Path) -> None:
    """The mark is what two epochs of training must reach; guessing reaches 0.25, 0.1 and about 0.15."""
    training = train_and_export(name, tmp_path / "model", tmp_path / "saved_model", False, Run(epochs=2))
    assert training.metrics["test_accuracy"] > mark
    options = ConvertOptions(schemes=("float32", "dynamic"), samples=tmp_path / "model" / "train.npz")
    made = convert(tmp_path / "saved_model", tmp_path / "out", options, ignore)
    assert [variant.status for variant in made.variants] == [Status.OK, Status.OK]
    model = keras.models.load_model(tmp_path / "model" / "model.keras", compile=False)
    (rows,) = find_zoo_model(name).load().load_data().test.take(64).inputs.values()
    expected = np.asarray(model(rows, training=False))
    np.testing.assert_allclose(_run(tmp_path / "out" / "float32.tflite", rows), expected, atol=1e-5)
    quantized = _run(tmp_path / "out" / "dynamic.tflite", rows)
    assert np.mean(quantized.argmax(axis=1) == expected.argmax(axis=1)) > 0.9
    assert op in {used.name for used in read_contents(tmp_path / "out" / "float32.tflite").ops}


@pytest.mark.slow
def test_a_converted_policy_plays_the_same_games(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = dqn.build()
    model.export(str(tmp_path / "saved_model"), verbose=False)
    convert(tmp_path / "saved_model", tmp_path / "out", ConvertOptions(schemes=("float32",)), ignore)
    returns, met = play(policy_of_model(model), 10, 0)
    variant = greedy_policy(tmp_path / "out" / "float32.tflite", INPUT, (4,))
    np.testing.assert_array_equal(play(variant, 10, 0)[0], returns)
    assert len(met) == returns.sum() > 0


def test_own_layer_loss_and_metric_survive_saving_loading_and_export(tmp_path: Path) -> None:
    import tensorflow as tf

    few = custom.load_data().test.take(256)
    model = custom.train(Data(few, few), Run(epochs=3)).model
    images, labels = few.inputs["image"], few.labels
    assert labels is not None
    loss, accuracy = model.evaluate(images, labels, verbose=0)
    outputs = model.predict(images, verbose=0)
    assert loss == pytest.approx(np.mean((outputs - np.eye(10)[labels]) ** 2), rel=1e-4)
    assert accuracy == pytest.approx(np.mean(outputs.argmax(axis=1) == labels))
    model.save(tmp_path / "custom.keras")
    loaded = keras.models.load_model(tmp_path / "custom.keras")
    assert isinstance(loaded.loss, custom.MeanSquaredError)
    np.testing.assert_allclose(loaded.evaluate(images, labels, verbose=0), [loss, accuracy], rtol=1e-5)
    loaded.export(str(tmp_path / "saved_model"), verbose=False)
    serve = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    np.testing.assert_allclose(next(iter(serve(tf.constant(images)).values())), outputs, atol=1e-6)


def test_sequential_and_functional_end_with_the_same_weights() -> None:
    trained = keras_pipeline.train(keras_pipeline.load_data(), Run(epochs=1))
    assert trained.metrics["test_accuracy"] == trained.metrics["sequential_accuracy"] > 0.8


def test_text_is_generated_letter_by_letter_from_numbers_in_words() -> None:
    assert [rnn.in_words(number) for number in (0, 13, 20, 42, 99)] == [
        "zero",
        "thirteen",
        "twenty",
        "forty two",
        "ninety nine",
    ]
    keras.utils.set_random_seed(0)
    model, text = rnn.build(), "forty one, forty two, forty three, forty four, "
    likeliest = rnn.generate(model, text, 5)
    assert len(likeliest) == 5
    letters = [rnn.LETTERS.index(letter) for letter in text[-rnn.LENGTH :]]
    assert likeliest[0] == rnn.LETTERS[int(np.argmax(model(np.array([letters], np.int32))))]
    assert len(set(rnn.generate(model, text, 30, temperature=5.0))) > 5  # bold: many letters
