from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgetf import files
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import EdgetfError
from edgetf.models.export import export_file, export_trained
from edgetf.models.run import QUIET
from edgetf.models.training import TRAINING_SCHEMA, Training, describe, in_words, train
from edgetf.models.zoo import Data
from edgetf.samples import load_samples, make_samples
from tests.conftest import ignore


def test_training_writes_a_model_its_samples_and_its_metrics(tmp_path: Path) -> None:
    training = train("linear", tmp_path / "linear", False, QUIET)
    assert sorted(p.name for p in (tmp_path / "linear").iterdir()) == [
        "model.keras",
        "test.npz",
        "train.npz",
        "training.json",
    ]
    assert files.read_document(tmp_path / "linear" / "training.json", Training, TRAINING_SCHEMA) == training
    assert training.metrics["test_mean_squared_error"] < 0.2
    with pytest.raises(EdgetfError, match=r"already holds model\.keras"):
        train("linear", tmp_path / "linear", False, QUIET)


def test_a_trained_file_and_a_name_export_to_a_saved_model_that_takes_the_samples(tmp_path: Path) -> None:
    train("linear", tmp_path / "linear", False, QUIET)
    export_file(tmp_path / "linear" / "model.keras", tmp_path / "from_file", False, ignore)
    export_trained("linear", tmp_path / "from_name", False, ignore)
    for name in ("from_file", "from_name"):
        source = read_source(tmp_path / name, None)
        assert source.inputs[0].shape == (None, 3)
        assert len(load_samples(tmp_path / "linear" / "test.npz", source.inputs)) == 200


def test_an_unknown_model_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="unknown model"):
        train("nothing", tmp_path / "out", False, QUIET)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_a_saved_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "main.py").write_text("mine")
    with pytest.raises(EdgetfError, match="exists and is not a SavedModel"):
        export_trained("linear", tmp_path / "project", True, ignore)
    assert (tmp_path / "project" / "main.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (slice(10, 15), "on 5 samples that it had not seen"),
        (slice(8, 13), "on 5 samples, 2 of which it was trained on"),
        (slice(0, 5), "on the 5 samples that it was trained on"),
    ],
)
def test_samples_that_a_model_was_trained_on_are_not_called_unseen(rows: slice, words: str) -> None:
    images, labels = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), np.arange(20)
    train = make_samples("train", {"x": images[:10]}, labels[:10])
    data = Data(train, make_samples("test", {"x": images[rows]}, labels[rows]))
    tf = SimpleNamespace(__version__="2")
    assert in_words(describe("mine", 1.0, {"test_accuracy": 1.0}, data, tf)).endswith(words)
