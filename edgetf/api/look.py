"""`edgetf.load` and `edgetf.inspect`: read results and inputs from a path."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetf.api.models import path_of_model
from edgetf.api.results import Bench, PinnedReference, Variants
from edgetf.api.verdicts import Tuned
from edgetf.console.progress import progress
from edgetf.conversion import keras_file
from edgetf.conversion.hub import PREFIX, find_model
from edgetf.conversion.origin import as_saved_model
from edgetf.conversion.ranges import RANGES_SCHEMA, Ranges
from edgetf.conversion.source_child import read_source_safely
from edgetf.device.runner.verify import MANIFEST
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.files import parse_document, read_document
from edgetf.flatbuffer import read_contents
from edgetf.reading import parsing
from edgetf.recipes import read_tuning
from edgetf.results import find_benchmarks, read_conversion, read_reference
from edgetf.samples import read_arrays
from edgetf.samples.formats import SAMPLE_FILES

_MOST_MANIFEST = 16 << 20  # bytes
_NAMES = ("tuning.json", "conversion.json", "benchmark.json", "reference.json", "ranges.json")


def load(path: str | os.PathLike[str]) -> Any:
    """Read results that a command or function has written.

    Parameters
    ----------
    path
        A folder or a JSON file. In a folder with several documents, such as the demo's, the conversion is read.

    Returns
    -------
    Variants, Bench, PinnedReference, Tuned or Ranges
        The same object that the function returned.

    Raises
    ------
    EdgetfError
        If there are no results of edgetf, or they have another schema.

    Examples
    --------
    >>> edgetf.load("bench")["float32"].verdict
    <Verdict.PASS: 'pass'>
    """
    place = Path(path)
    if len(find_benchmarks(place)) > 1:
        return Bench.read(place)
    file = next((place / name for name in _NAMES if (place / name).is_file()), place)
    if not file.is_file():
        raise EdgetfError(f"there are no results of edgetf at {place}", "give a folder or a file that edgetf wrote")
    keys = set(parse_document(file))
    if "candidates" in keys and "ending" in keys:
        return Tuned(file.parent, read_tuning(file))
    if "ranges" in keys and "variants" not in keys:
        return read_document(file, Ranges, RANGES_SCHEMA)
    if "variants" in keys:
        return Variants(file.parent, read_conversion(file))
    if "results" in keys:
        return Bench.read(file)
    if "outputs" in keys and "noise" in keys:
        return PinnedReference(file.parent, read_reference(file))
    raise EdgetfError(f"{file} is not a conversion, a reference, a benchmark, a tuning or ranges", "give one of these")


def is_variant(path: Path) -> bool:
    """Whether it is a TFLite file, by its name or its identifier."""
    if path.suffix == ".tflite" or not path.is_file():
        return path.suffix == ".tflite"
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3"


def is_bundle(path: Path) -> bool:
    """Whether it is an archive with a bundle's manifest."""
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except Exception:  # zipfile can raise any exception for a file of another kind
        return False


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a bundle. Raises EdgetfError for a file that is not a bundle, or damaged."""
    with parsing(path, "a complete bundle", "make it again with: edgetf bundle"), zipfile.ZipFile(path) as archive:
        if archive.getinfo(MANIFEST).file_size > _MOST_MANIFEST:
            raise ValueError("its manifest is too large")
        return dict(json.loads(archive.read(MANIFEST)))


def inspect(what: Any, *, trust: bool = False, on_event: OnEvent | None = None) -> Any:
    """Read a `.tflite` file, a model, samples, a bundle or a document, as `edgetf inspect` does.

    Parameters
    ----------
    what
        A path, `hub:...`, or a live model, as for `edgetf.convert`.
    trust, on_event
        As for `edgetf.convert`.

    Returns
    -------
    Contents, Source, dict, or what `load` returns
        For a `.tflite` file its inputs, outputs, operations and weights; for a model the inputs and outputs of its
        signature; for samples the arrays by name, mapped from the file; for a bundle its manifest.

    Raises
    ------
    EdgetfError
        If edgetf cannot read it, or it is damaged.

    Examples
    --------
    >>> edgetf.inspect("out/int8.tflite").inputs[0].dtype
    'float32'
    """
    if not isinstance(what, (str, os.PathLike)):
        what = path_of_model(what)
    place = Path(what)
    if is_variant(place):
        return read_contents(place)
    if place.is_file() and is_bundle(place):
        return read_manifest(place)
    if place.name.endswith(SAMPLE_FILES):
        return read_arrays(place, None)
    if str(what).startswith(PREFIX) or keras_file.is_keras_file(place) or (place / "saved_model.pb").is_file():
        model = find_model(os.fspath(what))
        with progress("Inspecting", on_event) as report, as_saved_model(model, trust, report) as found:
            return replace(read_source_safely(found.folder, None), path=str(what), origin=found.origin)
    return load(place)
