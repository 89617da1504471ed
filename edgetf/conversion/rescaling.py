"""Detect images that were scaled although the model scales them. In: a SavedModel and samples. Out: an error.

The graph shows it if each use of the image first multiplies it by 1/255 or 1/127.5 (or divides it), as Keras's
Rescaling does, or subtracts a mean of tens to hundreds, as Normalization and the preprocessing of Caffe's models do.
Samples that are far smaller were then scaled before, and the model receives black images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.informing import informed
from edgetf.conversion.messages import NeedsTensorFlowError, read_tensor
from edgetf.conversion.savedmodel import read_graph
from edgetf.errors import EdgetfError
from edgetf.results import Source, TensorSpec
from edgetf.samples import Array, Samples
from edgetf.samples.source import parse_source

_FACTORS = (1 / 255, 1 / 127.5)
_MEANS = (10.0, 255.0)  # the least and largest of pixels
_FAR = 20  # pixels have their mean: samples with no value above this part of it are none
_LARGEST = _MEANS[1] / _FAR  # of samples that are not as large as the mean of pixels may be
_CHANNELS = (1, 3, 4)
_ROWS = 64  # samples to read at a time
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_SAME = {"Cast", "Identity"}  # keep the values
_IGNORED = {"NoOp", "Shape"}  # do not use the values
# move values, or interpolate between them, and the place of their operand
_MOVES = {
    **dict.fromkeys(("StridedSlice", "Slice", "ReverseV2", "Transpose", "Reshape", "ExpandDims", "Squeeze", "Tile"), 0),
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad", "SplitV", "Unpack", "ScaleAndTranslate"), 0),
    **dict.fromkeys(("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea"), 0),
    "Split": 1,
}
_JOINS = {"ConcatV2", "Pack"}  # such as the channels of an image in another order

Functions = Mapping[str, Any]


@dataclass(frozen=True)
class FirstStep:
    """What a model first does with an image; samples with no magnitude above `limit` are not what it is for."""

    does: str
    limit: float


@dataclass(frozen=True)
class _Scope:
    """The nodes of a graph or function by name, and the tensor outside of each argument."""

    nodes: Mapping[str, Any]
    arguments: Mapping[str, tuple[_Scope, str]]


def refuse_scaled_twice(source: Source, samples: Samples) -> tuple[str, ...]:
    """Raise EdgetfError if the model takes an image input as pixels of 0..255 and its samples are already scaled.

    Returns a warning if that cannot be found out.
    """
    warnings: list[str] = []
    place, key = Path(source.path), source.signature

    def find() -> Mapping[str, FirstStep]:
        return informed("what the model does first", lambda: find_first_steps(place, key), {}, warnings.append)

    refuse_small(source.inputs, samples, find)
    return tuple(warnings)


def refuse_small(inputs: Sequence[TensorSpec], samples: Samples, find: Callable[[], Mapping[str, FirstStep]]) -> None:
    """Raise EdgetfError if samples are too small for the first steps of their inputs, which `find` returns by name."""
    images = [spec for spec in inputs if _is_image(spec, samples.inputs[spec.name])]
    images = [spec for spec in images if _reach(_span(samples.inputs[spec.name][:_ROWS])) <= _LARGEST]
    steps = find() if images else {}
    for spec in images:
        if spec.name not in steps or (span := _span_if_small(samples.inputs[spec.name])) is None:
            continue
        (low, high), step = span, steps[spec.name]
        if _reach(span) <= step.limit:
            pixels = f"in {samples.source} they are already in {low:.3g} to {high:.3g}"
            message = f"the model {step.does.format(repr(spec.name))}, but {pixels}: all images would be black"
            raise EdgetfError(message, _hint(samples.source, spec, span))


def find_first_steps(saved_model: Path, signature: str) -> dict[str, FirstStep]:
    """The inputs that the graph first scales from 0..255, or subtracts a mean of such pixels from, wherever it does."""
    graph = read_graph(saved_model)
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    scope = _Scope({node.name: node for node in graph.graph_def.node}, {})
    found = {}
    for name, info in graph.signature_def[signature].inputs.items():
        steps = list(_first_steps(_plain(info.name), scope, functions))
        known = [step for step in steps if step is not None]
        if known and len(known) == len(steps):
            found[name] = min(known, key=lambda step: step.limit)
    return found


def _first_steps(tensor: str, scope: _Scope, functions: Functions) -> Iterator[FirstStep | None]:
    """The first step of each use of a tensor; None for one that shows nothing."""
    for node in scope.nodes.values():
        places = [k for k, given in enumerate(node.input) if not given.startswith("^") and _plain(given) == tensor]
        if not places or node.op in _IGNORED:
            continue
        function = functions.get(node.attr["f"].func.name) if node.op in _CALLS else None
        if function is not None:
            names = [argument.name for argument in function.signature.input_arg]
            arguments = {name: (scope, _plain(given)) for name, given in zip(names, node.input, strict=False)}
            inside = _Scope({one.name: one for one in function.node_def}, arguments)
            for k in places:
                yield from _first_steps(names[k], inside, functions)
        elif node.op in _SAME | _JOINS or places == [_MOVES.get(node.op)]:
            yield from _first_steps(node.name, scope, functions)
        else:
            yield _step(node, places, scope)


def _step(node: Any, places: list[int], scope: _Scope) -> FirstStep | None:
    """The step, if it is a known one, that a node computes with its input at `places` and a constant."""
    if len(places) > 1 or len(node.input) < 2 or (node.op in ("RealDiv", "Sub") and places[0] != 0):
        return None
    values = _constant(_plain(node.input[1 - places[0]]), scope)
    if values is None or not values.all():
        return None
    if node.op in ("Mul", "RealDiv"):
        factors = values if node.op == "Mul" else 1 / values
        scales = any(np.allclose(factors, known, rtol=1e-3, atol=0) for known in _FACTORS)
        return FirstStep("scales {} from 0..255", 1.0) if scales else None
    if node.op not in ("Sub", "Add", "AddV2", "BiasAdd"):
        return None
    means = values if node.op == "Sub" else -values
    low, high = float(means.min()), float(means.max())
    if not _MEANS[0] <= low <= high <= _MEANS[1]:
        return None
    named = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    return FirstStep(f"subtracts {named} from {{}}, as from pixels of 0..255", max(1.0, low / _FAR))


def _constant(tensor: str, scope: _Scope) -> NDArray[np.float64] | None:
    """The values of a constant, in any form, also if it was given to a function."""
    while tensor in scope.arguments:
        scope, tensor = scope.arguments[tensor]
    node = scope.nodes.get(tensor)
    if node is None:
        return None
    if node.op in _SAME or _MOVES.get(node.op) == 0:
        return _constant(_plain(node.input[0]), scope)
    if node.op != "Const":
        return None
    try:
        value = read_tensor(node.attr["value"].tensor)
    except NeedsTensorFlowError:  # no type that pixels have
        return None
    return value.astype(np.float64) if value.size and value.dtype.kind in "fiu" else None


def _plain(tensor: str) -> str:
    return tensor.split(":")[0]


def _is_image(spec: TensorSpec, values: Array) -> bool:
    return len(values.shape) == 4 and values.shape[-1] in _CHANNELS and np.dtype(spec.dtype).kind in "fiu"


def _span_if_small(values: Array) -> tuple[float, float] | None:
    """The smallest and largest value, if none is as large as the mean of pixels may be, and not all are 0."""
    low, high = np.inf, -np.inf
    for begin in range(0, len(values), _ROWS):
        span = _span(values[begin : begin + _ROWS])
        low, high = min(low, span[0]), max(high, span[1])
        if not _reach((low, high)) <= _LARGEST:  # also for NaN
            return None
    return (low, high) if high > low or high else None


def _span(values: Array) -> tuple[float, float]:
    block: Any = np.asarray(values)
    return float(np.nanmin(block)), float(np.nanmax(block))


def _reach(span: tuple[float, float]) -> float:
    return max(-span[0], span[1])


def _hint(source: str, spec: TensorSpec, span: tuple[float, float]) -> str:
    parts = parse_source(source)
    if parts.kind.is_scaled:
        kept = [f"{name}={value}" for name, value in parts.options.items() if name not in ("scale", "offset")]
        options = "&".join([*kept, "scale=1"])
        return f"give --samples '{parts.kind.prefix}{parts.rest}?{options}'"
    if np.dtype(spec.dtype).kind != "f" or max(-span[0], span[1]) > 1:
        return "give the pixels as they are in the image, 0 to 255"
    undo = "multiply them by 255" if span[0] >= 0 else "add 1 and multiply them by 127.5"
    return f"{undo}, or remove the step that scaled them: the model takes 0 to 255"
