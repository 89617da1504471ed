"""Lint for calibration: faults of the samples, found before and after they are run, one line each.

They are only warnings: the conversion continues. They name samples by their row in the file.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.ranges import Ranges
from edgetf.flatbuffer import builtin_code, data_of, listed, names_of, tensor_name, unpack
from edgetf.samples import Array, Samples

_FEW = 50
_STRETCH = 2.0  # a sample is named if it widens a range by this factor beyond all others
_NAMED = 3
_DIFFERENT = 2.0
_RESCALED, _UNIT = 1 / 64, 2.0  # largest factor of a Rescaling layer; largest value of samples that are already scaled
_MEAN, _FAR = 10.0, 20  # least mean that is recognized; samples with no value above this part of it are too small


def lint_samples(chosen: Samples, everything: Samples) -> tuple[str, ...]:
    """Warnings about too few, duplicate or constant samples, and about classes that the `chosen` samples lack."""
    warnings = []
    if len(chosen) < _FEW:
        warnings.append(f"only {len(chosen)} samples to calibrate on: ranges of {_FEW} or more are more reliable")
    rows = [b"".join(np.ascontiguousarray(a[k]).tobytes() for a in chosen.inputs.values()) for k in range(len(chosen))]
    repeated = sum(count - 1 for count in Counter(rows).values())
    if repeated:
        warnings.append(f"{repeated} of {len(chosen)} samples are duplicates, which add no information")
    for name, array in chosen.inputs.items():
        flat = array.reshape(len(array), -1)
        constant = np.flatnonzero((flat == flat[:, :1]).all(axis=1)) if flat.shape[1] > 1 else np.zeros(0, int)
        if len(constant):
            first = chosen.row(int(constant[0]))
            warnings.append(
                f"{len(constant)} of {len(chosen)} samples of {name!r} are constant (first: sample {first})"
            )
        if array.dtype == np.uint8 and array.ndim > 3 and int(array.max()) <= 1:
            warnings.append(
                f"{name!r} takes integers, and no sample has a value above 1: black images? Do not divide by 255"
            )
    missing = _classes(everything) - _classes(chosen)
    if missing:
        named = ", ".join(str(label) for label in sorted(missing)[:10])
        warnings.append(f"the calibration samples lack the classes {named}: use more with --calibration")
    return tuple(warnings)


def lint_ranges(ranges: Ranges) -> tuple[str, ...]:
    """Warnings about single samples that stretch the range of a tensor, the worst first."""
    stretched = sorted((one for one in ranges.ranges if one.stretch > _STRETCH), key=lambda one: -one.stretch)
    warnings = [
        f"sample {one.widest_sample} alone makes the range of {one.tensor} {one.stretch:.1f} times wider: "
        "is it representative? --percentile or --mse excludes it"
        for one in stretched[:_NAMED]
    ]
    if len(stretched) > _NAMED:
        warnings.append(f"{len(stretched) - _NAMED} more tensors are stretched by one sample: see ranges.json")
    return tuple(warnings)


def lint_rescaling(flatbuffer: bytes, ranges: Ranges) -> tuple[str, ...]:
    """Warnings about inputs that the model scales itself and whose samples are already scaled.

    Only a first op that multiplies the input by one small constant is recognized, as of Keras's Rescaling, or one that
    subtracts constants of 10 or more, as of Normalization.
    """
    model, schema = unpack(flatbuffer)
    graph, kinds = model.subgraphs[0], names_of(schema.BuiltinOperator)
    known = {one.tensor: one for one in ranges.ranges}
    names = {int(k): f"{tensor_name(graph.tensors[k])}#{k}" for k in graph.inputs}
    warnings = []
    for op in listed(graph.operators):
        kind, operands = kinds[builtin_code(model, op)], [int(k) for k in listed(op.inputs)]
        given = next((k for k in operands if names.get(k) in known), None)
        if given is None or kind not in ("MUL", "SUB", "ADD") or (kind == "SUB" and operands[0] != given):
            continue
        other = operands[1 - operands.index(given)]
        data, found = data_of(model, graph.tensors[other].buffer), known[names[given]]
        does, most = _rescaling(kind, data.view(np.float32)) if len(data) else ("", 0.0)
        if does and max(abs(found.low), abs(found.high)) <= most:
            warnings.append(
                f"the model itself {does}, and the samples are in {found.low:.3g} to {found.high:.3g}: "
                "give unscaled samples, such as 0 to 255"
            )
    return tuple(warnings)


def _rescaling(kind: str, values: NDArray[np.float32]) -> tuple[str, float]:
    """What an op with these constants does to an input, and the largest magnitude of samples that are too small."""
    if kind == "MUL":
        scales = values.size == 1 and 0 < values[0] < _RESCALED
        return (f"multiplies its input by {values[0]:.3g}", _UNIT) if scales else ("", 0.0)
    low = float((values if kind == "SUB" else -values).min())
    return (f"subtracts {low:.4g} or more from its input", max(1.0, low / _FAR)) if low >= _MEAN else ("", 0.0)


def lint_inputs(chosen: Samples, like: Samples) -> tuple[str, ...]:
    """Warnings about inputs whose calibration samples are in another range than `like`, samples known to be right."""
    warnings = []
    for name, array in chosen.inputs.items():
        if np.issubdtype(array.dtype, np.floating):
            ours, theirs = _bulk(array), _bulk(like.inputs[name])
            if _differ(ours, theirs):
                warnings.append(
                    f"{name!r} is in {_describe(ours)} in the calibration samples, in {_describe(theirs)} in "
                    f"{like.source}: is the normalization the same? {_linear_map(ours, theirs)}"
                )
    return tuple(warnings)


def lint_first_layer(ours: Ranges, theirs: Ranges, inputs: int, like: str) -> tuple[str, ...]:
    """A warning if the first layer's range on the calibration samples differs from its range on those named `like`."""
    for one, other in list(zip(ours.ranges, theirs.ranges, strict=True))[inputs : inputs + 1]:
        mine, its = (one.low, one.high), (other.low, other.high)
        if _differ(mine, its):
            both = f"in {_describe(mine)} on the calibration samples and in {_describe(its)} on {like}"
            return (f"the first layer ({one.tensor}) is {both}: the samples differ",)
    return ()


