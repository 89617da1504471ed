"""What a user does whose camera gives pixels: convert, benchmark against the model of normalized values, bundle."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.judging.ground import input_specs
from edgetf.benchmarks.judging.pixels import between_pixels
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.benchmarks.timing.targets import find_targets
from edgetf.conversion.pixels import fold_pixels
from edgetf.device import phone_job
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job
from edgetf.device.runner.verify import seal, verify
from edgetf.pixels import PixelMap
from edgetf.results import Verdict, read_conversion
from edgetf.samples import load_samples, make_samples, save_samples
from edgetf.schemes import SCHEMES
from tests.conftest import BLOCKS, SHORT, Run, Small, ignore

MAP = PixelMap((127.5,), (127.5,))


@pytest.fixture
def pixels() -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, (120, 8, 8, 1)).astype(np.uint8)


def test_variants_that_take_pixels_are_proven_and_need_no_preprocessing(
    small: Small, pixels: NDArray[Any], tmp_path: Path, edgetf_here: Run
) -> None:
    save_samples(tmp_path / "s.npz", make_samples("s", {"image": pixels / np.float32(127.5) - np.float32(1)}, None))
    asked = ("--scheme", "float32", "--scheme", "uint8-io", "--ranges", "minmax", "--pixels", "-1..1")
    ended = edgetf_here("convert", small.saved_model, "-o", "out", "--samples", "s.npz", *asked)
    assert ended.returncode == 0, ended.stderr
    assert "'image' takes uint8 pixels: the model gets (pixel - 127.5) / 127.5" in ended.stdout
    assert [one.pixels for one in read_conversion(tmp_path / "out").variants] == [{"image": MAP}] * 2
    make_reference(small.saved_model, tmp_path / "s.npz", tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)
    options = BenchmarkOptions(reference=tmp_path / "ref", timing=SHORT, blocks=BLOCKS)
    found = benchmark([tmp_path / "out"], LocalDevice(), tmp_path / "bench", options, ignore)
    float32, uint8 = (one.parity for one in found.results)
    assert float32 is not None
    assert (float32.verdict, float32.n) == (Verdict.PASS, len(pixels)), float32.reason
    assert uint8 is not None
    assert uint8.outputs[0].sqnr_db is not None
    assert uint8.outputs[0].sqnr_db > SCHEMES["uint8-io"].min_sqnr_db  # type: ignore[operator]
    assert not [warning for warning in found.warnings if "pixels" in warning]

    place = ("--variants", "out", "--reference", "ref", "-o", "b.edgetf", "--unproven")
    ended = edgetf_here("bundle", "bench", "--variant", "uint8-io", *place)
    assert ended.returncode == 0, ended.stderr
    assert "before: image takes uint8 pixels as they are" in edgetf_here("inspect", "b.edgetf").stdout
    with zipfile.ZipFile(tmp_path / "b.edgetf") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        golden = np.load(archive.open("input-0.npy"))
    assert manifest["pixels"] == {"image": {"mean": [127.5], "std": [127.5]}}
    np.testing.assert_array_equal(golden, pixels[: len(golden)])
    assert verify(tmp_path / "b.edgetf", "auto", ignore).problems == []
    proof = verify(_with_another_map(tmp_path / "b.edgetf", manifest), "auto", ignore)
    assert proof.problems == ["the manifest maps pixels in another way than the variant"]


def _with_another_map(bundle: Path, manifest: dict[str, object]) -> Path:
    other = bundle.with_name("other.edgetf")
    with zipfile.ZipFile(bundle) as archive, zipfile.ZipFile(other, "w") as written:
        for name in archive.namelist():
            changed = json.dumps({**manifest, "pixels": {"image": {"mean": [0.0], "std": [1.0]}}})
            written.writestr(name, changed if name == "manifest.json" else archive.read(name))
        written.comment = archive.comment
    other.write_bytes(seal(other.read_bytes()))
    return other


def test_samples_between_two_pixels_are_one_warning(converted: Path, small: Small, tmp_path: Path) -> None:
    """The samples of the small network are normal, of which no camera gives any."""
    for scheme in ("float32", "int8"):
        content = (converted / f"{scheme}.tflite").read_bytes()
        (tmp_path / f"{scheme}.tflite").write_bytes(fold_pixels(content, {"image": MAP}))
    targets = find_targets([tmp_path])
    normal = load_samples(small.samples, input_specs(targets[0]))
    [warning] = between_pixels(targets, normal)
    assert warning.startswith("'image' is not made of whole pixels: ")
    assert between_pixels(find_targets([converted]), normal) == []


def test_a_map_of_other_channels_in_a_file_of_somebody_else_ends_no_benchmark(converted: Path, tmp_path: Path) -> None:
    """The device refuses the variant; the others keep their results."""
    content = fold_pixels((converted / "float32.tflite").read_bytes(), {"image": PixelMap((1.0, 2.0), (1.0, 1.0))})
    (tmp_path / "float32.tflite").write_bytes(content)
    zeros = make_samples("s", {"image": np.zeros((2, 8, 8, 1), np.float32)}, None)
    assert between_pixels(find_targets([tmp_path]), zeros) == []


def test_a_phone_is_sent_pixels(converted: Path, pixels: NDArray[Any], tmp_path: Path) -> None:
    model = tmp_path / "int8.tflite"
    model.write_bytes(fold_pixels((converted / "int8.tflite").read_bytes(), {"image": MAP}))
    np.save(tmp_path / "image.npy", pixels / np.float32(127.5) - np.float32(1))
    job = Job(str(model), {"image": str(tmp_path / "image.npy")})
    prepared = phone_job.prepare(job, model, tmp_path)
    assert prepared.inputs[0].read_bytes() == pixels.tobytes()
