"""Samples as a user has them. In: arrays or a path. Out: a source for `--samples` (arrays are stored in the cache).

x                      an array, for a model with one input
(x, y)                 the same with labels; x may be any of these
[x1, x2]               arrays in the order of the model's inputs
{"image": x}           arrays by the names of the inputs, and "labels"
tf.data.Dataset        with elements that model.fit takes, batched or not
Samples, "train.npz"   any source that the commands take
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.api.cache import store
from edgetf.errors import EdgetfError
from edgetf.files import sha256_file
from edgetf.results import TensorSpec, read_reference
from edgetf.samples import LABELS, Samples, SampleSource, save_arrays
from edgetf.samples.core import label_name
from edgetf.samples.load import ALIAS
from edgetf.samples.mapped import Array, Spool

# the inputs of the model; called only if the samples do not have their names
Inputs = Callable[[], Sequence[TensorSpec]]

_HINT = "give an array, (x, y), a dict of arrays by input name, a tf.data.Dataset, or a path"
_BATCH = 64


def inputs_of_results(reference: Path | None, places: Sequence[Path]) -> Inputs:
    """The inputs of the model of a reference or variants; read when they are first needed."""

    def ask() -> Sequence[TensorSpec]:
        if reference is not None:
            return read_reference(reference).source.inputs
        from edgetf.benchmarks.judging.ground import input_specs
        from edgetf.benchmarks.timing.targets import find_targets

        [first, *_] = find_targets(places)
        return input_specs(first)

    return ask


def source_of_samples(samples: Any, inputs: Inputs) -> SampleSource:
    """A source that `load_samples` reads, for `samples` of a model with these `inputs`.

    float64, numpy's default, becomes float32, as in Keras. Raises EdgetfError for objects that are not samples, and for
    an infinite dataset.
    """
    if isinstance(samples, (str, os.PathLike)):
        return samples if isinstance(samples, str) else Path(samples)
    tensorflow = sys.modules.get("tensorflow")
    if isinstance(samples, Samples):
        arrays = samples.arrays()
    elif tensorflow is not None and isinstance(samples, tensorflow.data.Dataset):
        arrays = _read_dataset(tensorflow, samples, inputs)
    else:
        arrays = _named(samples, inputs)
    return store("samples", "samples.npz", lambda place: save_arrays(place, arrays), sha256_file)


def _named(samples: Any, inputs: Inputs) -> dict[str, Array]:
    """Arrays, nested as for `model.fit`, by their names in a file."""
    if not isinstance(samples, tuple) or len(samples) not in (1, 2, 3):
        return _inputs_of(samples, inputs)
    found = _inputs_of(samples[0], inputs)  # a third element is sample weights, which only training needs
    labels = samples[1] if len(samples) > 1 else None
    return found if labels is None else {**found, **_labels(labels, found)}


def _inputs_of(x: Any, inputs: Inputs) -> dict[str, Array]:
    """Arrays by name: several in the order of the model's inputs, or one for the only input."""
    if isinstance(x, Mapping):
        return {str(name): _numbers(value) for name, value in x.items()}
    if isinstance(x, (list, tuple)) and all(hasattr(value, "shape") for value in x) and len(x) == len(inputs()):
        specs = inputs()
        if len(specs) > 1 or len(x[0].shape) == len(specs[0].shape):
            return {spec.name: _numbers(value) for spec, value in zip(specs, x, strict=True)}
    return {ALIAS: _numbers(x)}


def _labels(labels: Any, names: Mapping[str, Array]) -> dict[str, Array]:
    """One array of labels, or several by output name."""
    if isinstance(labels, Mapping):
        return {f"{LABELS}_{name}": _array(value) for name, value in labels.items()}
    return {label_name(names): _array(labels)}


def _numbers(values: Any) -> Array:
    """The array of an input, with float64 converted to float32."""
    array = _array(values)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _array(values: Any) -> Array:
    try:
        array = np.asarray(values)
    except Exception as error:  # a class of another library can raise any exception
        raise EdgetfError(f"{type(values).__name__} is not an array of samples", _HINT) from error
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise EdgetfError(f"{type(values).__name__} is not an array of samples", _HINT)
    return array


def _read_dataset(tensorflow: Any, dataset: Any, inputs: Inputs) -> dict[str, Array]:
    """All rows of a finite dataset; an unbatched dataset is read in batches."""
    if dataset.cardinality() == tensorflow.data.INFINITE_CARDINALITY:
        raise EdgetfError("the dataset is infinite", "limit it: dataset.take(500), or remove repeat()")
    spool = Spool("the dataset", "give all elements the same shape")
    for element in dataset if _is_batched(dataset.element_spec, inputs()) else dataset.batch(_BATCH):
        spool.append(_named(tensorflow.nest.map_structure(lambda value: value.numpy(), element), inputs))
    return spool.arrays()


def _is_batched(element: Any, inputs: Sequence[TensorSpec]) -> bool:
    """Whether an element of the dataset is a batch: then its first array has as many axes as the model's input."""
    x = element[0] if isinstance(element, tuple) and len(element) in (1, 2, 3) else element
    axes = {spec.name: len(spec.shape) for spec in inputs}
    first = x[0] if isinstance(x, (list, tuple)) else x
    pairs = x.items() if isinstance(x, Mapping) else [(inputs[0].name, first)]
    return all(spec.shape.rank is None or spec.shape.rank >= axes.get(name, spec.shape.rank) for name, spec in pairs)