def _bulk(array: Array) -> tuple[float, float]:
    """The range of nearly all values: single outliers are the subject of another warning."""
    low, high = np.nanpercentile(array.astype(np.float64), [0.1, 99.9])
    return float(low), float(high)


def _differ(ours: tuple[float, float], theirs: tuple[float, float]) -> bool:
    """Whether one span is more than twice the other, or the distance of the middles is more than half of a span."""
    spans = sorted((ours[1] - ours[0], theirs[1] - theirs[0]))
    middle = abs(sum(ours) - sum(theirs)) / 2
    return spans[1] > _DIFFERENT * spans[0] or middle > spans[1] / _DIFFERENT


def _linear_map(ours: tuple[float, float], theirs: tuple[float, float]) -> str:
    """A description of the linear map from one span to the other."""
    if ours[1] == ours[0]:
        return "the first is constant"
    factor = (theirs[1] - theirs[0]) / (ours[1] - ours[0])
    return f"x * {factor:.3g} {theirs[0] - ours[0] * factor:+.3g} would map one to the other"


def _describe(span: tuple[float, float]) -> str:
    return f"{span[0]:.3g} to {span[1]:.3g}"


def _classes(samples: Samples) -> set[int]:
    """The classes among the labels, if these are class numbers."""
    labels = samples.labels
    if labels is None or not np.issubdtype(labels.dtype, np.integer) or labels.size != len(samples):
        return set()
    return {int(label) for label in np.unique(labels)}
