from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from edgetf.api.benchmark import _Finished, _Run
from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark, warnings_of
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.device.measurements import read_measurement
from edgetf.errors import EdgetfError
from edgetf.results import Status, Verdict, read_benchmark
from edgetf.schemes import DEFAULT_SCHEMES
from tests.conftest import BLOCKS, SHORT, Run, Small, ignore


def test_every_variant_has_figures_parity_and_everything_raw(benchmarked: Path, converted: Path) -> None:
    document = read_benchmark(benchmarked)
    assert [result.scheme for result in document.results] == list(DEFAULT_SCHEMES)
    assert document.reference is not None
    assert document.machine["cores"]
    for result in document.results:
        assert result.status is Status.OK
        assert result.device == "local"
        assert result.runtime.startswith("litert ")
        assert result.bytes == (converted / f"{result.variant}.tflite").stat().st_size
        assert result.latency_ms is not None
        assert result.latency_ms.n >= 50
        assert result.load_ms is not None
        assert result.first_ms is not None
        assert result.peak_rss_bytes is not None
        assert result.stable_reason
        assert result.parity is not None
        assert result.parity.n == 200
        assert result.parity.outputs[0].accuracy is not None
        assert result.added_rss_bytes is not None
        assert 0 <= result.added_rss_bytes < result.peak_rss_bytes
        assert (benchmarked / str(result.measurement) / "samples" / "measurement.json").is_file()
        assert (benchmarked / str(result.measurement) / "samples" / "output-0.npy").is_file()


