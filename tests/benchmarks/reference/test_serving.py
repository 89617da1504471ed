from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import ReferenceOptions
from edgetf.benchmarks.reference.serving import connect
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import EdgetfError
from edgetf.events import Event, Phase, Progress
from edgetf.results import read_reference
from tests.benchmarks.model_server import Model, over_grpc, rest
from tests.conftest import Run, Small, ignore

Serve = Callable[[Model], AbstractContextManager[str]]


@pytest.mark.parametrize("serve", [rest, over_grpc])
def test_a_server_returns_the_outputs_of_the_saved_model(
    serve: Serve, small: Small, reference: Path, tmp_path: Path
) -> None:
    with serve(Model(small.saved_model)) as url:
        reported = make_reference(small.saved_model, small.samples, tmp_path, ReferenceOptions(serving=url), ignore)
    ours = load_outputs(read_reference(reference), reference).values["output_0"]
    theirs = load_outputs(reported, tmp_path).values["output_0"]
    np.testing.assert_allclose(np.asarray(theirs), np.asarray(ours), rtol=0, atol=1e-6)
    assert (reported.device.kind, reported.precision.tf32) == ("serving", None)
    assert "model digits at 127.0.0.1" in reported.device.sentence
    assert reported.source.digest == read_reference(reference).source.digest
    assert {noise.way for noise in reported.noise if noise.max_abs} == {
        "this machine's CPU beside the server",
        "one request at a time",
    }
    assert [(latency.batch, latency.latency_ms.n > 0) for latency in reported.latencies] == [(64, True)]


def test_the_command_accepts_the_address_and_refuses_others(small: Small, edgetf: Run) -> None:
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


def test_a_lost_server_does_not_lose_answers(small: Small, tmp_path: Path) -> None:
    model, events = (
        Model(small.saved_model, left=36 + 16 + 2),
        list[Event](),
    )  # 36 to probe its answers, 16 to compare the weights
    with rest(model) as url:
        options = ReferenceOptions(serving=url)
        with pytest.raises(EdgetfError, match="does not answer") as caught:
            make_reference(small.saved_model, small.samples, tmp_path, options, ignore)
        assert "its answers until now are kept" in caught.value.hint
        assert not (tmp_path / "reference.json").exists()
        model.left = 10**9
        make_reference(small.saved_model, small.samples, tmp_path, options, events.append)
    assert Phase("resuming after sample 128") in events
    assert [event.done for event in events if isinstance(event, Progress)] == [192, 200]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reference", "reference.json"]


def test_weights_that_differ_from_the_saved_model_are_found(small: Small, tmp_path: Path) -> None:
    other = keras.models.load_model(small.keras_file)
    other.set_weights([weight + 0.1 for weight in other.get_weights()])
    other.export(str(tmp_path / "other"), verbose=False)
    with rest(Model(tmp_path / "other")) as url, pytest.raises(EdgetfError, match="other weights are served by"):
        make_reference(small.saved_model, small.samples, tmp_path / "r", ReferenceOptions(serving=url), ignore)


def test_another_signature_is_reported_with_both(small: Small) -> None:
    source = read_source(small.saved_model, None)
    with rest(Model(small.saved_model)) as url:
        with pytest.raises(EdgetfError, match="has no signature 'x', only serve, serving_default"):
            connect(url, replace(source, signature="x"))
        renamed = replace(source, inputs=(replace(source.inputs[0], name="picture"),))
        with pytest.raises(EdgetfError, match=r"serves image: float32 \[any, 8, 8, 1\], the SavedModel has picture"):
            connect(url, renamed)
    with pytest.raises(EdgetfError, match="is not the address of a served model"):
        connect("http://host:8501/digits", source)
