"""Training a model of the zoo: its name in; the model, its samples and what it reached out.

Leaves `model.keras`, `train.npz` (to calibrate on), `test.npz` (to judge on) and `training.json`.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from edgetf import __version__, files
from edgetf.convert.backend import load_tensorflow
from edgetf.convert.keras_file import export_model
from edgetf.models.zoo import Data, find_model
from edgetf.process import OnEvent
from edgetf.samples import save_samples

# 1: first
TRAINING_SCHEMA = 1


@dataclass(frozen=True)
class Training:
    """`training.json`: what was trained and what it reached on the test samples."""

    schema: int
    edgetf: str
    created: str
    model: str
    seconds: float
    metrics: dict[str, float]
    train_samples: int
    test_samples: int
    versions: dict[str, str]


def train(name: str, out: Path, force: bool, on_event: OnEvent) -> Training:
    """Train the zoo's model `name` and leave the files in `out`. Raises EdgetfError for an unknown name."""
    _, training = _train(name, out, force, on_event)
    return training


def train_and_export(name: str, out: Path, saved_model: Path, force: bool, on_event: OnEvent) -> Training:
    """`train`, then export the model to `saved_model` as well."""
    with files.staged(saved_model.parent, [saved_model.name], force) as staging:
        model, training = _train(name, out, force, on_event)
        export_model(model, staging / saved_model.name)
    return training


def _train(name: str, out: Path, force: bool, on_event: OnEvent) -> tuple[Any, Training]:
    entry = find_model(name)
    with files.staged(out, ["model.keras", "training.json"], force) as staging:
        on_event({"event": "phase", "phase": "loading TensorFlow"})
        tf = load_tensorflow()
        tf.config.experimental.enable_op_determinism()  # the same seed gives the same weights, on this machine
        module = entry.load()
        data = module.load_data()
        on_event({"event": "phase", "phase": f"training {name}"})
        begin = perf_counter()
        model, metrics = module.train(data, on_event)
        seconds = perf_counter() - begin
        model.save(staging / "model.keras")
        save_samples(staging / "train.npz", data.train)
        save_samples(staging / "test.npz", data.test)
        training = describe(name, seconds, metrics, data, tf)
        files.write_document(staging / "training.json", training)
    return model, training


def describe(name: str, seconds: float, metrics: dict[str, float], data: Data, tf: Any) -> Training:
    """The document on a training that took `seconds`."""
    return Training(
        schema=TRAINING_SCHEMA,
        edgetf=__version__,
        created=files.now(),
        model=name,
        seconds=round(seconds, 1),
        metrics=metrics,
        train_samples=len(data.train),
        test_samples=len(data.test),
        versions={"tensorflow": tf.__version__, "python": platform.python_version()},
    )
