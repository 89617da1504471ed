"""Images to arrays in the model's form, from a folder with a subfolder for each class, or from a data set.

Images are resized by Pillow with BILINEAR, which antialiases when it shrinks an image. Then value * scale + offset is
applied, with the options of the source. There is no default for float inputs: a model does not show whether it was
trained on 0..255 or 0..1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.files import open_plain
from edgetf.reading import parsing
from edgetf.results import TensorSpec
from edgetf.samples.core import label_name
from edgetf.samples.formats import IMAGES
from edgetf.samples.mapped import Array, Spool
from edgetf.samples.source import Parts

_LEVELS = 8  # minimum number of values in an image: with fewer it is black, or has a few flat areas
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_REPLACE = "remove it, or make it again"


def list_classes(folder: Path) -> list[str]:
    """The sorted names of the subfolders with images: the n-th is class n."""
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and _images(child))


def read_folder(parts: Parts, inputs: Sequence[TensorSpec] | None) -> dict[str, Array]:
    """Images for the only input of the model, and under `labels` the numbers of the subfolders, int64.

    Files are sorted by class and name; without subfolders there are no labels. Raises EdgetfError for a model that does
    not take images, a file that is not an image, and a float input without `scale` or `offset`.
    """
    parts.allow(("scale", "offset"))
    folder = Path(parts.rest)
    if not folder.is_dir():
        raise EdgetfError(f"there is no folder {folder}", "give folder:PATH with a subfolder of images for each class")
    spec = _image_spec(folder, inputs)
    with parsing(folder, "a folder of images", "give a readable folder"):
        classes = list_classes(folder)
        files = [(path, k) for k, name in enumerate(classes) for path in _images(folder / name)]
        files = files or [(path, -1) for path in _images(folder)]
    if not files:
        raise EdgetfError(f"{folder} has no samples: no images", f"images have the suffixes {', '.join(IMAGES)}")
    spool = Spool(str(folder))
    for path, label in files:
        with parsing(path, "an image", _REPLACE):
            batch = {spec.name: fit_image(_open(path), spec, parts.scaling(), str(path))[np.newaxis]}
        spool.append({**batch, label_name(batch): np.array([label])} if classes else batch)
    return spool.arrays()


def fit_image(image: Any, spec: TensorSpec, scaling: tuple[float, float] | None, name: str) -> Array:
    """A Pillow image as one sample of `spec`, of shape (height, width, channels) and its dtype."""
    from PIL import Image

    height, width, channels = (int(axis or 0) for axis in spec.shape[1:])
    image = image.convert(_MODES[channels])
    if (height, width) != (image.height, image.width) and height and width:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return scale(np.asarray(image).reshape(image.height, image.width, channels), spec, scaling, name)


def scale(values: Any, spec: TensorSpec, scaling: tuple[float, float] | None, name: str) -> Array:
    """value * scale + offset in the dtype of `spec`. Raises EdgetfError for values out of the dtype's range."""
    dtype = np.dtype(spec.dtype)
    if scaling is None:
        if values.dtype == np.uint8 and dtype.kind == "f":
            hint = "add ?scale=1/255 for 0..1, ?scale=1/127.5&offset=-1 for -1..1, or ?scale=1 for 0..255"
            raise EdgetfError(f"{name}: images of 0..255 for an input of {dtype.name}, and no scale", hint)
        scaling = (1.0, 0.0)
    elif dtype.kind in "iu" and values.dtype == np.uint8:
        _refuse_few_levels(dtype, scaling, name)
    scaled = values if scaling == (1.0, 0.0) else values.astype(np.float64) * scaling[0] + scaling[1]
    if dtype.kind in "iu":
        scaled, limits = np.rint(scaled), np.iinfo(dtype)
        if scaled.min() < limits.min or scaled.max() > limits.max:
            raise EdgetfError(
                f"{name}: {scaled.min():g} to {scaled.max():g} does not fit {dtype.name}", "give another ?scale="
            )
    return np.asarray(scaled).astype(dtype)


def _refuse_few_levels(dtype: np.dtype[Any], scaling: tuple[float, float], name: str) -> None:
    """Raise EdgetfError for a scaling to integers that makes images black or nearly black."""
    levels = len(np.unique(np.rint(np.arange(256) * scaling[0] + scaling[1])))
    if levels < _LEVELS:
        message = f"this scale leaves only {levels} of the values 0..255 for an input of {dtype.name}"
        remedy = "give ?scale=1&offset=-128" if dtype == np.int8 else "remove ?scale= and ?offset="
        raise EdgetfError(f"{name}: {message}", f"{remedy}: the input takes integers, and the model scales them")


def _image_spec(folder: Path, inputs: Sequence[TensorSpec] | None) -> TensorSpec:
    if inputs is None:
        raise EdgetfError(
            f"{folder} holds images, whose size depends on the model", "give it: edgetf samples show --model MODEL"
        )
    spec = inputs[0]
    if len(spec.shape) == 3 and spec.shape[2] in _MODES:  # an image without a batch axis
        spec = replace(spec, shape=(None, *spec.shape))
    if len(inputs) > 1 or len(spec.shape) != 4 or spec.shape[3] not in _MODES:
        listed = ", ".join(f"{spec.name!r} {spec.describe()}" for spec in inputs)
        raise EdgetfError(f"{folder} holds images, but the model takes {listed}", "give samples as .npz")
    return spec


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)


def _open(path: Path) -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("pillow", "report") from error  # which includes it as a dependency of matplotlib
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with open_plain(path, _REPLACE) as file, Image.open(file) as image:
            image.load()
    if image.mode.startswith(("I", "F")):  # Pillow would make all values above 255 white
        raise EdgetfError(
            f"{path} has values of more than 8 bits", "convert it to 8 bits, or give a module:function that reads it"
        )
    return image
