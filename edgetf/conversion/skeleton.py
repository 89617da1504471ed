"""In: a `.tflite` file. Out, for mixtures: its operations except conversions, and what each of them reads.

Conversions are QUANTIZE and DEQUANTIZE: the rest, the skeleton, is the same in all files of one conversion.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetf.conversion.factors import Factors, read_factors
from edgetf.flatbuffer import builtin_code, listed, names_of, tensor_name, unpack

BASE = "float32"  # the file whose graph, inputs and outputs all mixtures have
FIXED_POINT = ("INT8", "INT16", "UINT8")
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")

# dtype, and scale and zero point if there is one of each for the whole tensor
Form = tuple[str, "float | None", "int | None"]
# the value of a tensor in any form: ("in", n), ("op", operation, output), ("const", tensor, dequantized),
# ("loose", tensor) for a variable or nothing, ("none",)
Value = tuple[Any, ...]


@dataclass(frozen=True)
class Stored:
    """The size of a constant in bytes, and whether it is converted each time that the file is loaded."""

    bytes: int
    converted: bool


class File:
    """A `.tflite` file, and the graphs of its signatures (without signatures, the first graph)."""

    def __init__(self, content: bytes) -> None:
        self.model, self.schema = unpack(content)
        self.types, self.kinds = names_of(self.schema.TensorType), names_of(self.schema.BuiltinOperator)
        roots = sorted({int(one.subgraphIndex) for one in listed(self.model.signatureDefs)}) or [0]
        self.parts: list[Part] = []
        for root in roots:
            self.parts.append(Part(self, root, self.count))
        self.factors: Factors = read_factors(self.model)
        self._digests: dict[int, bytes] = {}

    @property
    def count(self) -> int:
        """The number of operations."""
        return sum(len(part.ops) for part in self.parts)

    def reads(self, operation: int) -> list[int]:
        """The operations whose first result an operation reads: only those may have factors."""
        part, k = self.locate(operation)
        values = [part.value(i) for i in part.inputs_of(k)]
        return [part.first + value[1] for value in values if value[0] == "op" and value[2] == 0]

    def outputs(self) -> list[int]:
        """The operations whose first result is an output of the model."""
        found = [(part, part.value(int(i))) for part in self.parts for i in listed(part.graph.outputs)]
        return [part.first + value[1] for part, value in found if value[0] == "op" and value[2] == 0]

    def locate(self, operation: int) -> tuple[Part, int]:
        for part in self.parts:
            if operation < len(part.ops):
                return part, operation
            operation -= len(part.ops)
        raise IndexError(operation)

    def data(self, tensor: Any) -> Any:
        """The bytes of a constant, as an array; None for anything else."""
        data = self.model.buffers[tensor.buffer].data
        return data if data is not None and len(data) else None

    def digest(self, tensor: Any) -> bytes:
        """The digest of a constant's bytes."""
        if tensor.buffer not in self._digests:
            self._digests[tensor.buffer] = hashlib.sha256(np.asarray(self.data(tensor), np.uint8).data).digest()
        return self._digests[tensor.buffer]

    def form(self, tensor: Any) -> Form:
        dtype, parameters = self.types[tensor.type], tensor.quantization
        scales = [] if parameters is None else listed(parameters.scale)
        if len(scales) != 1 or dtype not in FIXED_POINT:
            return (dtype, None, None)
        zero_points = listed(parameters.zeroPoint) or [0]
        return (dtype, float(np.float32(scales[0])), int(zero_points[0]))

    def constant_key(self, tensor: Any) -> tuple[Any, ...]:
        """A key that equal constants share."""
        parameters = tensor.quantization
        scales = b"" if parameters is None else np.asarray(listed(parameters.scale), np.float32).tobytes()
        zeros = b"" if parameters is None else np.asarray(listed(parameters.zeroPoint), np.int64).tobytes()
        axis = 0 if parameters is None else int(parameters.quantizedDimension)
        return (self.digest(tensor), int(tensor.type), tuple(map(int, listed(tensor.shape))), scales, zeros, axis)

    def fingerprint(self, operation: int) -> tuple[Any, ...]:
        part, k = self.locate(operation)
        return part.fingerprint(k)

    def stored(self, operations: Iterable[int]) -> dict[int, Stored]:
        """The constants that operations read, each once, by the number of its buffer."""
        found: dict[int, Stored] = {}
        for operation in operations:
            part, k = self.locate(operation)
            values = [value for value in map(part.value, part.inputs_of(k)) if value[0] == "const"]
            read = [(part.tensors[value[1]], value[2] is not None) for value in values]
            for tensor, converted in (*read, *((one, False) for one in self.called(part.ops[k]))):
                data = self.data(tensor)
                if data is not None:
                    known = found.get(int(tensor.buffer))
                    found[int(tensor.buffer)] = Stored(len(data), converted or (known is not None and known.converted))
        return found

    def multiplications(self, operation: int) -> int:
        """About how many an inference has here: of each value of the result as many as there are weights for it.

        It is exact for convolutions and matrix products with constants. A loop's body counts as nothing.
        """
        part, k = self.locate(operation)
        if not listed(part.ops[k].outputs):
            return 0
        shape = [max(int(axis), 1) for axis in listed(part.tensors[int(part.ops[k].outputs[0])].shape)]
        weights = max((math.prod(map(int, listed(one.shape))) for one in part.constants(k)), default=1)
        return math.prod(shape) * max(weights // (shape or [1])[-1], 1)

    def called(self, op: Any) -> list[Any]:
        """The tensors of all graphs that an operation calls, such as a loop's body, and of those that these call."""
        found, seen, waiting = list[Any](), set[int](), graphs_of(op)
        while waiting:
            index = waiting.pop(0)
            if index not in seen:
                seen.add(index)
                graph = self.model.subgraphs[index]
                found += listed(graph.tensors)
                waiting += [one for inner in listed(graph.operators) for one in graphs_of(inner)]
        return found

    def is_fixed_point(self, operation: int) -> bool:
        part, k = self.locate(operation)
        inputs = [part.tensors[i] for i in part.inputs_of(k) if part.value(i)[0] in ("in", "op")]
        used = [*inputs, *(part.tensors[int(i)] for i in part.ops[k].outputs)]
        return any(self.form(tensor)[0] in FIXED_POINT for tensor in used)

    def computes_integers(self, operation: int) -> bool:
        part, k = self.locate(operation)
        values = [part.value(i) for i in part.inputs_of(k)]
        stored = [part.tensors[value[1]] for value in values if value[0] == "const" and value[2] is None]
        return self.is_fixed_point(operation) or any(self.form(tensor)[0] == "INT8" for tensor in stored)


class Part:
    """One graph of a file: its operations except conversions between forms, in order; `first` is the number of the
    first of them in the file."""

    def __init__(self, file: File, index: int, first: int) -> None:
        self.file, self.index, self.first, self.graph = file, index, first, file.model.subgraphs[index]
        self.tensors = listed(self.graph.tensors)
        self.producer = {int(k): op for op in listed(self.graph.operators) for k in listed(op.outputs)}
        every = [(op, _kind(file, op)) for op in listed(self.graph.operators)]
        self.conversions = {id(op) for op, kind in every if kind in _CONVERSIONS}
        self.ops = [op for op, kind in every if kind not in _CONVERSIONS]
        self.kinds = [kind for _, kind in every if kind not in _CONVERSIONS]
        self.numbers = {id(op): k for k, op in enumerate(self.ops)}
        self.inputs = {int(k): n for n, k in enumerate(listed(self.graph.inputs))}
        self._fingerprints: dict[int, tuple[Any, ...]] = {}

    def name_of(self, k: int) -> str:
        outputs = listed(self.ops[k].outputs)
        return tensor_name(self.tensors[int(outputs[0])]) if outputs else self.kinds[k].lower()

    def inputs_of(self, k: int) -> list[int]:
        return [int(i) for i in listed(self.ops[k].inputs)]

    def constants(self, k: int) -> Iterator[Any]:
        """The constant tensors that an operation reads, as they are stored."""
        for i in self.inputs_of(k):
            value = self.value(i)
            if value[0] == "const":
                yield self.tensors[value[1]]

    def value(self, k: int) -> Value:
        """The value of a tensor, behind any conversions."""
        if k < 0:
            return ("none",)
        if k in self.inputs:
            return ("in", self.inputs[k])
        if self.file.data(self.tensors[k]) is not None:
            return ("const", k, None)
        op = self.producer.get(k)
        if op is None:
            return ("loose", k)  # the operation's own variable, or nothing
        if id(op) in self.conversions:
            inner = self.value(int(op.inputs[0]))
            return ("const", inner[1], k) if inner[0] == "const" else inner
        return ("op", self.numbers[id(op)], [int(i) for i in op.outputs].index(k))

    def shape_of(self, value: Value) -> Value:
        """The part of a value that must be the same in all files."""
        return value if value[0] in ("in", "op") else (value[0],)

    def fingerprint(self, k: int) -> tuple[Any, ...]:
        if k not in self._fingerprints:
            found: list[Any] = []
            for i in self.inputs_of(k):
                value = self.value(i)
                if value[0] == "const":
                    found.append((self.file.constant_key(self.tensors[value[1]]), value[2] is not None))
                elif i >= 0:
                    found.append(self.file.form(self.tensors[i]))
            found += [self.file.form(self.tensors[int(i)]) for i in listed(self.ops[k].outputs)]
            found += [
                self.file.form(tensor) if self.file.data(tensor) is None else self.file.constant_key(tensor)
                for tensor in self.file.called(self.ops[k])
            ]
            factors, scaled = self.file.factors, [self.first + k, *self.file.reads(self.first + k)]
            found += [(number - self.first, factors[number]) for number in scaled if number in factors]
            code = self.file.model.operatorCodes[self.ops[k].opcodeIndex]
            self._fingerprints[k] = (int(code.version), *found)
        return self._fingerprints[k]


def graph_fields(options: Any) -> list[str]:
    """The fields of an operation's options that number graphs which it calls."""
    return [name for name in vars(options) if "subgraph" in name.lower()] if options is not None else []


def graphs_of(op: Any) -> list[int]:
    """The numbers of the graphs that an operation calls."""
    every = [getattr(op, name, None) for name in ("builtinOptions", "builtinOptions2")]
    called = [int(getattr(options, name)) for options in every for name in graph_fields(options)]
    return [index for index in called if index >= 0]


def _kind(file: File, op: Any) -> str:
    kind = file.kinds[builtin_code(file.model, op)]
    custom = file.model.operatorCodes[op.opcodeIndex].customCode
    return kind if kind != "CUSTOM" else str(custom.decode() if isinstance(custom, bytes) else custom)


def difference(base: File, other: File) -> str:
    """Why the graph of a file is not that of BASE; empty if it is."""
    if len(base.parts) != len(other.parts):
        return f"it has {len(other.parts)} signature(s), {BASE} has {len(base.parts)}"
    for one, two in zip(base.parts, other.parts, strict=True):
        if why := _difference_of_parts(one, two):
            return why
    return "" if all(k < other.count for k in other.factors) else "it has factors of operations that it lacks"


def _difference_of_parts(base: Part, other: Part) -> str:
    for k, (kind, found) in enumerate(zip(base.kinds, other.kinds, strict=False)):
        if kind != found:
            return f"its operation {k} is {found}, {BASE} has {kind} ({base.name_of(k)})"
    if len(base.ops) != len(other.ops):
        return f"it has {len(other.ops)} operations, {BASE} has {len(base.ops)}"
    for k, kind in enumerate(base.kinds):
        here = [base.shape_of(base.value(i)) for i in base.inputs_of(k)]
        there = [other.shape_of(other.value(i)) for i in other.inputs_of(k)]
        if here != there or len(listed(base.ops[k].outputs)) != len(listed(other.ops[k].outputs)):
            return f"its operation {k}, {kind}, reads something else than that of {BASE} ({base.name_of(k)})"
    ends = [[part.shape_of(part.value(int(k))) for k in listed(part.graph.outputs)] for part in (base, other)]
    if ends[0] != ends[1] or len(base.inputs) != len(other.inputs):
        return f"its inputs or outputs are not those of {BASE}"
    return ""
