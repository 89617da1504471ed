from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from edgetf.benchmarks.timing.fixed import digests_of, with_inputs
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.measurements import refuse_full
from edgetf.device.runner.__main__ import main
from edgetf.device.runner.job import Job, TimingPlan, read_job, write_json
from edgetf.device.runner.outputs import _BLOCK, _block_of, first_rows
from edgetf.device.runner.run import run_job
from edgetf.device.zipapp import build_runner
from edgetf.errors import NoRoomError
from edgetf.flatbuffer import read_contents
from edgetf.results import TensorSpec
from edgetf.samples import Array, load_samples, save_arrays
from tests.conftest import SHORT, Small, ignore


@pytest.fixture
def images(small: Small) -> Array:
    images: Array = np.load(small.samples)["image"]
    return images


@pytest.fixture
def job(converted: Path, images: Array, tmp_path: Path) -> Job:
    np.save(tmp_path / "image.npy", images)
    model = str(converted / "int8-io.tflite")
    return Job(model, {"image": str(tmp_path / "image.npy")}, threads=2, workers=2, timing=SHORT)


def test_a_job_reads_back_with_its_paths_made_absolute(tmp_path: Path) -> None:
    job = Job("m.tflite", {"x": "x.npy"}, timing=TimingPlan(min_runs=3))
    write_json(tmp_path / "job.json", job)
    assert read_job(tmp_path / "job.json") == replace(
        job, model=str(tmp_path / "m.tflite"), inputs={"x": str(tmp_path / "x.npy")}
    )


def test_a_measurement_has_every_latency_and_the_outputs(job: Job, images: Array, tmp_path: Path) -> None:
    measurement = run_job(job, tmp_path / "out", ignore)
    assert measurement.error is None
    assert (measurement.runtime, measurement.threads, measurement.threads_effective) == ("litert", 2, 2)
    assert measurement.load_ns
    assert measurement.first_ns
    assert measurement.peak_rss_bytes > measurement.baseline_rss_bytes > 1e6  # type: ignore[operator]
    timings = np.load(tmp_path / "out" / "timings.npz")
    assert set(timings.files) >= {"warmup_ns", "invoke_ns", "end_to_end_ns"}
    assert len(timings["invoke_ns"]) >= SHORT.min_runs
    assert np.median(timings["end_to_end_ns"]) > np.median(timings["invoke_ns"])
    assert measurement.samples is not None
    assert (measurement.samples.n, measurement.samples.workers) == (len(images), 2)
    [output] = measurement.samples.outputs
    values = np.load(tmp_path / "out" / output.file)
    assert (values.shape, values.dtype) == ((len(images), 3), np.float32)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=0.02)


def test_a_single_thread_has_the_time_that_other_programs_took(job: Job, tmp_path: Path) -> None:
    measurement = run_job(replace(job, threads=1, outputs=False), tmp_path / "out", ignore)
    timings = np.load(tmp_path / "out" / "timings.npz")
    assert 0 <= float(measurement.state_after["waited_share"]) < 1
    for what in ("invoke", "end_to_end"):
        whole, waited = timings[f"{what}_ns"], timings[f"{what}_waited_ns"]
        assert whole.shape == waited.shape
        assert (waited < whole).all()


