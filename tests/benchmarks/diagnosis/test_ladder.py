from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetf import files
from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.diagnosis import ladder, twins
from edgetf.benchmarks.diagnosis.ladder import climb
from edgetf.benchmarks.diagnosis.layers import Layer
from edgetf.benchmarks.diagnosis.twins import LadderOptions
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.benchmarks.rows import Outputs
from edgetf.benchmarks.timing.targets import Target
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.errors import EdgetfError
from edgetf.figures import OpTime
from edgetf.flatbuffer import pack, unpack
from edgetf.results import Verdict, read_benchmark
from tests.attacks.kit import FEATURES, answers, write_model, write_reference, write_samples
from tests.conftest import BLOCKS, SHORT, Run, Small, ignore
from tests.conversion.test_known_faults import _TRAIN


def test_every_step_of_a_sound_variant_holds(benchmarked: Path, converted: Path, reference: Path, small: Small) -> None:
    options = LadderOptions("int8", (converted,), reference, keras=small.keras_file)
    ladder = climb(benchmarked, options, ignore)
    assert [rung.name for rung in ladder.rungs] == ["Keras to SavedModel", "SavedModel to float32", "float32 to int8"]
    assert ladder.broken is None
    assert (ladder.device, ladder.n) == ("local", 200)
    exported, floats, quantized = ladder.rungs
    assert exported.verdict is floats.verdict is Verdict.PASS
    assert quantized.share > 0.99  # of the error is the quantization's
    assert sum(rung.share for rung in ladder.rungs) == pytest.approx(1)


def test_the_last_step_is_the_device(benchmarked: Path, converted: Path, reference: Path, tmp_path: Path) -> None:
    """Outputs of another device, which computes other numbers than this machine."""
    document = read_benchmark(benchmarked)
    int8 = next(result for result in document.results if result.variant == "int8")
    folder = tmp_path / "measurements" / "int8" / "samples"
    folder.mkdir(parents=True)
    source = benchmarked / str(int8.measurement) / "samples"
    for name in ("measurement.json", "output-0.npy"):
        (folder / name).write_bytes((source / name).read_bytes())
    elsewhere = replace(int8, device="pi", measurement="measurements/int8")
    files.write_document(tmp_path / "benchmark.json", replace(document, results=(elsewhere,)))
    options = LadderOptions("int8", (converted,), reference)
    ladder = climb(tmp_path, options, ignore)
    assert ladder.rungs[-1].name == "int8: this machine to pi"
    assert (ladder.rungs[-1].verdict, ladder.rungs[-1].share) == (Verdict.PASS, 0.0)
    np.save(folder / "output-0.npy", np.load(folder / "output-0.npy")[:, ::-1])
    ladder = climb(tmp_path, options, ignore)
    assert ladder.broken == "int8: this machine to pi"


@pytest.mark.slow
def test_clipped_cells_are_broken_by_the_float_conversion_and_not_by_quantization(tmp_path: Path, edgetf: Run) -> None:
    """The output of TensorFlow's own converter for an LSTM whose cells exceed 10: its float32 is already wrong."""
    env = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    subprocess.run([sys.executable, "-c", _TRAIN], cwd=tmp_path, check=True, capture_output=True, env=env)
    with np.load(tmp_path / "s.npz") as archive:
        np.savez(tmp_path / "s.npz", series=archive["x"])
    out = tmp_path / "out"
    convert(tmp_path / "model.h5", out, ConvertOptions(("float32", "dynamic")), ignore)
    for name in ("float32", "dynamic"):
        model, _ = unpack((out / f"{name}.tflite").read_bytes())
        for operator in model.subgraphs[0].operators:
            if hasattr(operator.builtinOptions, "cellClip"):
                operator.builtinOptions.cellClip = 10.0  # as the official converter leaves it
        (tmp_path / f"{name}.tflite").write_bytes(pack(model))
    variants = (tmp_path / "float32.tflite", tmp_path / "dynamic.tflite")
    make_reference(out / "saved_model", tmp_path / "s.npz", tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)
    options = BenchmarkOptions(reference=tmp_path / "ref", timing=SHORT, blocks=BLOCKS, patience=1)
    benchmark(variants, LocalDevice(), tmp_path / "bench", options, ignore)
    command = ("--variant", "dynamic", "--no-layers", "--reference", "ref", "--keras", "model.h5")
    places = [word for path in variants for word in ("--variants", path)]
    ended = edgetf("explain", "bench", *command, *places, "--json")
    assert ended.returncode == 3, ended.stderr
    ladder = json.loads(ended.stdout)["ladder"]
    assert ladder["broken"] == "SavedModel to float32"
    shares = {rung["name"]: rung["share"] for rung in ladder["rungs"]}
    assert shares["SavedModel to float32"] > 0.9
    assert ladder["rungs"][0]["verdict"] == "pass"  # the export is sound
    reported = edgetf("explain", "bench", *command, *places)
    assert "Broken by: SavedModel to float32." in reported.stdout


