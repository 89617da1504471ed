from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.results import Status
from tests.cases import stateful_rnn
from tests.conftest import ignore


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stateful-rnn")
    stateful_rnn.make(folder)
    return folder


@pytest.mark.parametrize("model", ["streaming", "training"])
def test_variables_that_are_only_read_are_constants_although_others_are_written(place: Path, model: str) -> None:
    """They used to be empty: the status was "ok", all weights were zero, and no interpreter could run it."""
    samples, out = place / f"{model}.npz", place / f"{model}-out"
    options = ConvertOptions(("float32", "dynamic", "int8"), samples=samples)
    made = convert(place / model, out, options, ignore).variants
    values = np.load(samples)["x"]
    function = tf.saved_model.load(str(place / model)).signatures["serving_default"]
    expected = np.concatenate([function(x=tf.constant(one[None]))["p"].numpy() for one in values])  # with its state
    for variant, tolerance in zip(made, (1e-5, 0.02, 0.1), strict=True):
        assert variant.status is Status.OK, variant.error
        assert "were replaced by constants or initialized" in variant.notes[0]
        assert any("keeps state between runs in variables" in note for note in variant.notes)
        runner = Interpreter(model_path=str(out / str(variant.path))).get_signature_runner()
        found = np.concatenate([runner(x=one[None])["p"] for one in values])
        assert np.abs(found - expected).max() < tolerance * np.ptp(expected)
