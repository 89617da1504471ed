"""What tests share: one small real network, its samples, and what the verbs make of them, each made once."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.reference import Place, ReferenceOptions, make_reference
from edgetf.convert.convert import ConvertOptions, convert
from edgetf.device.devices import LocalDevice
from edgetf.device.runner.job import TimingPlan
from edgetf.files import write_document
from edgetf.process import Event
from edgetf.samples import make_samples, save_samples

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["EDGETF_HISTORY"] = str(
    Path(tempfile.mkdtemp(prefix="edgetf-history-")) / "history.sqlite"
)  # not the user's
settings.register_profile("ci", derandomize=True)  # CI tries the same examples every time; other runs look for new ones
if os.environ.get("CI"):
    settings.load_profile("ci")
if WORKER := os.environ.get("PYTEST_XDIST_WORKER"):
    # workers beside each other are machines of their own, with locks of their own
    os.environ["TMPDIR"] = tempfile.tempdir = str(Path(tempfile.gettempdir()) / f"edgetf-tests-{WORKER}")
    Path(tempfile.tempdir).mkdir(exist_ok=True)
SHORT = TimingPlan(max_warmup_s=0.1, min_runs=50, min_s=0.05, max_s=2.0)
BLOCKS = 2  # the fewest


def ignore(event: Event) -> None:
    """For verbs whose events do not matter."""


@dataclass(frozen=True)
class Small:
    """A network of 3 classes for 8x8 images with random weights, and 200 samples labelled by itself."""

    saved_model: Path
    keras_file: Path
    samples: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    import keras

    folder = tmp_path_factory.mktemp("small")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(8, 3, activation="relu", bias_initializer="random_normal"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),  # large enough to be quantized by the dynamic scheme
            layers.Dense(3, activation="softmax", bias_initializer="random_normal"),
        ]
    )
    model.export(str(folder / "saved_model"), verbose=False)
    model.save(folder / "model.keras")
    images = np.random.default_rng(0).normal(size=(200, 8, 8, 1)).astype(np.float32)
    labels = np.argmax(model.predict(images, verbose=0), axis=1)
    save_samples(folder / "samples.npz", make_samples("test", {"image": images}, labels))
    return Small(folder / "saved_model", folder / "model.keras", folder / "samples.npz")


@pytest.fixture(scope="session")
def converted(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all schemes of the small network."""
    out = tmp_path_factory.mktemp("converted") / "out"
    convert(small.saved_model, out, ConvertOptions(samples=small.samples), ignore)
    return out


@pytest.fixture(scope="session")
def reference(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small network's reference, made on the CPU."""
    out = tmp_path_factory.mktemp("reference") / "ref"
    make_reference(small.saved_model, small.samples, out, ReferenceOptions(on=Place.CPU), ignore)
    return out


@pytest.fixture(scope="session")
def benchmarked(converted: Path, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the benchmark of all schemes against the reference.

    It is told to be stable: what a verdict makes of an unstable one has tests of its own, and a busy machine must not
    decide what the others see.
    """
    out = tmp_path_factory.mktemp("benchmarked") / "bench"
    options = BenchmarkOptions(reference=reference, timing=SHORT, blocks=BLOCKS, patience=1)
    found = benchmark([converted], LocalDevice(), out, options, ignore)
    calm = tuple(replace(result, stable=True, stable_reason="told by the tests") for result in found.results)
    write_document(out / "benchmark.json", replace(found, results=calm))
    return out


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def edgetf(tmp_path: Path) -> Run:
    """Runs the command as a user would, in an empty folder, and returns what it printed and its exit code."""

    def run(*arguments: object, cwd: Path = tmp_path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgetf", *map(str, arguments)]
        env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=env, check=False)

    return run
