"""`edgetf.load` and `edgetf.inspect`: read results and inputs from a path. `kind_of` tells what a path is."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from enum import Enum
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
from edgetf.device.runner.manifest import MANIFEST, Manifest, parse_manifest
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.files import parse_document, read_document
from edgetf.flatbuffer import read_contents
from edgetf.reading import parsing
from edgetf.recipes import read_tuning
from edgetf.results import find_benchmarks, read_conversion, read_reference
from edgetf.samples import is_missing, read_arrays
from edgetf.samples.formats import IMAGES, SAMPLE_FILES
from edgetf.samples.images import list_classes
from edgetf.samples.records import is_records
from edgetf.samples.source import FOLDER, PATH, parse_source
from edgetf.targets.fits import find_fits

_MOST_MANIFEST = 16 << 20  # bytes
_NAMES = ("run.json", "tuning.json", "conversion.json", "benchmark.json", "reference.json", "ranges.json")
_MODELS = (".keras", ".h5", ".hdf5", ".tflite")
_SHOWN = 5  # files that a hint names
_HINT = "give a model, a variant, samples, or results of edgetf"


class Kind(str, Enum):
    """What edgetf reads."""

    VARIANT = "variant"
    MODEL = "model"
    RESULTS = "results"
    BUNDLE = "bundle"
    SAMPLES = "samples"
    IMAGES = "images"  # samples whose size depends on a model


def kind_of(what: str) -> Kind:
    """What is at a path, or in a source of samples. Raises EdgetfError if edgetf cannot read it."""
    place, parts = Path(what), parse_source(what)
    if what.startswith(PREFIX) or keras_file.is_keras_file(place) or (place / "saved_model.pb").is_file():
        return Kind.MODEL
    if is_variant(place):
        return Kind.VARIANT
    if (place.is_file() and place.suffix == ".json") or _documents(place) or find_benchmarks(place) != (place,):
        return Kind.RESULTS
    if place.is_file() and is_bundle(place):
        return Kind.BUNDLE
    if is_missing(what):
        raise EdgetfError(f"{what} does not exist", _HINT)
    source = Path(parts.rest)
    if parts.kind is not FOLDER and (
        parts.kind is not PATH or is_records(source) or source.name.endswith(SAMPLE_FILES)
    ):
        return Kind.SAMPLES
    if parts.kind is FOLDER or (place.is_dir() and not _inside(place) and _images(place)):
        return Kind.IMAGES
    if not place.is_dir():
        raise EdgetfError(f"{what} is neither a TFLite file nor anything else that edgetf reads", _HINT)
    inside = ", ".join(map(str, _inside(place)[:_SHOWN]))
    hint = f"give one of {inside}" if inside else "give a SavedModel folder, or samples"
    raise EdgetfError(f"{place} is neither a SavedModel nor anything else that edgetf reads", hint)


def _documents(place: Path) -> list[Path]:
    """The documents in a folder, the one that is shown first."""
    return [place / name for name in _NAMES if (place / name).is_file()]


def _inside(folder: Path) -> list[Path]:
    """The models and samples in a folder."""
    models = (child.parent for child in folder.glob("*/saved_model.pb"))
    files = (child for child in folder.iterdir() if child.name.endswith((*_MODELS, *SAMPLE_FILES)))
    return sorted([*models, *files])


def count_images(source: str) -> dict[str, int]:
    """The number of images of each class, by the name of its subfolder; without subfolders, of the class "".

    `source` is a folder, or `folder:PATH` with options. Raises EdgetfError if there are no images.
    """
    folder = Path(parse_source(source).rest)
    with parsing(folder, "a folder of images", "give a folder with a subfolder of images for each class"):
        found = _images(folder)
    if not found:
        raise EdgetfError(f"{folder} has no images", f"images have the suffixes {', '.join(IMAGES)}")
    return found


def _images(folder: Path) -> dict[str, int]:
    def count(place: Path) -> int:
        return sum(child.suffix.lower() in IMAGES for child in place.iterdir())

    classes = {name: count(folder / name) for name in list_classes(folder)}
    return classes or ({"": count(folder)} if count(folder) else {})


def load(path: str | os.PathLike[str]) -> Any:
    """Read results that a command or function has written.

    Parameters
    ----------
    path
        A folder or a JSON file. In a folder with several documents, such as the demo's, the conversion is read.

    Returns
    -------
    Variants, Bench, PinnedReference, Tuned, Ran or Ranges
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
    inside = _documents(place)
    if not inside and find_benchmarks(place) != (place,):
        return Bench.read(place)
    file = inside[0] if inside else place
    if not file.is_file():
        raise EdgetfError(f"there are no results of edgetf at {place}", "give a folder or a file that edgetf wrote")
    keys = set(parse_document(file))
    if "steps" in keys and "answers" in keys:
        from edgetf.plans.ran import Ran  # plans stand on the functions of this package
        from edgetf.plans.record import read_run

        return Ran(file.parent, read_run(file))
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
    raise EdgetfError(
        f"{file} is not a conversion, a reference, a benchmark, a tuning, a run or ranges", "give one of these"
    )


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


def read_manifest(path: Path) -> Manifest:
    """The manifest of a bundle. Raises EdgetfError for a file that is not a bundle, or damaged."""
    with parsing(path, "a complete bundle", "make it again with: edgetf bundle"), zipfile.ZipFile(path) as archive:
        if archive.getinfo(MANIFEST).file_size > _MOST_MANIFEST:
            raise ValueError("its manifest is too large")
        return parse_manifest(archive.read(MANIFEST))


def inspect(
    what: Any,
    *,
    signature: str | None = None,
    target: str | None = None,
    trust: bool = False,
    on_event: OnEvent | None = None,
) -> Any:
    """Read a `.tflite` file, a model, samples, a bundle or a document, as `edgetf inspect` does.

    Parameters
    ----------
    what
        A path, a source of samples, `hub:...`, or a live model, as for `edgetf.convert`.
    signature, trust, on_event
        As for `edgetf.convert`.
    target
        "micro" or an Ethos-U NPU, such as "ethos-u55-128": whether the variant runs there, and on what.

    Returns
    -------
    Contents, Source, Manifest, Fit, dict, or what `load` returns
        For a `.tflite` file its inputs, outputs, operations and weights; for a model the inputs and outputs of its
        signature; for samples the arrays by name, mapped from the file; for a folder of images, whose size depends on a
        model, their number in each class; for a bundle its manifest. With a target, a Fit, or for a folder of variants
        a dict of them.

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
    if target is not None:
        fits = find_fits(Path(what), target)
        return fits if Path(what).is_dir() else next(iter(fits.values()))
    place, kind = Path(what), kind_of(os.fspath(what))
    if kind is Kind.MODEL:
        model = find_model(os.fspath(what))
        with progress("Inspecting", on_event) as report, as_saved_model(model, trust, report) as found:
            return replace(read_source_safely(found.folder, signature), path=str(what), origin=found.origin)
    if kind is Kind.VARIANT:
        return read_contents(place, signature)
    if kind is Kind.BUNDLE:
        return read_manifest(place)
    if kind is Kind.IMAGES:
        return count_images(os.fspath(what))
    return read_arrays(os.fspath(what), None) if kind is Kind.SAMPLES else load(place)