def test_variants_take_turns_forwards_and_backwards(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    turns = sorted((block.turn, r.variant, block) for r in document.results for block in r.blocks)
    names = [result.variant for result in document.results]
    assert [name for _, name, _ in turns] == [*names, *reversed(names)]
    for _, _, block in turns:
        assert (benchmarked / block.measurement / "timings.npz").is_file()
        assert block.runs >= SHORT.min_runs
    for result in document.results:
        assert result.latency_ms is not None
        assert result.latency_ms.n == sum(block.runs for block in result.blocks)
        assert result.latency_ms.median == pytest.approx(np.median([block.median_ms for block in result.blocks]))


def test_the_float32_variant_agrees_to_1e_5(benchmarked: Path) -> None:
    float32 = read_benchmark(benchmarked).results[0]
    assert float32.parity is not None
    assert float32.parity.outputs[0].max_abs < 1e-5
    assert float32.parity.verdict is Verdict.PASS


def test_samples_that_variants_were_calibrated_on_are_a_warning(
    benchmarked: Path, converted: Path, reference: Path, tmp_path: Path
) -> None:
    [warning] = [words for words in read_benchmark(benchmarked).warnings if "calibrated" in words]
    assert warning.startswith("the variants were calibrated on the same samples")
    options = BenchmarkOptions(reference=reference, timing=SHORT, blocks=BLOCKS, patience=1)
    document = benchmark([converted / "float32.tflite"], LocalDevice(), tmp_path / "b", options, ignore)
    assert not [words for words in document.warnings if "calibrated" in words]  # float32 has no ranges


def test_an_inherited_priority_is_not_reported_as_refused(benchmarked: Path) -> None:
    turn = read_measurement("local", benchmarked / "measurements" / "int8" / "block-1")
    assert "it ran at nice 10" in " ".join(warnings_of([replace(turn, nice=0, nice_effective=10)]))
    assert "the device refused the priority -5" in " ".join(warnings_of([replace(turn, nice=-5, nice_effective=0)]))
    assert "nice" not in " ".join(warnings_of([replace(turn, nice=5, nice_effective=5)]))


@pytest.mark.parametrize(
    ("share", "uncounted"),
    [("", ""), ("0.002", ""), ("0.291", "; the 29% of its time that they had the CPU is not counted")],
)
def test_the_time_of_other_programs_is_reported(share: str, uncounted: str, benchmarked: Path) -> None:
    turn = read_measurement("local", benchmarked / "measurements" / "int8" / "block-1")
    busy = {**turn.state_after, "others_cores": "1.30", "waited_share": share}
    warning = f"other programs used 1.3 cores during the run{uncounted}; close them (top shows which)"
    assert warning in warnings_of([replace(turn, state_after=busy)])


def test_each_device_has_its_own_result_and_a_failing_one_does_not_affect_the_others(
    converted: Path, edgetf: Run, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare")
    devices = '[two]\nkind = "local"\nthreads = 2\n[bare]\nkind = "local"\npython = "bare/bin/python"\n'
    (tmp_path / "devices.toml").write_text(devices)
    asked = ("benchmark", converted / "int8.tflite", "-o", "b", "--blocks", 2, "--device", "local", "--device")
    assert edgetf(*asked, "local").returncode == 2
    ended = edgetf(*asked, "bare", "--device", "two")
    assert ended.returncode == 5
    assert "bare cannot run variants" in ended.stderr
    assert [read_benchmark(tmp_path / "b" / name).results[0].threads for name in ("local", "two")] == [1, 2]
    (tmp_path / "devices.toml").write_text(devices.replace("bare/bin/python", sys.executable))
    ended = edgetf(*asked, "bare", "--device", "two", "--json")  # the same command
    assert ended.returncode == 0, ended.stderr
    assert "local: measured before the interruption" in ended.stderr
    assert [document["results"][0]["device"] for document in json.loads(ended.stdout)] == ["local", "bare", "two"]
    check = edgetf("check", "b", "--max-bytes", 10**6)
    assert check.stdout.count("PASS") == 3, check.stdout + check.stderr
    (tmp_path / "budget.toml").write_text('variants = ["int8"]\n[budgets]\nmax_bytes = 1000000\n')
    gate = edgetf("gate", "budget.toml", "b")
    assert gate.returncode == 0, gate.stdout + gate.stderr
    assert gate.stdout.count("PASS") == 3
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"local", "two", "bare"}


def test_finished_devices_are_kept_only_if_options_inputs_and_results_are_unchanged(
    converted: Path, tmp_path: Path
) -> None:
    def done(**options: Any) -> list[str]:
        asked = BenchmarkOptions(reference=tmp_path, samples=str(tmp_path / "s.npz"), **options)
        runs = [_Run((converted,), name, None, tmp_path / name, asked) for name in ("local", "pi")]
        finished = _Finished(tmp_path, runs)
        if not finished.names:
            (tmp_path / "local").mkdir(exist_ok=True)
            (tmp_path / "local" / "benchmark.json").write_text("one")
            finished.add("local")
            return []
        return finished.names

    def both() -> tuple[list[str], list[str]]:
        return done(), done()

    changed = [tmp_path / "reference.json", tmp_path / "s.npz", tmp_path / "local" / "benchmark.json"]
    for file in changed[:2]:
        file.write_text("one")
    assert both() == ([], ["local"])
    assert done(threads=2) == []
    for file in changed:
        assert done() in ([], ["local"])
        file.write_text("another")
        assert both() == ([], ["local"]), file
    assert done(force=True) == []
    changed[2].unlink()
    assert done() == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is damaged: starting over"),
        ("[]", "is damaged: starting over"),
        ('{"schema": 1, "key": "k", "done": {"local": 1}}', "is damaged: starting over"),
        ('{"schema": 1, "key": "k", "done": {"unknown": "1"}}', "is damaged: starting over"),
        ('{"schema": 1, "key": "k", "done": {}}', "with other options or inputs is not resumed"),
    ],
)
def test_a_list_of_finished_devices_that_is_not_used_is_reported_once(
    content: str, words: str, converted: Path, tmp_path: Path
) -> None:
    runs = [_Run((converted,), name, None, tmp_path / name, BenchmarkOptions()) for name in ("local", "pi")]
    (tmp_path / ".edgetf-partial-devices.json").write_text(content)
    finished = _Finished(tmp_path, runs)
    assert finished.names == []
    assert words in finished.note
    finished.add("local")
    assert _Finished(tmp_path, runs).note == ""
    forced = [replace(run, options=BenchmarkOptions(force=True)) for run in runs]
    assert _Finished(tmp_path, forced).note == ""