def test_what_is_missing_is_reported(benchmarked: Path, converted: Path, reference: Path, edgetf: Run) -> None:
    with pytest.raises(EdgetfError, match="no result of a variant 'int4'"):
        climb(benchmarked, LadderOptions("int4", (converted,), reference), ignore)
    with pytest.raises(EdgetfError, match="the file of int8 is missing"):
        climb(benchmarked, LadderOptions("int8", (converted / "float32.tflite",), reference), ignore)
    ended = edgetf("explain", benchmarked)
    assert (ended.returncode, "Missing option '--variant'" in ended.stderr) == (2, True)


def test_a_file_that_is_exchanged_is_neither_run_nor_analyzed(
    benchmarked: Path, converted: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(converted, tmp_path / "variants")
    options = LadderOptions("int8", (tmp_path / "variants",), reference)

    def exchanging(place: Path, given: LadderOptions) -> twins.Twins:
        found = twins.find_twins(place, given)
        found.target.path.write_bytes((converted / "dynamic.tflite").read_bytes())
        return found

    monkeypatch.setattr(ladder, "find_twins", exchanging)
    with pytest.raises(EdgetfError, match=r"int8\.tflite changed while edgetf read it"):
        climb(benchmarked, options, ignore)
    shutil.copy(converted / "int8.tflite", tmp_path / "variants")
    with pytest.raises(EdgetfError, match=r"int8\.tflite changed while edgetf read it"):
        ladder.find_layers(benchmarked, options)


def test_layers_have_the_time_of_the_first_operation_of_their_name(benchmarked: Path) -> None:
    """A profiler's names may have the number of the node."""
    result = replace(
        read_benchmark(benchmarked).results[0],
        ops=(OpTime("A", "[one]:3", 1.0, 0.5), OpTime("B", "two", 1.0, 0.3), OpTime("B", "two", 1.0, 0.2)),
    )
    layers = [Layer("", "A", name, None, None, "", "") for name in ("one", "[one]:3", "two", "three")]
    assert [layer.time_share for layer in ladder._timed(layers, result)] == [0.5, 0.5, 0.3, None]


def test_without_a_float32_variant_nothing_runs_for_the_layers(
    benchmarked: Path, converted: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ladder, "run_here")
    asked = LadderOptions("int8", (converted / "int8.tflite",), reference)
    with pytest.raises(EdgetfError, match="there is no float32 variant to compare the layers of int8 with"):
        ladder.explain(benchmarked, asked, ignore)


def test_copies_of_samples_are_no_evidence_for_a_step(tmp_path: Path) -> None:
    random, none = np.random.default_rng(0), np.zeros(4, np.float32)
    x = np.tile(random.normal(size=(12, FEATURES)), (100, 1)).astype(np.float32)
    weights = random.normal(size=(FEATURES, 4)).astype(np.float32)
    write_samples(tmp_path / "samples.npz", x, answers(x, weights, none).argmax(axis=1))
    write_reference(tmp_path / "ref", tmp_path / "samples.npz", answers(x, weights, none))
    variant = write_model(tmp_path / "v.tflite", weights * np.float32(1.0001), none)
    measuring = BenchmarkOptions(reference=tmp_path / "ref", timing=SHORT, blocks=BLOCKS, patience=1, energy_s=0.0)
    benchmark([variant], LocalDevice(), tmp_path / "bench", measuring, ignore)
    found = climb(tmp_path / "bench", LadderOptions("v", (variant,), tmp_path / "ref"), ignore)
    [rung] = found.rungs
    assert (rung.verdict, found.whole) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    for reason in (rung.reason, found.because):
        assert reason.startswith("accuracy drop +0.00 points [-24.25, +24.25]")
        assert reason.endswith("; 12 distinct samples of 1,200")


def test_only_private_copies_are_run(
    benchmarked: Path, converted: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(converted, tmp_path / "variants")

    def exchanging(target: Target, *rest: Any) -> Outputs:
        target.path.write_bytes(b"another file")
        return twins.run_here(target, *rest)

    monkeypatch.setattr(ladder, "run_here", exchanging)
    assert climb(benchmarked, LadderOptions("int8", (tmp_path / "variants",), reference), ignore).broken is None
