"""Images to arrays: a folder with a subfolder for each class, or the images of a data set, as the model takes them.

Resized by Pillow with BILINEAR, which antialiases where it makes an image smaller; then value * scale + offset, as the
source says: a model cannot tell from 0..255 and 0..1 which it was trained on, so that nothing is taken for granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.results import TensorSpec
from edgetf.samples.core import LABELS
from edgetf.samples.mapped import Array, Spool
from edgetf.samples.source import Parts

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".webp")


def list_classes(folder: Path) -> list[str]:
    """The names of the subfolders with images, sorted: the n-th is class n."""
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and _images(child))


def read_folder(parts: Parts, inputs: Sequence[TensorSpec] | None) -> dict[str, Array]:
    """Images as the one input of the model, and under `labels` the number of the subfolder, int64.

    Files in the order of their names, class by class; without subfolders there are no labels. Raises EdgetfError
    for a model that takes no images, a file that is none, a float input without `scale` or `offset`.
    """
    parts.allow(("scale", "offset"))
    folder = Path(parts.rest)
    if not folder.is_dir():
        raise EdgetfError(f"there is no folder {folder}", "give folder:PATH with a subfolder of images for each class")
    spec = _image_spec(folder, inputs)
    classes = list_classes(folder)
    files = [(path, k) for k, name in enumerate(classes) for path in _images(folder / name)]
    files = files or [(path, -1) for path in _images(folder)]
    if not files:
        raise EdgetfError(f"{folder} has no samples: no images", f"images end in {', '.join(_SUFFIXES)}")
    spool = Spool(str(folder))
    for path, label in files:
        batch = {spec.name: fit_image(_open(path), spec, parts.scaling(), str(path))[np.newaxis]}
        spool.append({**batch, LABELS: np.array([label])} if classes else batch)
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
    """value * scale + offset in the dtype of `spec`. Raises EdgetfError for values that this dtype does not have."""
    dtype = np.dtype(spec.dtype)
    if scaling is None:
        if values.dtype == np.uint8 and dtype.kind == "f":
            hint = "add ?scale=1/255 for 0..1, ?scale=1/127.5&offset=-1 for -1..1, or ?scale=1 for 0..255"
            raise EdgetfError(f"{name}: images of 0..255 for an input of {dtype.name}, and no scale", hint)
        scaling = (1.0, 0.0)
    scaled = values if scaling == (1.0, 0.0) else values.astype(np.float64) * scaling[0] + scaling[1]
    if dtype.kind in "iu":
        scaled, limits = np.rint(scaled), np.iinfo(dtype)
        if scaled.min() < limits.min or scaled.max() > limits.max:
            raise EdgetfError(
                f"{name}: {scaled.min():g} to {scaled.max():g} is no {dtype.name}", "give another ?scale="
            )
    return np.asarray(scaled).astype(dtype)


def _image_spec(folder: Path, inputs: Sequence[TensorSpec] | None) -> TensorSpec:
    if inputs is None:
        raise EdgetfError(f"{folder} holds images, whose size a model says", "give the model with --model")
    spec = inputs[0]
    if len(inputs) > 1 or len(spec.shape) != 4 or spec.shape[3] not in _MODES:
        told = ", ".join(f"{spec.name!r} {spec.describe()}" for spec in inputs)
        raise EdgetfError(f"{folder} holds images, the model takes {told}", "give samples as .npz")
    return spec


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _open(path: Path) -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("pillow", "report") from error  # which matplotlib brings
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError) as error:
        raise EdgetfError(f"{path} is not an image, or is damaged", "remove it, or make it again") from error
    if image.mode.startswith(("I", "F")):  # Pillow would make all above 255 white
        raise EdgetfError(
            f"{path} has values of more than 8 bits", "make it 8 bits first, or give a module:function that reads it"
        )
    return image
