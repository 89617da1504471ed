from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from edgetf.benchmarks.reference import ReferenceOptions, load_outputs, make_reference
from edgetf.benchmarks.serving import connect
from edgetf.convert.savedmodel import read_source
from edgetf.errors import EdgetfError
from edgetf.process import Event
from edgetf.results import read_reference
from tests.benchmarks.model_server import Model, over_grpc, rest
from tests.conftest import Run, Small, ignore

Serve = Callable[[Model], AbstractContextManager[str]]


@pytest.mark.parametrize("serve", [rest, over_grpc])
def test_what_a_server_says_is_what_the_saved_model_says_here(
    serve: Serve, small: Small, reference: Path, tmp_path: Path
) -> None:
    with serve(Model(small.saved_model)) as url:
        told = make_reference(small.saved_model, small.samples, tmp_path, ReferenceOptions(serving=url), ignore)
    ours = load_outputs(read_reference(reference), reference)["output_0"]
    theirs = load_outputs(told, tmp_path)["output_0"]
    np.testing.assert_allclose(np.asarray(theirs), np.asarray(ours), rtol=0, atol=1e-6)
    assert (told.device.kind, told.precision.tf32) == ("serving", None)
    assert "model digits at 127.0.0.1" in told.device.sentence
    assert told.source.digest == read_reference(reference).source.digest
    assert {noise.way for noise in told.noise if noise.max_abs} == {
        "this machine's CPU beside the server",
        "one request at a time",
    }
    assert told.latencies[0].latency_ms.median > told.latency_ms.median  # a batch takes longer than one alone


def test_the_command_takes_the_address_and_refuses_others(small: Small, edgetf: Run) -> None:
    with over_grpc(Model(small.saved_model)) as url:
        made = edgetf("reference", small.saved_model, "--samples", small.samples, "-o", "r", "--on", f"serving:{url}")
        elsewhere = f"serving:{url.replace('digits', 'cats')}"
        unknown = edgetf("reference", small.saved_model, "--samples", small.samples, "-o", "s", "--on", elsewhere)
    assert made.returncode == 0, made.stderr
    assert "TensorFlow Serving, model digits" in made.stdout
    assert unknown.returncode == 1
    assert "Servable not found: cats" in unknown.stderr
    wrong = edgetf("reference", small.saved_model, "--samples", small.samples, "-o", "s", "--on", "tpu")
    assert wrong.returncode == 2


def test_a_server_that_is_lost_loses_nothing(small: Small, tmp_path: Path) -> None:
    model, events = Model(small.saved_model, left=16 + 2), list[Event]()  # 16 to see whose weights
    with rest(model) as url:
        options = ReferenceOptions(serving=url)
        with pytest.raises(EdgetfError, match="does not answer") as caught:
            make_reference(small.saved_model, small.samples, tmp_path, options, ignore)
        assert "what was answered until now is kept" in caught.value.hint
        assert not (tmp_path / "reference.json").exists()
        model.left = 10**9
        make_reference(small.saved_model, small.samples, tmp_path, options, events.append)
    assert {"event": "phase", "phase": "going on after sample 128"} in events
    assert [event["done"] for event in events if event["event"] == "progress"] == [192, 200]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reference", "reference.json"]


def test_other_weights_than_the_saved_models_are_found(small: Small, tmp_path: Path) -> None:
    other = keras.models.load_model(small.keras_file)
    other.set_weights([weight + 0.1 for weight in other.get_weights()])
    other.export(str(tmp_path / "other"), verbose=False)
    with rest(Model(tmp_path / "other")) as url, pytest.raises(EdgetfError, match="other weights are served by"):
        make_reference(small.saved_model, small.samples, tmp_path / "r", ReferenceOptions(serving=url), ignore)


def test_another_signature_is_told_with_both(small: Small) -> None:
    source = read_source(small.saved_model, None)
    with rest(Model(small.saved_model)) as url:
        with pytest.raises(EdgetfError, match="has no signature 'x', only serve, serving_default"):
            connect(url, replace(source, signature="x"))
        renamed = replace(source, inputs=(replace(source.inputs[0], name="picture"),))
        with pytest.raises(EdgetfError, match=r"serves image: float32 \[any, 8, 8, 1\], the SavedModel has picture"):
            connect(url, renamed)
    with pytest.raises(EdgetfError, match="is no address of a served model"):
        connect("http://host:8501/digits", source)
