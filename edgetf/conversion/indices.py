"""Indices in float inputs. In: a float flatbuffer with ranges. Out: ranges that keep integers exact, and notes.

A model may take token ids as floats and cast them to integers. With a scale of 0.78, 3 becomes 2.99, which the cast
truncates to 2, and 256 steps cannot hold 1,000 ids. Tensors between an input and such a cast therefore get steps of 1,
or no range at all: then the quantizer leaves them in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgetf.flatbuffer import builtin_code, data_of, listed, names_of, pack, tensor_name, unpack
from edgetf.samples import Array

# ops whose results are integers if their inputs are
_EXACT = (
    "RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE SLICE STRIDED_SLICE GATHER GATHER_ND TILE BROADCAST_TO CONCATENATION PACK "
    "UNPACK SPLIT SPLIT_V PAD PADV2 MIRROR_PAD REVERSE_V2 REVERSE_SEQUENCE SELECT SELECT_V2 MINIMUM MAXIMUM RELU RELU6 "
    "FLOOR CEIL ROUND ABS NEG"
)
_ARITHMETIC = ("ADD", "SUB", "MUL")  # with a constant that has its own scale
_STEPS = 255.0  # of int8


def keep_indices(content: bytes, io: str, inputs: Mapping[str, Array]) -> tuple[bytes, tuple[str, ...]]:
    """Set ranges so that values that are cast to integers stay exact in int8; `inputs` are samples, if any."""
    model, schema = unpack(content)
    graph = model.subgraphs[0]
    tensors, exact = _find_indices(model, schema)
    names = {m.tensorIndex: m.name.decode() for one in listed(model.signatureDefs) for m in listed(one.inputs)}
    given = [names.get(k, tensor_name(graph.tensors[k])) for k in listed(graph.inputs) if k in tensors]
    parameters = [graph.tensors[k].quantization for k in sorted(tensors)]
    known = [one for one in parameters if one is not None and len(listed(one.min))]
    if not known or (io == "float32" and len(given) == len(tensors)):  # they are cast before they are quantized
        return content, ()
    ends = [float(end) for one in known for end in (one.min[0], one.max[0])]
    low, high = min(0.0, *ends), max(0.0, *ends)
    whole = _is_whole(np.array(ends)) and all(_is_whole(inputs[name]) for name in given if name in inputs)
    fits = whole and exact and high - low <= _STEPS
    for one in known:
        one.min, one.max = ([low], [low + _STEPS]) if fits else (None, None)
    subject = f"input {', '.join(given)}, which the model casts to integers,"
    if fits:
        return pack(model), (f"{subject} is quantized in steps of 1, so that integers stay exact",)
    too_wide = f"{_STEPS:g} steps of 1 do not reach from {low:g} to {high:g}"
    reason = "it has fractions" if not whole else too_wide if exact else "its constants have different scales"
    return pack(model), (f"{subject} stays float32: {reason}",)


def _find_indices(model: Any, schema: Any) -> tuple[set[int], bool]:
    """The float tensors on the paths from the inputs of the main graph, through exact ops, to casts to integers.

    And whether the ops stay exact in int8: a single constant is exact in its own scale, an array of constants is not.
    """
    graph, kinds, types = model.subgraphs[0], names_of(schema.BuiltinOperator), names_of(schema.TensorType)

    def floats(tensors: Any) -> list[int]:
        return [int(k) for k in listed(tensors) if k >= 0 and types[graph.tensors[k].type] == "FLOAT32"]

    def bytes_of(k: int) -> int:
        return len(data_of(model, graph.tensors[k].buffer))

    reached = set(floats(graph.inputs))
    ways: list[tuple[list[int], list[int], bool]] = []
    indices: set[int] = set()
    for op in listed(graph.operators):
        kind, operands = kinds[builtin_code(model, op)], [k for k in floats(op.inputs) if not bytes_of(k)]
        if not operands or not reached.issuperset(operands):
            continue
        if kind == "CAST" and types[graph.tensors[op.outputs[0]].type].startswith(("INT", "UINT")):
            indices.update(operands)
        elif kind in _ARITHMETIC or kind in _EXACT.split():
            reached.update(floats(op.outputs))
            single = max(map(bytes_of, floats(op.inputs))) <= np.float32().nbytes
            ways.append((operands, floats(op.outputs), single or kind not in _ARITHMETIC))
    exact = True
    for operands, results, stays in reversed(ways):
        if indices.intersection(results):
            indices.update(operands)
            exact = exact and stays
    return indices, exact


def _is_whole(values: Array) -> bool:
    return bool(np.array_equal(values, np.rint(values)))
