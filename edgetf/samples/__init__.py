"""Samples: named input arrays in a fixed order, with or without labels, checked against a model's signature.

`load_samples` takes any source that `--samples` takes; what it hands out is mapped from disk where it can be, so that
memory does not grow with the number of samples.
"""

from edgetf.samples.core import CALIBRATION_SEED, LABELS, Samples, SampleSource, make_samples
from edgetf.samples.load import load_samples, short_name
from edgetf.samples.mapped import Array, release
from edgetf.samples.npz import save_samples

__all__ = [
    "CALIBRATION_SEED",
    "LABELS",
    "Array",
    "SampleSource",
    "Samples",
    "load_samples",
    "make_samples",
    "release",
    "save_samples",
    "short_name",
]
