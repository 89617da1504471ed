"""XNNPACK in float16, and with its weights in a file, by LiteRT's CompiledModel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetf.device.local import LocalDevice
from edgetf.device.runner.compiled_model import CompiledModel
from edgetf.device.runner.interpreter import JobError
from edgetf.device.runner.job import Job
from edgetf.device.runner.run import run_job
from edgetf.device.runner.xnnpack import FLOAT16, Interpreter, with_cache
from edgetf.flatbuffer import pack, unpack
from tests.attacks.kit import NONE, WEIGHTS, answers, inputs, write_model
from tests.conftest import ignore


@pytest.fixture
def job(tmp_path: Path) -> Job:
    model = write_model(tmp_path / "mine.tflite", WEIGHTS, NONE)
    np.save(tmp_path / "x.npy", inputs(8))
    return Job(str(model), {"x": str(tmp_path / "x.npy")}, timing=None)


def test_float16_is_computed_and_weights_are_taken_from_the_cache(job: Job, tmp_path: Path) -> None:
    expected, errors = answers(inputs(8), WEIGHTS, NONE), {}
    for delegate, options in (("xnnpack", {"weight_cache": "true"}), ("xnnpack-fp16", {})):
        asked = replace(job, delegate=delegate, delegate_options=options)
        measurement = LocalDevice().run(asked, tmp_path / delegate, ignore)
        assert measurement.error is None
        assert measurement.delegate_options == options
        assert "does not report what XNNPACK" in measurement.unknown["coverage"]
        assert {path.name for path in (tmp_path / delegate).iterdir()} == {"measurement.json", "output-0.npy"}
        errors[delegate] = np.abs(np.load(tmp_path / delegate / "output-0.npy") - expected).max()
    assert errors["xnnpack"] < 1e-6
    assert 1e-5 < errors["xnnpack-fp16"] < 1e-2


def test_the_cache_is_filled_before_anything_is_timed_and_removed_afterwards(job: Job, tmp_path: Path) -> None:
    with with_cache(replace(job, delegate_options={"weight_cache": "true"}), tmp_path) as kept:
        cache = Path(kept.delegate_options["weight_cache"])
        assert cache.stat().st_size > WEIGHTS.nbytes
    assert not cache.exists()
    with with_cache(job, tmp_path) as kept:
        assert kept is job


def test_a_run_does_not_read_the_outputs_so_that_times_are_those_of_other_interpreters(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = Interpreter(job.model)
    with monkeypatch.context() as patch:
        patch.delattr(Interpreter, "get_tensor")
        patch.delattr(CompiledModel, "read")
        interpreter.set_tensor(0, inputs(1))
        interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(2), answers(inputs(1), WEIGHTS, NONE), atol=1e-6)


def test_an_input_that_is_an_output_is_refused(job: Job) -> None:
    model, _ = unpack(Path(job.model).read_bytes())
    model.subgraphs[0].outputs = [2, 0]
    Path(job.model).write_bytes(pack(model))
    with pytest.raises(JobError, match="one of its inputs is an output too"):
        Interpreter(job.model)


def test_memory_is_that_of_the_variant_which_a_cache_makes_less(tmp_path: Path) -> None:
    """Without a cache weights are in memory twice, in the file's form and packed; what edgetf reads does not count."""
    size = 8000
    model = write_model(tmp_path / "large.tflite", np.ones((1000, size), np.float32), np.zeros(size, np.float32))
    np.save(tmp_path / "x.npy", np.ones((1, 1000), np.float32))
    job = Job(str(model), {"x": str(tmp_path / "x.npy")}, timing=None, outputs=False)
    plain, cached = (
        LocalDevice().run(replace(job, delegate_options={"weight_cache": given}), tmp_path / given, ignore)
        for given in ("false", "true")
    )
    assert plain.added_rss_bytes is not None
    assert cached.added_rss_bytes is not None
    assert 0 < cached.added_rss_bytes < plain.added_rss_bytes - model.stat().st_size / 2


def test_an_older_runtime_has_neither(job: Job, tmp_path: Path) -> None:
    options = {"weight_cache": "true"}
    asked = replace(job, runtime="tflite-runtime")
    cached = run_job(replace(asked, delegate_options=options), tmp_path, ignore)
    assert cached.error == "tflite-runtime has no weight_cache: measure with --runtime litert"
    assert "has no delegate 'xnnpack-fp16'" in str(run_job(replace(asked, delegate="xnnpack-fp16"), tmp_path, ignore))


def test_a_refusal_asks_whether_the_cpu_computes_in_float16(job: Job) -> None:
    made = Interpreter(job.model, accelerator=FLOAT16)
    assert "does the CPU compute in float16" in made._why_not("", "ERROR: failed to create XNNPACK runtime")
    assert made._why_not("no memory", "") == "XNNPACK cannot run it: no memory"
    with pytest.raises(JobError, match="was compiled for the shape"):
        made.resize_tensor_input(made.get_input_details()[0]["index"], [2, 16])
