from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.origin import describe
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import EdgetfError
from edgetf.events import Event, Phase, Progress
from edgetf.results import LabelUse, read_reference
from edgetf.samples import load_samples
from tests.conftest import Run, Small, ignore


def test_a_reference_pins_model_samples_versions_and_device(reference: Path, small: Small) -> None:
    document = read_reference(reference)
    source = read_source(small.saved_model, None)
    samples = load_samples(small.samples, source.inputs)
    origin = describe(small.saved_model)
    assert document.source == replace(source, inputs=samples.mark(source.inputs), origin=origin)
    assert [spec.batched for spec in document.source.inputs] == [True]
    assert document.samples == samples.used()
    assert document.versions["tensorflow"] == tf.__version__
    assert document.device.kind == "cpu"
    assert "on the CPU" in document.device.sentence
    assert "no GPU was used" in document.device.sentence
    assert not document.precision.tf32
    assert document.latency_ms.n >= 50


def test_its_outputs_are_those_of_the_model_one_sample_at_a_time(reference: Path, small: Small) -> None:
    outputs = load_outputs(read_reference(reference), reference).values
    images = np.load(small.samples)["image"]
    function = tf.saved_model.load(str(small.saved_model)).signatures["serving_default"]
    alone = np.concatenate([function(image=tf.constant(i[None]))["output_0"].numpy() for i in images])
    assert list(outputs) == ["output_0"]
    np.testing.assert_allclose(np.asarray(outputs["output_0"], np.float32), alone, atol=1e-6)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_error_with_a_hint(small: Small, tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="sees no GPU") as caught:
        make_reference(small.saved_model, small.samples, tmp_path / "ref", ReferenceOptions(on=Place.GPU), ignore)
    assert "pip install " in caught.value.hint
    assert "or use --on cpu" in caught.value.hint
    assert not (tmp_path / "ref").exists()


def test_an_interruption_after_the_last_sample_keeps_the_outputs(small: Small, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Phase) and event.name.startswith("comparing TensorFlow with itself"):
            raise KeyboardInterrupt

    options, events = ReferenceOptions(on=Place.CPU), list[Event]()
    with pytest.raises(KeyboardInterrupt):
        make_reference(small.saved_model, small.samples, tmp_path, options, interrupt)
    assert not (tmp_path / "reference.json").exists()
    made = make_reference(small.saved_model, small.samples, tmp_path, options, events.append)
    assert Phase("resuming after sample 200") in events
    assert not [event for event in events if isinstance(event, Progress)]
    assert load_outputs(made, tmp_path).values["output_0"].shape == (200, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reference", "reference.json"]


def test_a_reference_prints_what_it_reaches_on_the_labels(small: Small, tmp_path: Path, edgetf: Run) -> None:
    with np.load(small.samples) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(tmp_path / "good.npz", **arrays)
    np.savez(tmp_path / "off.npz", **{**arrays, "labels": (arrays["labels"] + 1) % 3})
    np.savez(tmp_path / "odd.npz", **{**arrays, "labels": np.linspace(0, 1, 200)})
    for name, words in (
        ("good", "On the labels, output_0: right on 100.00%; always answering the most common label would be right on"),
        ("off", "warning: the labels do not fit output_0: the reference is right on 0.0%"),
        ("odd", "labels of output_0 are not used: labels of shape [200] are neither classes nor values of output_0"),
    ):
        ended = edgetf("reference", small.saved_model, "--samples", f"{name}.npz", "-o", name, "--on", "cpu")
        assert ended.returncode == 0, ended.stderr
        assert words in ended.stdout
    [score] = read_reference(tmp_path / "good").labels
    assert (score.use, score.reached) == (LabelUse.CLASS, 1.0)


class Odd(tf.Module):  # type: ignore[misc]
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.reduce_sum(x), "rows": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def nan(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.math.log(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def text(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.strings.as_string(x)}


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    module = Odd()
    tf.saved_model.save(
        module, str(tmp_path / "odd"), signatures={"total": module.total, "nan": module.nan, "text": module.text}
    )
    np.savez(tmp_path / "s.npz", x=np.arange(1, 16, dtype=np.float32).reshape(5, 3) - 8)
    return tmp_path


def test_a_model_that_mixes_samples_is_run_one_sample_at_a_time(odd: Path) -> None:
    options = ReferenceOptions(on=Place.CPU, signature="total")
    document = make_reference(odd / "odd", odd / "s.npz", odd / "ref", options, ignore)
    assert document.batch == 1
    totals = load_outputs(document, odd / "ref").values["total"]
    np.testing.assert_allclose(np.asarray(totals, np.float32), np.load(odd / "s.npz")["x"].sum(axis=1))


def test_a_reference_with_nan_is_refused(odd: Path) -> None:
    options = ReferenceOptions(on=Place.CPU, signature="nan")
    with pytest.raises(EdgetfError, match="own output 'y' holds NaN"):
        make_reference(odd / "odd", odd / "s.npz", odd / "ref", options, ignore)
    assert not (odd / "ref").exists()


def test_texts_are_refused_before_anything_is_run(odd: Path) -> None:
    with pytest.raises(EdgetfError, match="returns texts"):
        make_reference(odd / "odd", odd / "s.npz", odd / "ref", ReferenceOptions(signature="text"), ignore)


def test_outputs_that_are_not_those_of_the_reference_are_refused(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "ref")
    outputs = np.load(reference / "reference" / "output-0.npy")
    np.save(tmp_path / "ref" / "reference" / "output-0.npy", outputs + 1)
    with pytest.raises(EdgetfError, match="is not the file of this reference"):
        load_outputs(read_reference(tmp_path / "ref"), tmp_path / "ref")


def test_results_inside_of_the_model_are_refused(small: Small) -> None:
    with pytest.raises(EdgetfError, match="is inside of"):
        make_reference(small.saved_model, small.samples, small.saved_model / "ref", ReferenceOptions(), ignore)


KILLED = """
import os, signal, sys
from pathlib import Path
from edgetf.benchmarks.reference import partial
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.events import Progress
partial._SAVE_S = 0.0  # after each batch: the whole takes less than a second

def kill(event):
    if isinstance(event, Progress) and event.done >= 100:
        os.kill(os.getpid(), signal.SIGKILL)

make_reference(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), ReferenceOptions(on=Place.CPU), kill)
"""


def test_a_killed_reference_resumes_and_computes_the_same(small: Small, reference: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(small.saved_model), str(small.samples), str(tmp_path / "ref")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "ref" / "reference.json").exists()
    events: list[Event] = []
    options = ReferenceOptions(on=Place.CPU)
    resumed = make_reference(small.saved_model, small.samples, tmp_path / "ref", options, events.append)
    assert Phase("resuming after sample 128") in events
    assert [event.done for event in events if isinstance(event, Progress)] == [192, 200]
    assert resumed.outputs == read_reference(reference).outputs
    assert sorted(path.name for path in (tmp_path / "ref").iterdir()) == ["reference", "reference.json"]
