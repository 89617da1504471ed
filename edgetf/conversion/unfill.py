"""Constants in place of the FILLs that compute them. In: a flatbuffer. Out: one as if the constants had been stored.

The converter can leave a constant of one number to a FILL in front of all operations. Tensors get names by their place
in the graph, and numbers where several have the same one: the shape and the number that a FILL reads take part in that.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.hollow import ADDED
from edgetf.conversion.large import LargeVariable, Layout
from edgetf.conversion.prune import drop_codes, drop_tensors
from edgetf.flatbuffer import builtin_code, data_of, listed, names_of, pack, tensor_name, unpack

_LEAST_BITS = 1_000_000  # of a constant that the converter leaves to a FILL

Value = np.float32 | NDArray[np.uint8]  # one number for all elements, or the bytes of all


class Unfilled:
    """A flatbuffer as mutable objects (`model`), its tensors, those of all graphs one after another, and the bytes of
    those that were FILLs."""

    def __init__(self, content: bytes) -> None:
        self.model, self.schema = unpack(content)
        self._kinds = names_of(self.schema.BuiltinOperator)
        self._filled: dict[int, np.float32] = {}
        self.filled_bytes = 0
        self._left_out: dict[str, list[int]] = defaultdict(list)
        for number, graph in enumerate(self.model.subgraphs):
            self._unfill(graph)
            drop_tensors(graph, [one for one in listed(self.model.signatureDefs) if one.subgraphIndex == number])
        drop_codes(self.model)
        self._places = [(graph, k) for graph in self.model.subgraphs for k in range(len(listed(graph.tensors)))]
        self.tensors = [graph.tensors[k] for graph, k in self._places]
        self._name_again()

    def value(self, k: int) -> Value:
        """The value of the k-th tensor; no bytes for one that is not a constant."""
        tensor = self.tensors[k]
        return self._filled[id(tensor)] if id(tensor) in self._filled else data_of(self.model, tensor.buffer)

    def form(self) -> bytes:
        """Everything but the values of constants."""
        model, kept = self.model, [tensor.buffer for tensor in self.tensors]
        buffers, metadata = model.buffers, model.metadata
        model.buffers, model.metadata = [self.schema.BufferT()], []
        for tensor in self.tensors:
            tensor.buffer = 0
        packed = pack(model)
        model.buffers, model.metadata = buffers, metadata
        for tensor, buffer in zip(self.tensors, kept, strict=True):
            tensor.buffer = buffer
        return packed

    def layout(self, k: int, variable: LargeVariable) -> Layout | None:
        """How all readers of the k-th tensor, a constant, want the variable; None if that is unknown for one."""
        (graph, number), found = self._places[k], set()
        for op in listed(graph.operators):
            kind = self._kinds[builtin_code(self.model, op)]
            places = [place for place, one in enumerate(listed(op.inputs)) if one == number]
            found |= {variable.layouts.get((kind, place)) if _is_plain(kind, op) else None for place in places}
        shape = tuple(int(axis) for axis in listed(graph.tensors[number].shape))
        if len(found) != 1 or number in listed(graph.outputs):
            return None
        [layout] = found
        return layout if layout is not None and layout.shape == shape else None

    def _unfill(self, graph: Any) -> None:
        kept, tensors = [], listed(graph.tensors)
        for op in listed(graph.operators):
            if self._kinds[builtin_code(self.model, op)] != "FILL" or not self._is_constant(tensors, op):
                kept.append(op)
                continue
            result, (dims, value) = tensors[op.outputs[0]], (tensors[k] for k in op.inputs)
            self._filled[id(result)] = data_of(self.model, value.buffer).view(np.float32)[0]
            self.filled_bytes += 4 * _count(result)
            base, number = _numbered(*(tensor_name(one) for one in (dims, value, result)))
            self._left_out[base] += [number, number + 1]
        graph.operators = kept

    def _name_again(self) -> None:
        """Give tensors the numbers that they have without the operands of FILLs, and take out our own names."""
        for tensor in self.tensors:
            name = tensor_name(tensor)
            for base, numbers in self._left_out.items():
                rest = name.removeprefix(base)
                if base and name.startswith(base) and (not rest or rest.isdecimal()):
                    number = int(rest or 0)
                    name = f"{base}{number - sum(one < number for one in numbers) or ''}"
                    break
            parts = [part for part in name.split(";") if not part.endswith(ADDED)]
            tensor.name = ";".join(parts).encode()

    def _is_constant(self, tensors: list[Any], op: Any) -> bool:
        """Whether a FILL computes a large constant of float32."""
        dims, value, result = (tensors[k] for k in (*op.inputs, op.outputs[0]))
        stored = all(len(data_of(self.model, one.buffer)) for one in (dims, value))
        is_large = 32 * _count(result) >= _LEAST_BITS
        return bool(stored and result.type == self.schema.TensorType.FLOAT32 and is_large)


def _count(tensor: Any) -> int:
    return math.prod(int(axis) for axis in listed(tensor.shape))


def _is_plain(kind: str, op: Any) -> bool:
    """Whether an operation reads its weights as their layout is."""
    if kind == "GATHER":
        return not op.builtinOptions.axis and not op.builtinOptions.batchDims
    return kind != "FULLY_CONNECTED" or not op.builtinOptions.weightsFormat


def _numbered(dims: str, value: str, result: str) -> tuple[str, int]:
    """What three names have in common that are the same but for a number, 0 being none; and the first number."""
    for end in range(len(dims), 0, -1):
        base, rest = dims[:end], dims[end:]
        if rest and not rest.isdecimal():
            break
        number = int(rest or 0)
        if (value, result) == (f"{base}{number + 1}", f"{base}{number + 2}"):
            return base, number
    return "", 0
