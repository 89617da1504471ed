"""Lint for calibration: what is wrong with the samples, before and after they are run, in a line each.

Warnings only: the conversion goes on. They name samples by their row in the file.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgetf.convert.ranges import Ranges
from edgetf.samples import Samples

_FEW = 50
_STRETCH = 2.0  # how much one sample must widen a range beyond all others to be named
_NAMED = 3


def lint_samples(chosen: Samples, everything: Samples) -> tuple[str, ...]:
    """Too few, duplicates, constant samples, and classes that `everything` has and the `chosen` lack."""
    warnings = []
    if len(chosen) < _FEW:
        warnings.append(f"only {len(chosen)} samples to calibrate on: ranges of {_FEW} or more are wider and safer")
    rows = [b"".join(np.ascontiguousarray(a[k]).tobytes() for a in chosen.inputs.values()) for k in range(len(chosen))]
    repeated = sum(count - 1 for count in Counter(rows).values())
    if repeated:
        warnings.append(f"{repeated} of {len(chosen)} samples are duplicates: they tell nothing new")
    for name, array in chosen.inputs.items():
        flat = array.reshape(len(array), -1)
        constant = np.flatnonzero((flat == flat[:, :1]).all(axis=1)) if flat.shape[1] > 1 else np.zeros(0, int)
        if len(constant):
            told = f"first sample {chosen.row(int(constant[0]))}"
            warnings.append(f"{len(constant)} of {len(chosen)} samples of {name!r} are constant ({told})")
    missing = _classes(everything) - _classes(chosen)
    if missing:
        named = ", ".join(str(label) for label in sorted(missing)[:10])
        warnings.append(f"the samples to calibrate on lack the classes {named}: give more with --calibration")
    return tuple(warnings)


def lint_ranges(ranges: Ranges) -> tuple[str, ...]:
    """Samples that alone stretch the range of a tensor, the worst first."""
    stretched = sorted((one for one in ranges.ranges if one.stretch > _STRETCH), key=lambda one: -one.stretch)
    warnings = [
        f"sample {one.widest_sample} alone makes the range of {one.tensor} {one.stretch:.1f} times wider: "
        "is it representative? --percentile or --mse cut it off"
        for one in stretched[:_NAMED]
    ]
    if len(stretched) > _NAMED:
        warnings.append(f"{len(stretched) - _NAMED} more tensors are stretched by one sample: see ranges.json")
    return tuple(warnings)


def _classes(samples: Samples) -> set[int]:
    """The classes among the labels, where these are class numbers."""
    labels = samples.labels
    if labels is None or not np.issubdtype(labels.dtype, np.integer) or labels.size != len(samples):
        return set()
    return {int(label) for label in np.unique(labels)}
