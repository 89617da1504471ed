"""What the rounds run on: a network with random weights, its samples, variants, reference and benchmark.

For `tune`: two of the variants, which are soon proven, and a reference on other samples than they were calibrated on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import TimingPlan
from edgetf.events import Event
from edgetf.samples import make_samples, save_samples


def make(folder: Path) -> Path:
    """Make all of it in `folder`, in a separate process: TensorFlow's threads must not be in this one."""
    subprocess.run([sys.executable, "-m", "tests.chaos.model", str(folder)], check=True)
    return folder


def _make(folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(8, 3, activation="relu", bias_initializer="random_normal"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", bias_initializer="random_normal"),
        ]
    )
    folder.mkdir(parents=True)
    model.export(str(folder / "saved_model"), verbose=False)
    for seed, (name, n) in enumerate({"samples": 2000, "other_samples": 600}.items()):
        images = np.random.default_rng(seed).normal(size=(n, 8, 8, 1)).astype(np.float32)
        labels = np.argmax(model.predict(images, verbose=0), axis=1)
        save_samples(folder / f"{name}.npz", make_samples("test", {"image": images}, labels))
    samples, others = folder / "samples.npz", folder / "other_samples.npz"
    convert(folder / "saved_model", folder / "variants", ConvertOptions(samples=samples), _ignore)
    convert(folder / "saved_model", folder / "pair", ConvertOptions(("float32", "int8"), samples), _ignore)
    make_reference(folder / "saved_model", samples, folder / "reference", ReferenceOptions(on=Place.CPU), _ignore)
    make_reference(folder / "saved_model", others, folder / "others", ReferenceOptions(on=Place.CPU), _ignore)
    timing = TimingPlan(max_warmup_s=0.1, min_runs=50, min_s=0.05, max_s=2.0)
    options = BenchmarkOptions(reference=folder / "reference", timing=timing, blocks=2, patience=1)
    variants = [folder / "variants" / f"{name}.tflite" for name in ("float32", "int8")]
    benchmark(variants, LocalDevice(), folder / "bench", options, _ignore)


def _ignore(event: Event) -> None:
    """For functions whose events do not matter."""


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
