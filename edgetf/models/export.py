"""To a SavedModel: a Keras file, whose classes may be those of the zoo, or a model of the zoo, trained first."""

from __future__ import annotations

from pathlib import Path

from edgetf import files
from edgetf.conversion import keras_export
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.models.run import Run
from edgetf.models.training import train_and_export
from edgetf.models.zoo import ZOO, find_zoo_model
from edgetf.owned import scratch


def export_file(path: Path, out: Path, force: bool, on_event: OnEvent, *, trust: bool = False) -> list[str]:
    """Export a `.keras` or `.h5` file to the SavedModel `out`; returns notes on what the export changed."""
    refuse_other_folders(out)
    with files.staged(out.parent, [out.name], force) as staging:
        classes = [model.module for model in ZOO.values()]
        return keras_export.export(path, staging / out.name, on_event, trust=trust, classes=classes)


def export_trained(name: str, out: Path, force: bool, on_event: OnEvent) -> None:
    """Train the zoo's model `name` and export it to the SavedModel `out`."""
    find_zoo_model(name)
    refuse_other_folders(out)
    with scratch() as folder:
        train_and_export(name, folder / "model", out, force, Run(on_event))


def refuse_other_folders(out: Path) -> None:
    """Raise EdgetfError when `out` holds something that is not a SavedModel: --force would wipe it."""
    if out.exists() and not (out / "saved_model.pb").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise EdgetfError(f"{out} exists and is not a SavedModel", "give another folder with -o")
