"""The model that the user gave: a SavedModel folder, or a Keras file that is exported to one.

`as_saved_model` returns the folder of either, `describe` records the original, and `is_stale` checks later whether it
has changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgetf.conversion import keras_export, keras_file
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.files import sha256_tree
from edgetf.owned import scratch
from edgetf.results import Origin, Source


@dataclass(frozen=True)
class Model:
    """The SavedModel at `folder`, and the `origin` that it was made from."""

    folder: Path
    origin: Origin


@contextlib.contextmanager
def as_saved_model(model: Path, trust: bool, on_event: OnEvent) -> Iterator[Model]:
    """The SavedModel of `model`. A Keras file is exported by its own Keras generation, and the export is temporary.

    Raises EdgetfError for a Keras file that is damaged, or that contains code unless `trust`.
    """
    if not keras_file.is_keras_file(model):
        yield Model(model, describe(model))
        return
    origin = describe(model)  # first: it reads the whole file, in a process with a short time limit
    with scratch() as work:
        folder = work / "saved_model"
        notes = keras_export.export(model, folder, on_event, trust=trust)
        yield Model(folder, replace(origin, notes=tuple(notes)))


def describe(model: Path, notes: Sequence[str] = ()) -> Origin:
    """The path of `model`, and a digest that changes with it."""
    return Origin(str(model.resolve()), _digest(model), tuple(notes))


def is_stale(source: Source) -> bool:
    """Whether the model that `source` was made from still exists and now computes something else."""
    origin = source.origin
    try:
        if origin is None or not is_model(path := Path(origin.path)):
            return False
        if _digest(path) == origin.digest:
            return False
        if keras_file.is_keras_file(path):
            return True
        from edgetf.conversion.source_child import read_source_safely  # loads TensorFlow: only if the bytes differ

        return read_source_safely(path, source.signature).digest != source.digest
    except EdgetfError:  # something else is there now, or it is half-written
        return True
    except OSError:  # it cannot be read: that is for the command that needs it
        return False


def is_model(path: Path) -> bool:
    """Whether a model is there: nothing else is read, whatever a document names."""
    return (keras_file.is_keras_file(path) and path.is_file()) or (path / "saved_model.pb").is_file()


def stale_warnings(sources: Mapping[str, Source]) -> list[str]:
    """A warning for each model that has changed since the named variants (or a reference) were made from it."""
    names: dict[str, list[str]] = {}
    stale: dict[Origin, bool] = {}
    for name, source in sources.items():
        if source.origin is not None:
            if source.origin not in stale:
                stale[source.origin] = is_stale(source)
            if stale[source.origin]:
                names.setdefault(source.origin.path, []).append(name)
    return [f"{path} has changed since {', '.join(made)} came from it: make that again" for path, made in names.items()]


def _digest(model: Path) -> str:
    return keras_file.read_digest(model) if keras_file.is_keras_file(model) else sha256_tree(model)
