"""Arrays by name from TensorFlow Datasets and from user functions."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgetf.backend import load_tensorflow
from edgetf.errors import EdgetfError, MissingExtraError, nearest
from edgetf.functions import HINT, run_function, user_code
from edgetf.results import TensorSpec
from edgetf.samples.core import LABELS, Samples, label_name
from edgetf.samples.images import fit_image, scale
from edgetf.samples.mapped import Array, Spool
from edgetf.samples.source import Parts

_BATCH = 64
_OWN = "give a module:function that converts it to numbers of one shape"
_RETURNS = "Samples, a dict of arrays, or (dict, labels)"
_LEAVE_OUT = f"name the model, to read only its inputs: edgetf samples show --model MODEL; or {_OWN}"


def read_tfds(parts: Parts, inputs: Sequence[TensorSpec] | None) -> dict[str, Array]:
    """A split of a data set that is already prepared in `data_dir`; nothing is downloaded.

    `tfds:NAME[/CONFIG]?split=test&data_dir=PATH&INPUT=FEATURE&labels=FEATURE&labels_OUTPUT=FEATURE&scale=1/255`. An
    input takes the feature of the same name. Otherwise, a single input takes the supervised feature of the data set.
    """
    names = [spec.name for spec in inputs or ()]
    parts.allow(("split", "data_dir", "scale", "offset", LABELS, *_of_outputs(parts, names), *names))
    split = parts.options.get("split", "test")
    builder = _builder(parts, split)
    chosen = _features(parts, builder.info, inputs)
    specs = {spec.name: spec for spec in inputs or ()}
    hint = _LEAVE_OUT if inputs is None else f"name another feature, or {_OWN}"
    spool = Spool(f"tfds:{parts.rest}", hint)
    for row in builder.as_dataset(split=split, shuffle_files=False).prefetch(_BATCH).as_numpy_iterator():
        found = {}
        for name, feature in chosen.items():
            values = np.asarray(row[feature])
            if values.dtype.kind in "OSU":
                raise EdgetfError(f"tfds:{parts.rest}: {feature!r} is text, not an array of numbers", hint)
            found[name] = _fit(values, specs[name], parts)[np.newaxis] if name in specs else values[np.newaxis]
        spool.append(found)
    return spool.arrays()


def call_function(name: str) -> dict[str, Array]:
    """The arrays of `module:function`, which returns Samples, a dict of arrays, or (dict, labels).

    Raises EdgetfError for one that fails, or that returns anything else.
    """
    made = run_function(name, _RETURNS, f"{HINT}, or a file that exists")
    found = None
    with user_code(lambda why: EdgetfError(f"{name} did not return arrays: {why}", f"return {_RETURNS}")):
        if isinstance(made, Samples):
            return made.arrays()
        arrays, labels = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if isinstance(arrays, Mapping):
            found = {str(key): np.asarray(values) for key, values in arrays.items()}
            labels = None if labels is None else np.asarray(labels)
    if found is None:
        raise EdgetfError(f"{name} returned {type(made).__name__}", f"return {_RETURNS}")
    return found if labels is None else {**found, label_name(found): labels}


def _builder(parts: Parts, split: str) -> Any:
    tfds = load_tfds()
    place = parts.options.get("data_dir")
    try:
        builder = tfds.builder(parts.rest, data_dir=place)
    except (tfds.core.DatasetNotFoundError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise EdgetfError(f"there is no data set {parts.rest}: {reason}", "name the folder: &data_dir=PATH") from error
    if not builder.is_prepared():
        hint = f"prepare it: tfds.builder({parts.rest!r}).download_and_prepare(), or name the folder: &data_dir=PATH"
        raise EdgetfError(f"{parts.rest} is not prepared in {builder.data_path.parent}", hint)
    if split.partition("[")[0] not in builder.info.splits:
        raise EdgetfError(f"{parts.rest} has no split {split!r}", nearest(split, builder.info.splits))
    return builder


def load_tfds() -> Any:
    """Import tensorflow_datasets. Raises MissingExtraError if it is not installed."""
    load_tensorflow()
    try:
        import tensorflow_datasets as tfds

        try:
            importlib.import_module("importlib_resources")
        except (
            ModuleNotFoundError
        ):  # 4.9.10 uses it without requiring it; from Python 3.11 the standard library suffices
            importlib.import_module("importlib.resources.abc")
            sys.modules["importlib_resources"] = importlib.import_module("importlib.resources")
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorflow-datasets", "tfds") from error
    return tfds


def _features(parts: Parts, info: Any, inputs: Sequence[TensorSpec] | None) -> dict[str, str]:
    """The feature of each input, and of the labels if there are any."""
    known: list[str] = list(info.features)
    supervised: tuple[str, ...] = tuple(info.supervised_keys or ())
    if inputs is None:
        return {name: name for name in known}
    chosen = {spec.name: parts.options.get(spec.name, spec.name) for spec in inputs}
    if len(inputs) == 1 and chosen[inputs[0].name] not in known and supervised:
        chosen[inputs[0].name] = parts.options.get(inputs[0].name, str(supervised[0]))
    labels = parts.options.get(label_name(chosen), supervised[1] if len(supervised) > 1 else LABELS)
    if (name := label_name(chosen)) in parts.options or labels in known:
        chosen[name] = str(labels)
    chosen.update({name: parts.options[name] for name in _of_outputs(parts, chosen)})
    for name, feature in chosen.items():
        if feature not in known:
            hint = f"its features: {', '.join(known)}; name one: &{name}=FEATURE"
            raise EdgetfError(f"{parts.rest} has no feature {feature!r}", hint)
    return chosen


def _of_outputs(parts: Parts, inputs: Iterable[str]) -> list[str]:
    """Options that name the labels of an output: `labels_OUTPUT`, or `labels_` if an input is called `labels`."""
    return [name for name in parts.options if name.startswith(f"{LABELS}_") and name not in inputs]


def _fit(values: Any, spec: TensorSpec, parts: Parts) -> Array:
    """One sample in the model's form; images are resized, other values are scaled if requested."""
    if len(spec.shape) == 3 and values.ndim == 3:  # an image without a batch axis
        spec = replace(spec, shape=(None, *spec.shape))
    if values.dtype == np.uint8 and values.ndim == 3 and len(spec.shape) == 4 and spec.shape[3] in (1, 3, 4):
        from PIL import Image

        image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
        return fit_image(image, spec, parts.scaling(), parts.rest)
    return values if parts.scaling() is None else scale(values, spec, parts.scaling(), parts.rest)
