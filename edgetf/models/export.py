"""To a SavedModel: a Keras file, whose classes may be those of the zoo, or a model of the zoo, trained first."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgetf import files
from edgetf.convert import keras_file
from edgetf.errors import EdgetfError
from edgetf.models.run import Run
from edgetf.models.training import train_and_export
from edgetf.models.zoo import ZOO, find_model
from edgetf.process import OnEvent


def export_file(path: Path, out: Path, force: bool, on_event: OnEvent) -> None:
    """Export a `.keras` or `.h5` file to the SavedModel `out`. Call it before TensorFlow is imported."""
    generation = keras_file.keras_generation(path)
    os.environ.update(keras_file.environment(generation))
    on_event({"event": "phase", "phase": f"exporting {path.name}"})
    refuse_other_folders(out)
    with files.staged(out.parent, [out.name], force) as staging:
        keras_file.register_classes([model.module for model in ZOO.values()])
        keras_file.export_keras_file(path, staging / out.name)


def export_trained(name: str, out: Path, force: bool, on_event: OnEvent) -> None:
    """Train the zoo's model `name` and export it to the SavedModel `out`."""
    find_model(name)
    refuse_other_folders(out)
    with tempfile.TemporaryDirectory() as folder:
        train_and_export(name, Path(folder, "model"), out, force, Run(on_event))


def refuse_other_folders(out: Path) -> None:
    """Raise EdgetfError when `out` holds something that is not a SavedModel: --force would wipe it."""
    if out.exists() and not (out / "saved_model.pb").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise EdgetfError(f"{out} exists and is not a SavedModel", "give another folder with -o")