def test_without_a_reference_there_is_no_parity(converted: Path, tmp_path: Path) -> None:
    options = BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1)
    document = benchmark([converted / "int8.tflite"], LocalDevice(), tmp_path / "b", options, ignore)
    [result] = document.results
    assert result.latency_ms is not None
    assert result.parity is None
    assert document.samples is None
    assert "random numbers" in document.inputs


def test_equal_names_in_several_places_are_distinguished(converted: Path, tmp_path: Path) -> None:
    shutil.copy(converted / "int8.tflite", tmp_path / "int8.tflite")
    places = [converted / "int8.tflite", tmp_path / "int8.tflite"]
    document = benchmark(
        places, LocalDevice(), tmp_path / "b", BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1), ignore
    )
    assert [(r.variant, r.scheme) for r in document.results] == [("int8", "int8"), ("int8-2", None)]


def test_a_variant_that_does_not_run_does_not_affect_the_others(converted: Path, small: Small, tmp_path: Path) -> None:
    """A dynamic-range model of TensorFlow 2.21 has FULLY_CONNECTED 12, which tflite-runtime 2.14 refuses."""
    places = [converted / "dynamic.tflite", converted / "int8.tflite"]
    options = BenchmarkOptions(samples=small.samples, runtime="tflite-runtime", timing=SHORT, blocks=BLOCKS, patience=1)
    dynamic, int8 = benchmark(places, LocalDevice(), tmp_path / "b", options, ignore).results
    assert dynamic.status is Status.FAILED
    assert dynamic.error is not None
    assert "FULLY_CONNECTED" in dynamic.error.message
    assert int8.status is Status.OK
    assert int8.runtime == "tflite-runtime 2.14.0"


def test_a_device_that_fails_is_reported_in_each_result(converted: Path, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text(
        f'#!/bin/sh\nif [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\nexit 3\n'
    )  # it answers probes
    broken.chmod(0o755)
    device = LocalDevice(name="broken", python=str(broken))
    document = benchmark(
        [converted], device, tmp_path / "b", BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1), ignore
    )
    assert {result.error.code for result in document.results if result.error} == {"device"}
    assert len(document.results) == len(DEFAULT_SCHEMES)


def test_files_that_do_not_belong_together_are_refused(
    converted: Path, reference: Path, small: Small, tmp_path: Path
) -> None:
    def run(place: Path, options: BenchmarkOptions) -> None:
        benchmark([place], LocalDevice(), tmp_path / "b", options, ignore)

    np.savez(tmp_path / "others.npz", image=np.zeros((3, 8, 8, 1), np.float32))
    with pytest.raises(EdgetfError, match="the reference was made on other samples"):
        run(converted, BenchmarkOptions(reference=reference, samples=tmp_path / "others.npz"))

    changed = tmp_path / "changed"
    shutil.copytree(converted, changed)
    (changed / "int8.tflite").write_bytes((changed / "float32.tflite").read_bytes())
    with pytest.raises(EdgetfError, match="is not the file that conversion"):
        run(changed, BenchmarkOptions(reference=reference))

    import keras

    other = keras.Sequential([keras.Input((8, 8, 1), name="image"), keras.layers.Flatten(), keras.layers.Dense(3)])
    other.export(str(tmp_path / "other"), verbose=False)
    convert(tmp_path / "other", tmp_path / "other_out", ConvertOptions(("float32",)), ignore)
    with pytest.raises(EdgetfError, match="was made from another model than the reference"):
        run(tmp_path / "other_out", BenchmarkOptions(reference=reference))
    assert not (tmp_path / "b").exists()


