from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import pytest

from edgetf.conversion.keras_export import export_keras_file, export_model
from edgetf.conversion.keras_file import is_keras_file, keras_generation
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import EdgetfError
from tests.conftest import Small


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files written by Keras 2, in a separate process: model.h5, model.keras and weights.h5."""
    folder = tmp_path_factory.mktemp("legacy")
    code = (
        "import tf_keras as keras\n"
        "model = keras.Sequential([keras.layers.Input((4,), name='features'), keras.layers.Dense(2)])\n"
        "model.save('model.h5'); model.save('model.keras'); model.save_weights('weights.h5')\n"
    )
    env = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, env=env)
    return folder


def test_the_generation_of_a_file_is_detected(small: Small, legacy: Path) -> None:
    assert keras_generation(small.keras_file) == 3
    assert keras_generation(legacy / "model.h5") == 2
    assert keras_generation(legacy / "model.keras") == 2


def test_only_keras_files_are_recognized(tmp_path: Path) -> None:
    (tmp_path / "folder.keras").mkdir()
    assert is_keras_file(Path("a.keras"))
    assert is_keras_file(Path("a.h5"))
    assert not is_keras_file(Path("saved_model"))
    assert not is_keras_file(tmp_path / "folder.keras")


def test_a_keras_3_file_is_exported(small: Small, tmp_path: Path) -> None:
    export_keras_file(small.keras_file, tmp_path / "saved_model")
    assert [spec.name for spec in read_source(tmp_path / "saved_model", None).inputs] == ["image"]


def test_a_stateful_layer_is_exported_with_the_batch_of_its_inputs(tmp_path: Path) -> None:
    """Keras exports for any number of samples, which a state of one sample does not allow."""
    import keras

    inputs, lstm = keras.Input(batch_shape=(1, 5, 3), name="series"), keras.layers.LSTM(6, stateful=True)
    keras.Sequential([inputs, lstm, keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    notes = export_keras_file(tmp_path / "m.keras", tmp_path / "saved_model")
    assert [spec.shape for spec in read_source(tmp_path / "saved_model", None).inputs] == [(1, 5, 3)]
    assert notes == ["the outputs differ from call to call (random, or a kept state): the export was not compared"]


def test_a_layer_that_cannot_be_traced_is_reported_with_its_reason(tmp_path: Path) -> None:
    import keras

    def refuse(x: object, training: bool = False) -> object:
        raise ValueError("no inference here")

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.layers[0].call = refuse
    with pytest.raises(EdgetfError, match="the model cannot be exported: no inference here"):
        export_model(model, tmp_path / "saved_model")


def test_weights_without_a_model_are_an_error_with_a_hint(legacy: Path) -> None:
    with pytest.raises(EdgetfError, match="holds weights only") as caught:
        keras_generation(legacy / "weights.h5")
    assert "model.save" in caught.value.hint


def test_files_that_are_not_keras_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("x")
    (tmp_path / "text.h5").write_text("x")
    with zipfile.ZipFile(tmp_path / "zip.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({}))
    for name in ("text.keras", "zip.keras"):
        with pytest.raises(EdgetfError, match=r"is not a \.keras file"):
            keras_generation(tmp_path / name)
    with pytest.raises(EdgetfError, match="is not an HDF5 file"):
        keras_generation(tmp_path / "text.h5")
    with pytest.raises(EdgetfError, match="does not exist"):
        keras_generation(tmp_path / "missing.keras")


def test_a_model_that_does_not_load_gives_one_line(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Nonsense", "config": {}})
        file.attrs["keras_version"] = "3.0.0"
    with pytest.raises(EdgetfError, match="does not load in keras") as caught:
        export_keras_file(tmp_path / "m.h5", tmp_path / "saved_model")
    assert "\n" not in caught.value.message


def test_a_model_that_does_not_load_gives_the_reason_and_a_hint_that_fits(tmp_path: Path) -> None:
    def load(layer: dict[str, object]) -> EdgetfError:
        config = {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
            archive.writestr("config.json", json.dumps(config))
        with pytest.raises(EdgetfError, match="does not load in keras") as caught:
            export_keras_file(tmp_path / "m.keras", tmp_path / "saved_model")
        return caught.value

    wrong = load({"module": "keras.layers", "class_name": "Dense", "config": {"units": -1}})
    assert "expected a positive integer" in wrong.message
    assert "classes are defined" not in wrong.hint
    unknown = load({"class_name": "mine>Twice", "config": {}, "registered_name": "mine>Twice", "module": None})
    assert "Twice" in unknown.message
    assert "classes are defined" in unknown.hint


def test_a_file_with_code_is_refused_unless_it_is_trusted(tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(1)]
    keras.Sequential(layers).save(tmp_path / "lambda.keras")
    with pytest.raises(EdgetfError, match="contains code") as caught:
        export_keras_file(tmp_path / "lambda.keras", tmp_path / "saved_model")
    assert "--trust" in caught.value.hint
    export_keras_file(tmp_path / "lambda.keras", tmp_path / "saved_model", trust=True)
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
