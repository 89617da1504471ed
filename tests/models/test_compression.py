from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgetf import files
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import unpack
from edgetf.models.compression import Compression, train_compressed
from edgetf.models.training import TRAINING_SCHEMA, Training
from edgetf.results import Status
from edgetf.samples import make_samples, save_samples
from tests.conftest import Run, Small, ignore


@pytest.fixture(scope="module")
def all_three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Training]:
    """The small Keras 3 network, rebuilt in Keras 2, pruned, clustered and trained for int8."""
    folder = tmp_path_factory.mktemp("all_three")
    small = _digits(folder)
    compression = Compression(qat=True, prune=0.5, cluster=8, epochs=2)
    training = train_compressed(
        str(small.keras_file), folder / "out", compression, ignore, samples=small.samples, test=small.samples
    )
    return folder / "out", training


def _digits(folder: Path) -> Small:
    """A trained network of Keras 3 for two kinds of images, and its samples."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(image))
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(2, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    images = (random.normal(size=(400, 8, 8, 1)) + labels[:, None, None, None]).astype(np.float32)
    model.fit(images, labels, epochs=3, verbose=0)
    model.save(folder / "model.keras")
    save_samples(folder / "samples.npz", make_samples("two kinds", {"image": images}, labels))
    return Small(folder / "saved_model", folder / "model.keras", folder / "samples.npz")


@pytest.mark.slow
def test_all_three_together_leave_zeros_few_distinct_weights_and_int8(all_three: tuple[Path, Training]) -> None:
    out, training = all_three
    assert training.metrics["weight_sparsity"] >= 0.49
    assert training.metrics["test_accuracy"] > 0.95
    assert sorted(path.name for path in out.iterdir()) == [
        "float_saved_model",
        "model.h5",
        "saved_model",
        "test.npz",
        "train.npz",
        "training.json",
    ]
    assert files.read_document(out / "training.json", Training, TRAINING_SCHEMA) == training


@pytest.mark.slow
def test_what_was_trained_for_int8_keeps_its_accuracy_and_needs_no_samples(
    all_three: tuple[Path, Training], tmp_path: Path
) -> None:
    """The ranges were learned. docs/models.md has a network that calibration hurts more."""
    out, _ = all_three
    made = convert(out / "saved_model", tmp_path / "out", ConvertOptions(schemes=("int8",)), ignore)
    assert "learned in quantization-aware training" in made.variants[0].notes[0]
    assert made.calibration is None
    runner = Interpreter(str(tmp_path / "out" / "int8.tflite")).get_signature_runner()
    with np.load(out / "test.npz") as test:
        answers = [int(np.argmax(next(iter(runner(image=image[None]).values())))) for image in test["image"]]
        assert np.mean(answers == test["labels"]) > 0.95


@pytest.mark.slow
def test_zeros_and_clusters_survive_into_the_tflite_and_its_compressed_size(
    all_three: tuple[Path, Training], tmp_path: Path
) -> None:
    out, _ = all_three
    (pruned,) = convert(out / "model.h5", tmp_path / "out", ConvertOptions(schemes=("int8",)), ignore).variants
    options = ConvertOptions(schemes=("int8",), samples=out / "train.npz")
    (plain,) = convert(out / "float_saved_model", tmp_path / "plain", options, ignore).variants
    assert pruned.weight_sparsity is not None
    assert plain.weight_sparsity is not None
    assert pruned.compressed_bytes is not None
    assert plain.compressed_bytes is not None
    assert pruned.weight_sparsity >= 0.49 > 0.1 > plain.weight_sparsity
    assert pruned.compressed_bytes < 0.8 * plain.compressed_bytes
    model, schema = unpack((tmp_path / "out" / "int8.tflite").read_bytes())
    dense = [
        np.unique(np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8)).size
        for tensor in model.subgraphs[0].tensors
        if tensor.type == schema.TensorType.INT8 and len(tensor.shape) == 2 and tensor.shape[0] == 32
        if model.buffers[tensor.buffer].data is not None
    ]
    assert dense
    assert max(dense) <= 8


@pytest.mark.slow
def test_a_model_trained_for_int8_has_no_other_scheme(all_three: tuple[Path, Training], tmp_path: Path) -> None:
    out, _ = all_three
    options = ConvertOptions(schemes=("int8", "dynamic"), samples=out / "train.npz")
    made = convert(out / "saved_model", tmp_path / "out", options, ignore).variants
    assert [variant.status for variant in made] == [Status.OK, Status.FAILED]
    assert made[1].error is not None
    assert "trained for int8" in made[1].error.message


@pytest.mark.slow
def test_a_function_that_builds_a_model_can_be_pruned_and_clustered(edgetf: Run, tmp_path: Path) -> None:
    small = _digits(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import tensorflow as tf\n"
        "def build():\n"
        "    k = tf.keras\n"
        "    return k.Sequential([k.Input((8, 8, 1), name='image'), k.layers.Flatten(),\n"
        "                         k.layers.Dense(64, activation='relu'), k.layers.Dense(2)])\n"
    )
    options = ("--prune", 0.8, "--cluster", 16, "--epochs", 2, "--samples", small.samples, "--test", small.samples)
    ended = edgetf("models", "train", "mine:build", *options, "-o", "out")
    assert ended.returncode == 0, ended.stderr
    assert "80.0% of the weights 0" in ended.stdout
    assert "at most 16 distinct weights" in ended.stdout
    assert (tmp_path / "out" / "model.keras").exists()


def test_a_model_that_tfmot_does_not_support_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="subclassed model"):
        train_compressed("linear", tmp_path / "out", Compression(qat=True), ignore)
    code = (
        "import tf_keras as k\n"
        "k.Sequential([k.layers.Input((5, 3), name='x'), k.layers.LSTM(4), k.layers.Dense(2)]).save('lstm.h5')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    x = np.zeros((8, 5, 3), np.float32)
    save_samples(tmp_path / "x.npz", make_samples("x", {"x": x}, np.zeros(8, np.int64)))
    with pytest.raises(EdgetfError, match="cannot train LSTM"):
        train_compressed(
            str(tmp_path / "lstm.h5"),
            tmp_path / "out",
            Compression(qat=True),
            ignore,
            samples=tmp_path / "x.npz",
            test=tmp_path / "x.npz",
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_inputs_of_pixels_and_an_augmentation_are_trained_for_int8(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    pixels = keras.Input((8, 8, 1), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 255)(layers.RandomFlip()(pixels))
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(x))
    keras.Model(pixels, layers.Dense(2, activation="softmax")(x)).save(tmp_path / "pixels.keras")
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1)).astype(np.uint8)
    np.savez(tmp_path / "s.npz", pixels=images, labels=np.arange(64) % 2)
    samples, out = tmp_path / "s.npz", tmp_path / "out"
    compression = Compression(qat=True, epochs=1)
    train_compressed(str(tmp_path / "pixels.keras"), out, compression, ignore, samples=samples, test=samples)
    conversion = convert(out / "model.h5", tmp_path / "converted", ConvertOptions(), ignore)
    assert [variant.status for variant in conversion.variants] == [Status.OK, Status.OK]
    assert conversion.source.inputs[0].dtype == "uint8"
    assert conversion.source.digest == read_source(out / "saved_model", None).digest


@pytest.mark.parametrize(
    ("compression", "message"),
    [
        (Compression(prune=1.5), "not between 0 and 1"),
        (Compression(cluster=1), "not from 2 to 256"),
        (Compression(qat=True, epochs=0), "0 epochs"),
        (Compression(), "nothing to do"),
    ],
)
def test_meaningless_figures_are_refused(compression: Compression, message: str, tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match=message):
        train_compressed("cnn", tmp_path / "out", compression, ignore)


def test_a_users_model_needs_labelled_samples(small: Small, tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="has no samples"):
        train_compressed(str(small.keras_file), tmp_path / "out", Compression(qat=True), ignore)
