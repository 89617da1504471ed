"""Detect images that were scaled although the model scales them. In: a SavedModel and samples. Out: an error.

The graph shows it if each use of the image first multiplies it by 1/255 or 1/127.5 (or divides it), as Keras's
Rescaling does. Samples within -1..1 were then scaled before, and the model receives black images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.conversion.savedmodel import read_graph
from edgetf.errors import EdgetfError
from edgetf.results import Source, TensorSpec
from edgetf.samples import Array, Samples
from edgetf.samples.source import parse_source

_FACTORS = (1 / 255, 1 / 127.5)
_CHANNELS = (1, 3, 4)
_ROWS = 64  # samples to read at a time
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_SAME = {"Cast", "Identity"}  # keep the values
_IGNORED = {"NoOp", "Shape"}  # do not use the values

Nodes = Mapping[str, Any]
Functions = Mapping[str, Any]


def refuse_scaled_twice(source: Source, samples: Samples) -> None:
    """Raise EdgetfError if the model scales an image input from 0..255 and its samples are already scaled."""
    images = [spec for spec in source.inputs if _is_image(spec, samples.inputs[spec.name])]
    spans = {spec.name: span for spec in images if (span := _span_within_one(samples.inputs[spec.name])) is not None}
    factors = find_factors(Path(source.path), source.signature) if spans else {}
    for spec in images:
        if spec.name in spans and spec.name in factors:
            low, high = spans[spec.name]
            pixels = f"in {samples.source} they are already in {low:.3g} to {high:.3g}"
            message = f"the model scales {spec.name!r} from 0..255, but {pixels}: all images would be black"
            raise EdgetfError(message, _hint(samples.source, spec, low))


def find_factors(saved_model: Path, signature: str) -> dict[str, float]:
    """The inputs that the graph first multiplies by 1/255 or 1/127.5, with that factor."""
    graph = read_graph(saved_model)
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    nodes = {node.name: node for node in graph.graph_def.node}
    found = {}
    for name, info in graph.signature_def[signature].inputs.items():
        factors = set(_first_factors(_plain(info.name), nodes, functions))
        if len(factors) == 1 and (factor := factors.pop()) is not None:
            found[name] = factor
    return found


def _first_factors(tensor: str, nodes: Nodes, functions: Functions) -> Iterator[float | None]:
    """The factor of each first use of a tensor; None for any other use."""
    for node in nodes.values():
        places = [k for k, given in enumerate(node.input) if not given.startswith("^") and _plain(given) == tensor]
        if not places or node.op in _IGNORED:
            continue
        function = functions.get(node.attr["f"].func.name) if node.op in _CALLS else None
        if function is not None:
            inside = {one.name: one for one in function.node_def}
            for k in places:
                yield from _first_factors(function.signature.input_arg[k].name, inside, functions)
        elif node.op in _SAME:
            yield from _first_factors(node.name, nodes, functions)
        else:
            yield _factor(node, places, nodes)


def _factor(node: Any, places: list[int], nodes: Nodes) -> float | None:
    """The factor, if it is a known one, by which a node multiplies its input at `places`."""
    if len(places) > 1 or node.op not in ("Mul", "RealDiv") or (node.op == "RealDiv" and places[0] != 0):
        return None
    value = _constant(_plain(node.input[1 - places[0]]), nodes)
    if not value:
        return None
    factor = value if node.op == "Mul" else 1 / value
    return next((known for known in _FACTORS if np.isclose(factor, known, rtol=1e-3, atol=0)), None)


def _constant(tensor: str, nodes: Nodes) -> float | None:
    """The value of a constant with one element."""
    from tensorflow import make_ndarray

    node = nodes.get(tensor)
    while node is not None and node.op in _SAME:
        node = nodes.get(_plain(node.input[0]))
    if node is None or node.op != "Const":
        return None
    value = make_ndarray(node.attr["value"].tensor)
    return float(value.reshape(-1)[0]) if value.size == 1 and value.dtype.kind in "fiu" else None


def _plain(tensor: str) -> str:
    return tensor.split(":")[0]


def _is_image(spec: TensorSpec, values: Array) -> bool:
    return len(values.shape) == 4 and values.shape[-1] in _CHANNELS and np.dtype(spec.dtype).kind in "fiu"


def _span_within_one(values: Array) -> tuple[float, float] | None:
    """The smallest and largest value if all are within -1..1 and not all are 0."""
    low, high = np.inf, -np.inf
    for begin in range(0, len(values), _ROWS):
        block = np.asarray(values[begin : begin + _ROWS])
        low, high = min(low, float(np.nanmin(block))), max(high, float(np.nanmax(block)))
        if not (low >= -1 and high <= 1):  # also for NaN
            return None
    return (low, high) if high > low or high else None


def _hint(source: str, spec: TensorSpec, low: float) -> str:
    parts = parse_source(source)
    if parts.kind.is_scaled:
        kept = [f"{name}={value}" for name, value in parts.options.items() if name not in ("scale", "offset")]
        options = "&".join([*kept, "scale=1"])
        return f"give --samples '{parts.kind.prefix}{parts.rest}?{options}'"
    if np.dtype(spec.dtype).kind != "f":
        return "give the pixels as they are in the image, 0 to 255"
    undo = "multiply them by 255" if low >= 0 else "add 1 and multiply them by 127.5"
    return f"{undo}, or remove the step that scaled them: the model takes 0 to 255"