def test_a_variant_that_cannot_be_compared_does_not_affect_the_others(
    converted: Path, reference: Path, small: Small, tmp_path: Path
) -> None:
    class Renamed(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 1], tf.float32, name="image")])  # type: ignore[untyped-decorator]
        def call(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"other": tf.reduce_mean(image, axis=[1, 2])}

    module = Renamed()
    tf.saved_model.save(module, str(tmp_path / "renamed"), signatures=module.call)
    convert(tmp_path / "renamed", tmp_path / "out", ConvertOptions(("float32",)), ignore)
    (tmp_path / "foreign.tflite").write_bytes((tmp_path / "out" / "float32.tflite").read_bytes())
    places = [converted / "int8.tflite", tmp_path / "foreign.tflite"]
    options = BenchmarkOptions(reference=reference, timing=SHORT, blocks=BLOCKS, patience=1)
    int8, foreign = benchmark(places, LocalDevice(), tmp_path / "b", options, ignore).results
    assert int8.parity is not None
    assert foreign.error is not None
    assert (foreign.error.code, foreign.latency_ms is None) == ("parity", False)
    assert "has outputs ['other']" in foreign.error.message


def test_a_failed_conversion_is_among_the_results(small: Small, tmp_path: Path) -> None:
    convert(small.saved_model, tmp_path / "out", ConvertOptions(("float32", "int8")), ignore)
    options = BenchmarkOptions(samples=small.samples, timing=SHORT, blocks=BLOCKS, patience=1)
    float32, int8 = benchmark([tmp_path / "out"], LocalDevice(), tmp_path / "b", options, ignore).results
    assert float32.status is Status.OK
    assert int8.error is not None
    assert (int8.error.code, int8.bytes) == ("conversion", None)


def test_a_reference_finds_its_own_samples_again(small: Small, converted: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.npz"
    shutil.copy(small.samples, mine)
    make_reference(small.saved_model, mine, tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)
    mine.unlink()
    with pytest.raises(EdgetfError, match="which is not here") as caught:
        benchmark([converted], LocalDevice(), tmp_path / "b", BenchmarkOptions(reference=tmp_path / "ref"), ignore)
    assert "--samples" in caught.value.hint


def test_places_without_variants_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place, message in ((tmp_path / "empty", "there are no variants in"), (tmp_path / "none", "does not exist")):
        with pytest.raises(EdgetfError, match=message):
            benchmark([place], LocalDevice(), tmp_path / "b", BenchmarkOptions(), ignore)


@pytest.mark.slow
def test_samples_are_independent_even_if_an_op_keeps_state(tmp_path: Path) -> None:
    """The fused LSTM of a Keras 2 model: TFLite starts a run with the state that the last one ended with."""
    code = (
        "import tf_keras as k\n"
        "k.utils.set_random_seed(0)\n"
        "k.Sequential([k.layers.Input((8, 4), name='x'), k.layers.LSTM(6), k.layers.Dense(3)]).save('lstm.h5')\n"
    )
    env = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, env=env)
    series = np.random.default_rng(0).normal(size=(60, 8, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=series)
    (variant,) = convert(tmp_path / "lstm.h5", tmp_path / "out", ConvertOptions(("float32",)), ignore).variants
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in variant.ops
    assert any("keeps state" in note for note in variant.notes)
    saved_model = tmp_path / "out" / "saved_model"
    make_reference(saved_model, tmp_path / "x.npz", tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)
    options = BenchmarkOptions(reference=tmp_path / "ref", timing=SHORT, blocks=BLOCKS, patience=1)
    (result,) = benchmark([tmp_path / "out"], LocalDevice(), tmp_path / "bench", options, ignore).results
    assert result.parity is not None
    assert result.parity.outputs[0].max_abs < 1e-5
