"""Samples lie along axis 0 of the file; an input without a batch axis takes one row of it, a scalar one value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.bundle import BundleOptions, make_bundle
from edgetf.benchmarks.diagnosis.ladder import climb
from edgetf.benchmarks.diagnosis.twins import LadderOptions
from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.device.runner.verify import verify
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import read_contents
from edgetf.results import Benchmark, Verdict, read_conversion
from tests.cases import wave_no_batch
from tests.conftest import BLOCKS, SHORT, ignore

SCHEMES = ("float32", "int8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wave")
    wave_no_batch.make(folder)
    return folder


def _run(made: Path, name: str, samples: str) -> Benchmark:
    convert(made / name, made / f"{name}-out", ConvertOptions(schemes=SCHEMES, samples=made / samples), ignore)
    make_reference(made / name, made / samples, made / f"{name}-ref", ReferenceOptions(on=Place.CPU), ignore)
    options = BenchmarkOptions(reference=made / f"{name}-ref", timing=SHORT, blocks=BLOCKS, patience=1)
    return benchmark([made / f"{name}-out"], LocalDevice(), made / f"{name}-bench", options, ignore)


@pytest.mark.parametrize(
    ("name", "samples", "unbatched"),
    [("free", "waves.npz", ["waveform"]), ("fixed", "waves.npz", ["waveform"]), ("switch", "switch.npz", ["training"])],
)
def test_it_goes_from_the_model_to_a_verdict(made: Path, name: str, samples: str, unbatched: list[str]) -> None:
    found = _run(made, name, samples)
    float32, int8 = found.results
    assert float32.parity is not None
    assert float32.parity.verdict is Verdict.PASS, float32.parity.reason
    assert int8.parity is not None
    assert int8.parity.verdict is not Verdict.FAIL
    source = read_conversion(made / f"{name}-out").source
    assert [spec.name for spec in source.inputs if spec.batched is False] == unbatched
    assert found.reference is not None
    assert found.reference.source == source
    shape = load_outputs(found.reference, made / f"{name}-ref").values
    assert {values.shape for values in shape.values()} <= {(40, 6), (40, 5)}


def test_the_ladder_and_a_bundle_support_it(made: Path) -> None:
    if not (made / "switch-bench").exists():
        _run(made, "switch", "switch.npz")
    asked = LadderOptions("float32", [made / "switch-out"], made / "switch-ref")
    assert climb(made / "switch-bench", asked, ignore).broken is None
    make_bundle(made / "switch-bench", made / "switch.edgetf", BundleOptions(asked, golden=8), ignore)
    proof = verify(made / "switch.edgetf", "litert", ignore)
    assert proof.problems == []
    assert proof.n == 8


def test_a_free_length_must_be_given_and_is_read_from_the_option(made: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="is this the length of one sample, or a batch") as caught:
        convert(made / "free", tmp_path / "out", ConvertOptions(schemes=("float32",)), ignore)
    assert "--shape waveform=LENGTH" in caught.value.hint
    options = ConvertOptions(schemes=("float32",), shapes={"waveform": (wave_no_batch.LENGTH,)})
    convert(made / "free", tmp_path / "out", options, ignore)
    assert len(read_contents(tmp_path / "out" / "float32.tflite").ops) > 3


def test_a_flat_file_is_refused_with_a_hint(made: Path, tmp_path: Path) -> None:
    options = ReferenceOptions(on=Place.CPU)
    with pytest.raises(EdgetfError, match=r"'waveform' is float32 \[16000\]") as caught:
        make_reference(made / "fixed", made / "flat.npz", tmp_path / "ref", options, ignore)
    assert "save it as [n, 400]" in caught.value.hint
    with pytest.raises(EdgetfError, match=r"TensorFlow refuses the samples|holds NaN"):
        make_reference(made / "free", made / "flat.npz", tmp_path / "ref", options, ignore)


def test_random_inputs_for_latency_need_no_batch_axis(made: Path, tmp_path: Path) -> None:
    if not (made / "switch-out").exists():
        convert(made / "switch", made / "switch-out", ConvertOptions(schemes=("float32",)), ignore)
    options = BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1)
    found = benchmark([made / "switch-out" / "float32.tflite"], LocalDevice(), tmp_path / "bench", options, ignore)
    assert found.results[0].latency_ms is not None
    assert np.isfinite(found.results[0].latency_ms.median)
