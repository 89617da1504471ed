"""Lint for calibration: what is wrong with the samples, before and after they are run, in a line each.

Warnings only: the conversion goes on. They name samples by their row in the file.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgetf.convert.ranges import Ranges
from edgetf.samples import Array, Samples

_FEW = 50
_STRETCH = 2.0  # how much one sample must widen a range beyond all others to be named
_NAMED = 3
_DIFFERENT = 2.0


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


def lint_inputs(chosen: Samples, like: Samples) -> tuple[str, ...]:
    """Inputs that lie elsewhere in the samples to calibrate on than in `like`, which the model is known to work on."""
    warnings = []
    for name, array in chosen.inputs.items():
        if np.issubdtype(array.dtype, np.floating):
            ours, theirs = _bulk(array), _bulk(like.inputs[name])
            if _differ(ours, theirs):
                warnings.append(
                    f"{name!r} lies in {_told(ours)} in the samples to calibrate on, in {_told(theirs)} in "
                    f"{like.source}: "
                    f"is the normalization the same? {_mend(ours, theirs)}"
                )
    return tuple(warnings)


def lint_first_layer(ours: Ranges, theirs: Ranges, inputs: int, like: str) -> tuple[str, ...]:
    """A first layer that sees something else on the samples to calibrate on than on those called `like`."""
    for one, other in list(zip(ours.ranges, theirs.ranges, strict=True))[inputs : inputs + 1]:
        mine, its = (one.low, one.high), (other.low, other.high)
        if _differ(mine, its):
            told = f"{_told(mine)}, on {like} in {_told(its)}"
            return (f"the first layer ({one.tensor}) lies in {told}: the samples to calibrate on are not like those",)
    return ()


def _bulk(array: Array) -> tuple[float, float]:
    """Where nearly all values lie: single outliers are another lint's."""
    low, high = np.percentile(array.astype(np.float64), [0.1, 99.9])
    return float(low), float(high)


def _differ(ours: tuple[float, float], theirs: tuple[float, float]) -> bool:
    """Whether one span is more than twice the other, or the middles are further apart than half of a span."""
    spans = sorted((ours[1] - ours[0], theirs[1] - theirs[0]))
    middle = abs(sum(ours) - sum(theirs)) / 2
    return spans[1] > _DIFFERENT * spans[0] or middle > spans[1] / _DIFFERENT


def _mend(ours: tuple[float, float], theirs: tuple[float, float]) -> str:
    """The linear map from one to the other."""
    if ours[1] == ours[0]:
        return "it is constant"
    factor = (theirs[1] - theirs[0]) / (ours[1] - ours[0])
    return f"x * {factor:.3g} {theirs[0] - ours[0] * factor:+.3g} would map one to the other"


def _told(span: tuple[float, float]) -> str:
    return f"{span[0]:.3g} to {span[1]:.3g}"


def _classes(samples: Samples) -> set[int]:
    """The classes among the labels, where these are class numbers."""
    labels = samples.labels
    if labels is None or not np.issubdtype(labels.dtype, np.integer) or labels.size != len(samples):
        return set()
    return {int(label) for label in np.unique(labels)}