def test_outputs_do_not_depend_on_the_number_of_workers(job: Job, tmp_path: Path) -> None:
    outputs = []
    for workers in (1, 2, 3):
        run_job(replace(job, workers=workers), tmp_path / f"{workers}", ignore)
        outputs.append(np.load(tmp_path / f"{workers}" / "output-0.npy"))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_progress_counts_up_to_all_samples(job: Job, images: Array, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    run_job(job, tmp_path / "out", events.append)
    done = [event["done"] for event in events if event["event"] == "progress"]
    assert done == sorted(done)
    assert done[-1] == len(images)


@pytest.mark.parametrize(
    ("change", "phase", "error"),
    [
        ({"inputs": {"x": "image.npy"}}, "timing", "the variant's inputs are ['image'], the samples have ['x']"),
        ({"model": "missing.tflite"}, "timing", "Could not open"),
        ({"signature": "other"}, "timing", "has no signature 'other'"),
    ],
)
def test_what_cannot_run_is_reported_in_the_measurement(
    job: Job, tmp_path: Path, change: dict[str, Any], phase: str, error: str
) -> None:
    if "inputs" in change:
        change = {"inputs": {"x": job.inputs["image"]}}
    measurement = run_job(replace(job, **change), tmp_path / "out", ignore)
    assert measurement.error_phase == phase
    assert error in (measurement.error or "")
    assert json.loads((tmp_path / "out" / "measurement.json").read_text())["error"] == measurement.error


class Odd(tf.Module):  # type: ignore[misc]
    """Two inputs that must not be swapped, and outputs with and without an axis for samples."""

    @tf.function(
        input_signature=[tf.TensorSpec([1, 3], tf.float32, name="b"), tf.TensorSpec([1, 3], tf.int32, name="a")]
    )  # type: ignore[untyped-decorator]
    def call(self, b: tf.Tensor, a: tf.Tensor) -> dict[str, tf.Tensor]:
        difference = b - tf.cast(a, tf.float32)
        table = tf.reshape(tf.concat([difference, 2.0 * difference], 0), [3, 2])
        return {"difference": difference, "pass": b, "table": table, "total": tf.reduce_sum(difference)}


def test_inputs_are_assigned_by_name_and_outputs_may_lack_a_sample_axis(tmp_path: Path) -> None:
    module = Odd()
    tf.saved_model.save(module, str(tmp_path / "odd"), signatures=module.call)
    convert(tmp_path / "odd", tmp_path / "odd_out", ConvertOptions(("float32",)), ignore)
    b = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    a = np.arange(210, dtype=np.int32).reshape(70, 3)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    model = tmp_path / "odd_out" / "float32.tflite"
    assert {tensor.name for tensor in read_contents(model).inputs} == {"a", "b"}
    for inputs in ({"a": "a.npy", "b": "b.npy"}, {"b": "b.npy", "a": "a.npy"}):
        job = Job(str(model), {name: str(tmp_path / file) for name, file in inputs.items()}, timing=SHORT)
        measurement = run_job(job, tmp_path / "out", ignore)
        assert measurement.samples is not None, measurement.error
        found = {o.name: np.load(tmp_path / "out" / o.file) for o in measurement.samples.outputs}
        np.testing.assert_allclose(found["difference"], b - a, atol=1e-5)
        np.testing.assert_array_equal(found["pass"], b)
        assert found["table"].shape == (70, 3, 2)
        np.testing.assert_allclose(found["total"], (b - a).sum(axis=1), atol=1e-4)


def test_samples_that_differ_in_number_are_refused(job: Job, tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros((0, 8, 8, 1), np.float32))
    measurement = run_job(replace(job, inputs={"image": str(tmp_path / "none.npy")}), tmp_path / "out", ignore)
    assert "needs the same number, at least 1" in (measurement.error or "")


def _run_file(runner: Path, *arguments: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    command = [python, str(runner), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    path = tmp_path / "edgetf-runner.pyz"
    path.write_bytes(build_runner())
    return path


def test_the_runner_works_as_one_file_without_edgetf_and_without_tensorflow(
    runner: Path, job: Job, tmp_path: Path
) -> None:
    write_json(tmp_path / "job.json", job)
    code = (
        "import runpy, sys\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('tensorflow', 'edgetf', 'keras', 'tf_keras'): raise RuntimeError(name)\n"
        "sys.meta_path.insert(0, Wall())\n"
        f"sys.argv = ['runner', {str(tmp_path / 'job.json')!r}, {str(tmp_path / 'out')!r}]\n"
        f"runpy.run_path({str(runner)!r}, run_name='__main__')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert events[-1] == {"event": "progress", "done": 200, "of": 200}
    assert json.loads((tmp_path / "out" / "measurement.json").read_text())["error"] is None


def test_tflite_runtime_runs_the_same_variant(runner: Path, job: Job, tmp_path: Path) -> None:
    """But XNNPACK takes no operation on int8 there, which is reported with the time of every operation."""
    outputs, taken = [], []
    for name in ("litert", "tflite-runtime"):
        write_json(tmp_path / "job.json", replace(job, runtime=name, operations=True))
        assert _run_file(runner, tmp_path / "job.json", tmp_path / name).returncode == 0
        measurement = json.loads((tmp_path / name / "measurement.json").read_text())
        assert (measurement["error"], measurement["runtime"], measurement["unknown"]) == (None, name, {})
        taken.append(measurement["coverage"]["delegated"])
        assert len(measurement["ops"]) == measurement["coverage"]["operations"]
        outputs.append(np.load(tmp_path / name / "output-0.npy"))
    assert np.abs(outputs[0] - outputs[1]).max() <= 1.01 / 256  # one step of the softmax
    assert taken[0] > 0
    assert taken[1] == 0
    assert {one["reason"] for one in measurement["coverage"]["left"]} == {"XNNPACK took no operation on int8"}


def test_a_truncated_file_ends_that_run_and_not_the_runner(runner: Path, job: Job, tmp_path: Path) -> None:
    """tflite-runtime 2.14 dies of a segmentation fault on one; LiteRT raises."""
    whole = Path(job.model).read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[: len(whole) // 2])
    for name in ("litert", "tflite-runtime"):
        write_json(tmp_path / "job.json", replace(job, model=str(tmp_path / "cut.tflite"), runtime=name))
        assert _run_file(runner, tmp_path / "job.json", tmp_path / name).returncode == 0
        assert json.loads((tmp_path / name / "measurement.json").read_text())["error"]


def test_the_runner_refuses_what_is_not_a_job(runner: Path, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"schema": 99}')
    for path, message in ((tmp_path / "job.json", "schema 99"), (tmp_path / "missing.json", "No such file")):
        ended = _run_file(runner, path, tmp_path / "out")
        assert ended.returncode == 1
        assert message in ended.stderr
    assert _run_file(runner).returncode == 2


def test_the_runner_file_is_the_same_for_the_same_code() -> None:
    assert build_runner.__wrapped__() == build_runner.__wrapped__()


def test_byte_code_in_the_runner_is_used_by_this_python_and_ignored_by_others(tmp_path: Path) -> None:
    def loaded(content: bytes) -> str:
        (tmp_path / "runner.pyz").write_bytes(content)
        code = "import sys; sys.path.insert(0, sys.argv[1]); from runner import job; print(job.__file__)"
        command = [sys.executable, "-c", code, str(tmp_path / "runner.pyz")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    compiled = build_runner(compiled=True)
    assert loaded(compiled).endswith("runner/job.pyc")
    assert loaded(build_runner()).endswith("runner/job.py")
    other = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(compiled)) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, b"\x00\x00\r\n" + content[4:] if name.endswith("c") else content)
    assert loaded(other.getvalue()).endswith("runner/job.py")


def test_only_the_requested_parts_of_a_job_run(job: Job, tmp_path: Path) -> None:
    block = run_job(replace(job, outputs=False), tmp_path / "block", ignore)
    assert block.samples is None
    assert block.timings
    events: list[dict[str, Any]] = []
    last = run_job(replace(job, timing=None, sustained_s=1.2), tmp_path / "last", events.append)
    assert last.error is None
    assert last.timings is None
    assert last.samples is not None
    assert last.sustained is not None
    assert [round(window["at_s"]) for window in last.sustained] == [1, 1]  # type: ignore[index]
    assert {"event": "progress", "done": 1, "of": 1} in events


def test_a_process_has_the_requested_cpus_and_priority(job: Job, tmp_path: Path) -> None:
    measurement = run_job(replace(job, affinity=[0], nice=5, outputs=False), tmp_path / "out", ignore)
    assert (measurement.affinity_effective, measurement.nice_effective) == ([0], 5)
    measurement = run_job(replace(job, affinity=[999]), tmp_path / "none", ignore)
    assert "there are no CPUs [999] to run on" in (measurement.error or "")
    assert os.sched_getaffinity(0) != {0} or os.cpu_count() == 1  # the affinity of this process is unchanged


def test_a_full_disk_is_reported_before_anything_runs(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    measurement = run_job(replace(job, timing=None), tmp_path / "out", ignore)
    assert measurement.error_phase == "samples"
    assert "No space left on device" in (measurement.error or "")


def test_a_measurement_that_cannot_be_written_is_one_line(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/a/file")

    monkeypatch.setattr("edgetf.device.runner.run.write_json", full)
    write_json(tmp_path / "job.json", replace(job, timing=None, outputs=False))
    assert main([str(tmp_path / "job.json"), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "cannot write to /a/file: No space left on device\n"


def in_place(job: Job, samples: Path) -> Job:
    """The job with the samples where they are mapped from; their file was written longer ago than its clock ticks."""
    sleep(0.03)
    specs = (TensorSpec("image", (1, 8, 8, 1), "float32"),)
    return with_inputs(replace(job, inputs={}), load_samples(samples, specs), samples.parent, None, in_place=True)


def test_samples_in_another_file_are_used_in_place(job: Job, images: Array, tmp_path: Path) -> None:
    plain = run_job(replace(job, timing=None), tmp_path / "plain", ignore)
    save_arrays(tmp_path / "samples.npz", {"labels": np.arange(len(images)), "image": images})
    mapped = in_place(replace(job, timing=None), tmp_path / "samples.npz")
    assert mapped.inputs == {"image": str(tmp_path / "samples.npz")}
    assert mapped.raw_inputs["image"].offset % 4  # so that the numbers are not aligned
    write_json(tmp_path / "job.json", mapped)
    assert read_job(tmp_path / "job.json") == mapped
    measured = run_job(mapped, tmp_path / "mapped", ignore)
    assert measured.error is None
    assert measured.inputs_sha256 == digests_of(mapped) != plain.inputs_sha256
    np.testing.assert_array_equal(*(np.load(tmp_path / out / "output-0.npy") for out in ("plain", "mapped")))


def test_samples_that_are_timed_are_in_memory_and_aligned_whatever_their_place_in_a_file(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    for offset in range(4):
        (tmp_path / "file").write_bytes(bytes(offset) + images.tobytes())
        values = np.memmap(tmp_path / "file", np.float32, "r", offset, images.shape)
        assert values.flags.aligned == (offset == 0)
        rows = first_rows(values, 2)
        assert rows.flags.aligned
        assert type(rows) is np.ndarray  # a part of a mapped file takes longer to feed, and counts as memory
        np.testing.assert_array_equal(rows, images[:2])
    np.save(tmp_path / "columns.npy", np.asfortranarray(images))
    np.testing.assert_array_equal(first_rows(np.load(tmp_path / "columns.npy", mmap_mode="r"), 2), images[:2])


def test_a_block_of_samples_is_limited_in_batches_and_in_bytes() -> None:
    small, large = np.zeros((100, 8)), np.broadcast_to(np.float32(0), (100, 1 << 20))
    assert _block_of([small], 1) == _BLOCK
    assert _block_of([small, large], 1) == 3  # of 4 MB and a little each
    assert _block_of([large], 2) == 2
    assert _block_of([large], 8) == 1


def test_samples_in_place_run_only_in_the_state_in_which_they_were_read(
    job: Job, images: Array, tmp_path: Path
) -> None:
    save_arrays(tmp_path / "samples.npz", {"image": images})
    mapped = in_place(replace(job, timing=None), tmp_path / "samples.npz")
    beyond = replace(mapped.raw_inputs["image"], offset=1 << 40)
    for broken in (beyond, replace(beyond, offset=0, dtype="O"), replace(beyond, dtype="nothing")):
        failed = run_job(replace(mapped, raw_inputs={"image": broken}), tmp_path / "out", ignore)
        assert "cannot be read" in (failed.error or "")
    os.utime(tmp_path / "samples.npz")
    assert "has changed" in (run_job(mapped, tmp_path / "out", ignore).error or "")


@pytest.mark.parametrize("reported", ["cannot write to x: No space left on device", "1024 requested and 0 written"])
def test_a_full_disk_is_not_a_failure_of_the_variant(reported: str) -> None:
    with pytest.raises(NoRoomError, match="the runner on local could not store its measurements") as caught:
        refuse_full("local", reported)
    assert "free some space" in caught.value.hint
    refuse_full("local", "")
    refuse_full("local", "it needs 2 inputs")
