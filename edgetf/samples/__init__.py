"""Samples: named input arrays in a fixed order, with or without labels, checked against a model's signature.

`load_samples` reads any source that `--samples` accepts. Arrays are memory-mapped where possible, so that memory does
not grow with the number of samples.
"""

from edgetf.samples.core import (
    CALIBRATION_SEED,
    LABELS,
    Samples,
    SampleSource,
    count_classes,
    make_samples,
    split_arrays,
)
from edgetf.samples.load import load_same, load_samples, read_arrays, write_arrays
from edgetf.samples.mapped import Array, release
from edgetf.samples.npz import save_arrays, save_samples
from edgetf.samples.source import is_missing, short_name

__all__ = [
    "CALIBRATION_SEED",
    "LABELS",
    "Array",
    "SampleSource",
    "Samples",
    "count_classes",
    "is_missing",
    "load_same",
    "load_samples",
    "make_samples",
    "read_arrays",
    "release",
    "save_arrays",
    "save_samples",
    "short_name",
    "split_arrays",
    "write_arrays",
]
