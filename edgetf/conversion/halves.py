"""The scheme `float16`. In: a float flatbuffer. Out: the same one with float16 constants, unpacked by DEQUANTIZE.

The converter would start from the SavedModel again, for the same result: it stores each float constant that an
operation reads as float16 (TensorFlow 2.21, compiler/mlir/lite/transforms/prepare_quantize_dynamic_range.cc). It also
rounds 1e-10 in front of a logarithm to 0, and cuts 1e6 to 65504. Such constants stay float32 here.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import add_entry, is_stored, require_runtime, values_of
from edgetf.conversion.weights import store
from edgetf.flatbuffer import listed, pack, tensor_name, unpack

_MOST_ERROR = 0.01  # of a constant's norm; that of rounding alone is at most 2^-11
_RUNTIME = "1.15.0"  # the first that unpacks float16
_SUPPORT = "reduced_precision_support", b"fp16accfp32"  # delegates may compute in float16, and add in float32


def to_float16(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Store the float constants as float16; returns the names of those that float16 cannot hold, which stay."""
    model, schema = unpack(content)
    kept: list[str] = []
    for graph in model.subgraphs:
        front = []
        for k in _read_constants(model, schema, graph):
            half = _half(values_of(model, graph, k))
            if half is None:
                kept.append(tensor_name(graph.tensors[k]))
            else:
                front.append(store(model, schema, graph, k, half)[1])
        graph.operators = [*reversed(front), *listed(graph.operators)]
    add_entry(model, schema, *_SUPPORT)
    require_runtime(model, schema, _RUNTIME)
    return pack(model), tuple(kept)


def _read_constants(model: Any, schema: Any, graph: Any) -> list[int]:
    """The dense float constants that operations read. One that is also an output of the graph stays one, as a copy."""
    read = sorted({int(k) for op in listed(graph.operators) for k in listed(op.inputs) if k >= 0})
    found = [k for k in read if is_stored(model, schema, graph, k)]
    for k in set(found) & {int(one) for one in listed(graph.outputs)}:
        graph.tensors.append(copy.copy(graph.tensors[k]))
        graph.outputs = np.array([len(graph.tensors) - 1 if one == k else one for one in graph.outputs], np.int32)
        for signature in listed(model.signatureDefs):
            if model.subgraphs[signature.subgraphIndex] is graph:
                for one in listed(signature.outputs):
                    one.tensorIndex = len(graph.tensors) - 1 if one.tensorIndex == k else one.tensorIndex
    return found


def _half(values: NDArray[np.float32]) -> NDArray[np.float16] | None:
    """The values in float16; None if that is not them."""
    exact = values.astype(np.float64)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    error = float(np.linalg.norm(half.astype(np.float64) - exact))
    return half if error <= _MOST_ERROR * float(np.linalg.norm(exact)) else None  # also if it is infinity or NaN
