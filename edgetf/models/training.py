"""Training a model of the zoo. In: its name. Out: the model, its samples and its metrics.

Writes `model.keras`, `train.npz` (to calibrate on), `test.npz` (to judge on) and `training.json`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgetf import __version__, files
from edgetf.backend import load_tensorflow
from edgetf.conversion.keras_export import export_model
from edgetf.errors import EdgetfError
from edgetf.events import Phase
from edgetf.models.hardware import leads
from edgetf.models.run import Run
from edgetf.models.zoo import Data, find_zoo_model
from edgetf.owned import own_temporary, scratch
from edgetf.samples import Samples, save_samples

# 1: first; 2: hardware; 3: seen
TRAINING_SCHEMA = 3
_CLAIMS = ("model.keras", "training.json")
CHECKPOINTS, LOGS = "checkpoints", "logs"  # in the folder of a training
_WORDS = {
    "test_accuracy": "{:.1%} right",
    "test_mean_squared_error": "mean squared error {:.3g}",
    "test_auc": "area under the ROC curve {:.3f}",
    "mean_return": "mean return {:.0f} over 100 games",
    "least_return": "the least {:.0f}",
    "sequential_accuracy": "{:.1%} by Sequential",
    "float_test_accuracy": "{:.1%} right before it was made smaller",
    "weight_sparsity": "{:.1%} of the weights 0",
    "most_distinct_weights": "at most {:.0f} distinct weights in a kernel",
}


@dataclass(frozen=True)
class Training:
    """`training.json`: what was trained and what it reached on the test samples, `seen` of which it was trained on."""

    schema: int
    edgetf: str
    created: str
    model: str
    seconds: float
    metrics: dict[str, float]
    train_samples: int
    test_samples: int
    versions: dict[str, str]
    hardware: str = ""
    seen: int = 0


def train(name: str, out: Path, force: bool, run: Run) -> Training:
    """Train the zoo's model `name` and leave the files in `out`. Raises EdgetfError for an unknown name.

    Of the workers of a training on several machines only the first leaves files.
    """
    _, training = _train(name, out, force, run)
    return training


def train_and_export(name: str, out: Path, saved_model: Path, force: bool, run: Run) -> Training:
    """`train`, then export the model to `saved_model` as well."""
    with files.staged(saved_model.parent, [saved_model.name], force) as staging:
        model, training = _train(name, out, force, run)
        export_model(model, staging / saved_model.name)
    return training


def refuse_mistakes(name: str, out: Path, force: bool) -> None:
    """Raise EdgetfError as a training would that has loaded TensorFlow: the name is unknown, or `out` holds results."""
    find_zoo_model(name)
    if leads():
        files.refuse_results(out, _CLAIMS, force)


def train_resumable(name: str, out: Path, force: bool, run: Run, *, logs: bool) -> Training:
    """`train` with its state kept in `out` / CHECKPOINTS until it is done, and with `logs` a log in `out` / LOGS.

    Resumes from a checkpoint that is there. Raises EdgetfError if that is of another training; with `force` it is
    removed.
    """
    find_zoo_model(name)
    folder = out / CHECKPOINTS
    this = {"model": name, "epochs": run.epochs, "edgetf": __version__}
    note = folder / "training.json"
    if leads():
        if force:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(out / LOGS, ignore_errors=True)
        if note.is_file() and _has_begun(folder) and (found := files.parse_document(note)) != this:
            raise EdgetfError(
                f"{folder} is of another training: {found}, and this is {this}", "start over with --force"
            )
        if force or not (out / "training.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            files.write_whole(note, json.dumps(this).encode())
    try:
        return train(name, out, force, replace(run, checkpoints=folder, logs=out / LOGS if logs else None))
    finally:
        if leads() and not _has_begun(folder):  # it failed before there was anything to resume
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # other files are there
                out.rmdir()


def _has_begun(folder: Path) -> bool:
    """Whether there is a checkpoint: TensorFlow writes this file after those of the first one."""
    return (folder / "checkpoint").exists()


def in_words(training: Training) -> str:
    """The result of a training, such as "97.9% right, on 1,000 samples that it had not seen"."""
    described = [
        _WORDS[name].format(v) if name in _WORDS else f"{name.replace('_', ' ')} {v:.4g}"
        for name, v in training.metrics.items()
    ]
    if not any("test_" in name for name in training.metrics):
        return ", ".join(described)
    n, seen = training.test_samples, training.seen
    if seen == n:
        return f"{', '.join(described)}, on the {n:,} samples that it was trained on"
    known = f", {seen:,} of which it was trained on" if seen else " that it had not seen"
    return f"{', '.join(described)}, on {n:,} samples{known}"


def _train(name: str, out: Path, force: bool, run: Run) -> tuple[Any, Training]:
    entry = find_zoo_model(name)
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_temporary())
        staging = stack.enter_context(files.staged(out, _CLAIMS, force) if leads() else scratch())
        run.on_event(Phase("loading TensorFlow"))
        tf = load_tensorflow()
        tf.config.experimental.enable_op_determinism()  # the same seed gives the same weights, on this machine
        module = entry.load()
        data = module.load_data()
        run.on_event(Phase(f"training {name}"))
        begin = perf_counter()
        trained = module.train(data, run)
        seconds = perf_counter() - begin
        trained.model.save(staging / "model.keras")
        save_samples(staging / "train.npz", trained.data.train)
        save_samples(staging / "test.npz", trained.data.test)
        training = describe(name, seconds, trained.metrics, trained.data, tf, run.hardware)
        files.write_document(staging / "training.json", training)
    if run.checkpoints is not None and leads():
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    return trained.model, training


def describe(name: str, seconds: float, metrics: dict[str, float], data: Data, tf: Any, hardware: str = "") -> Training:
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
        hardware=hardware,
        seen=_count_seen(data),
    )


def _count_seen(data: Data) -> int:
    """How many of the test samples are among those to train on, bit for bit."""
    names = sorted(data.train.inputs)
    if sorted(data.test.inputs) != names:
        return 0
    known = {_row(data.train, names, k) for k in range(len(data.train))}
    return sum(_row(data.test, names, k) in known for k in range(len(data.test)))


def _row(samples: Samples, names: list[str], k: int) -> bytes:
    digest = hashlib.sha256()
    for name in names:
        digest.update(np.ascontiguousarray(samples.inputs[name][k]).tobytes())
    return digest.digest()
