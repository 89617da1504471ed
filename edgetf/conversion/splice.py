"""In: files of one conversion. Out: one file in which every operation is from one of them.

All schemes of a conversion compute the same graph: except QUANTIZE and DEQUANTIZE, their operations are the same, in
the same order. A mixture takes each operation, with its constants, from the file that is named for it, and inserts
QUANTIZE and DEQUANTIZE where representations meet. It takes milliseconds and no TensorFlow. If all are from one file,
the answers are that file's, bit for bit.

An equalized file has other values between two layers than the others: these operations form a group, which a mixture
cannot split.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetf.conversion.factors import add_factors
from edgetf.conversion.groups import groups_of, why_split
from edgetf.conversion.pixels import add_maps
from edgetf.conversion.skeleton import BASE, FIXED_POINT, File, Form, Value, difference, graph_fields
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import listed, pack, pixel_maps, signature_names, tensor_name

_FLOAT: Form = ("FLOAT32", None, None)


@dataclass(frozen=True)
class Operation:
    """An operation of the graph that all files share: its kind, and the name of its first output's tensor."""

    kind: str
    tensor: str


@dataclass(frozen=True)
class Mixture:
    """The file of each operation. Operations in `rounded` are computed in float32 (`choice` has their file) with inputs
    and outputs rounded as in the file that `rounded` names."""

    choice: tuple[str, ...]
    rounded: Mapping[int, str] | None = None


class Splicer:
    """Makes mixtures of `files`, which are `.tflite` contents by name, BASE among them.

    `left_out` has the files with another graph, with the reason; the others are in `names`. Raises EdgetfError if
    BASE is missing.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        if BASE not in files:
            raise EdgetfError(f"there is no {BASE} variant to start from", "convert again, with --scheme float32 too")
        self._files = {BASE: File(files[BASE])}
        self.left_out: dict[str, str] = {}
        base = self._files[BASE]
        for name, content in files.items():
            if name == BASE:
                continue
            found = File(content)
            if why := difference(base, found):
                self.left_out[name] = why
            else:
                self._files[name] = found
        self.operations = tuple(
            Operation(part.kinds[k], part.name_of(k)) for part in base.parts for k in range(len(part.ops))
        )
        self.groups = {name: groups_of(file) for name, file in self._files.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._files)

    @property
    def signatures(self) -> tuple[str, ...]:
        """The names of the model's signatures."""
        return tuple(signature_names(self._files[BASE].model))

    def splice(self, mixture: Mixture) -> bytes:
        """The mixture as a `.tflite` file. Raises EdgetfError if operations of two files cannot be joined."""
        if reason := self.why_split(mixture.choice, mixture.rounded):
            raise EdgetfError(reason, "take all of these operations from one file")
        return _Writer(self._files, mixture).write()

    def why_split(self, choice: Sequence[str], rounded: Mapping[int, str] | None = None) -> str:
        """Why a mixture would split operations that are equalized together; empty if it does not."""
        return why_split(self._files, choice, rounded or {})

    def together(self, operations: Iterable[int]) -> frozenset[int]:
        """These operations, and those of all groups that they belong to."""
        found = frozenset(operations)
        for group in (one for groups in self.groups.values() for one in groups):
            found |= group if found & group else frozenset()
        return found

    def differs(self, name: str, operation: int) -> bool:
        """Whether an operation of a file differs from that of BASE: in its constants, or the forms of its tensors."""
        return self._files[name].fingerprint(operation) != self._files[BASE].fingerprint(operation)

    def same(self, one: str, other: str, operation: int) -> bool:
        """Whether two files have the same operation."""
        return self._files[one].fingerprint(operation) == self._files[other].fingerprint(operation)

    def constant_bytes(self, name: str, *operations: int) -> int:
        """The size of the constants of operations in a file, each once."""
        return sum(one.bytes for one in self._files[name].stored(operations).values())

    def conversions(self, name: str, *operations: int) -> int:
        """The number of constants of operations that a file stores in another form than these compute with."""
        return sum(one.converted for one in self._files[name].stored(operations).values())

    def sharing(self, least: int) -> list[frozenset[int]]:
        """The operations that read one constant, of at least `least` bytes, in BASE: those of each that has several."""
        readers: dict[int, set[int]] = {}
        for k in range(len(self.operations)):
            for buffer, one in self._files[BASE].stored([k]).items():
                if one.bytes >= least:
                    readers.setdefault(buffer, set()).add(k)
        return [frozenset(found) for found in readers.values() if len(found) > 1]

    @property
    def multiplications(self) -> int:
        """About how many an inference of the model has."""
        return sum(self._files[BASE].multiplications(k) for k in range(len(self.operations)))

    def is_fixed_point(self, name: str, operation: int) -> bool:
        """Whether an operation computes with quantized activations in a file."""
        return self._files[name].is_fixed_point(operation)

    def computes_integers(self, name: str, operation: int) -> bool:
        """Whether a kernel for integers runs it: in fixed point, or with quantized constants as they are stored."""
        return self._files[name].computes_integers(operation)


# writing --------------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes one mixture: the parts of the new file so far."""

    def __init__(self, files: Mapping[str, File], mixture: Mixture) -> None:
        self.files, self.mixture = files, mixture
        self.base = files[BASE]
        self.schema = self.base.schema
        self.model = copy.copy(self.base.model)
        self.model.operatorCodes, self.model.buffers = [], [copy.copy(self.base.model.buffers[0])]
        self.model.metadata = self.model.metadataBuffer = None  # the minimum runtime is that of other operations
        self.model.subgraphs = []
        self._codes: dict[tuple[Any, ...], int] = {}
        self._buffers: dict[bytes, int] = {}
        self._others: dict[tuple[int, int], int] = {}  # graphs that operations call, by file and number

    def write(self) -> bytes:
        self.model.subgraphs = [None] * len(self.base.parts)
        remaps: dict[int, tuple[int, dict[int, int]]] = {}
        first = 0
        for number, part in enumerate(self.base.parts):
            choice = self.mixture.choice[first : first + len(part.ops)]
            rounded = {k - first: name for k, name in (self.mixture.rounded or {}).items()}
            graph = _GraphWriter(self, number, choice, rounded)
            self.model.subgraphs[number] = graph.write()
            remaps[part.index] = (number, graph.ends)
            first += len(part.ops)
        self.model.signatureDefs = copy.deepcopy(self.base.model.signatureDefs)
        for signature in listed(self.model.signatureDefs):
            number, ends = remaps[int(signature.subgraphIndex)]
            signature.subgraphIndex = number
            for one in (*listed(signature.inputs), *listed(signature.outputs)):
                one.tensorIndex = ends[int(one.tensorIndex)]
        chosen = [(k, self.files[name].factors.get(k)) for k, name in enumerate(self.mixture.choice)]
        add_maps(self.model, self.schema, pixel_maps(self.base.model))
        add_factors(self.model, self.schema, {k: exponents for k, exponents in chosen if exponents is not None})
        return pack(self.model)

    def code(self, code: Any) -> int:
        key = (int(code.builtinCode), int(code.deprecatedBuiltinCode), int(code.version), code.customCode)
        if key not in self._codes:
            self._codes[key] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(copy.copy(code))
        return self._codes[key]

    def builtin(self, name: str, version: int) -> int:
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, name)
        code.version, code.customCode = version, None
        return self.code(code)

    def tensor(self, file: File, tensor: Any) -> Any:
        """A copy of a tensor; if it is a constant, its buffer is in the new file."""
        new = copy.copy(tensor)
        data = file.data(tensor)
        new.buffer = 0 if data is None else self.buffer(file.digest(tensor), data)
        return new

    def buffer(self, digest: bytes, data: Any) -> int:
        if digest not in self._buffers:
            buffer = self.schema.BufferT()
            buffer.data, buffer.offset, buffer.size = data, 0, 0
            self._buffers[digest] = len(self.model.buffers)
            self.model.buffers.append(buffer)
        return self._buffers[digest]

    def options(self, file: File, options: Any) -> Any:
        """The options of an operation; graphs that they name, such as a loop's body, are copied from the same file."""
        named = graph_fields(options)
        if not named:
            return options
        options = copy.copy(options)
        for name in named:
            index = getattr(options, name)
            setattr(options, name, self.graph(file, int(index)) if int(index) >= 0 else index)
        return options

    def operator(self, file: File, op: Any, places: Mapping[int, int]) -> Any:
        """A copy of an operation with its tensors at other `places`."""
        new = copy.copy(op)
        new.opcodeIndex = self.code(file.model.operatorCodes[op.opcodeIndex])
        for name in ("builtinOptions", "builtinOptions2"):
            if hasattr(op, name):
                setattr(new, name, self.options(file, getattr(op, name)))
        for name in ("inputs", "outputs", "intermediates"):
            known = getattr(op, name)
            if known is not None:
                setattr(new, name, np.array([places.get(int(k), -1) for k in known], np.int32))
        return new

    def graph(self, file: File, index: int) -> int:
        """The place of a graph of a file that operations call; the complete graph is copied."""
        key = (id(file), index)
        if key not in self._others:
            self._others[key] = len(self.model.subgraphs)
            new = copy.copy(file.model.subgraphs[index])
            self.model.subgraphs.append(new)
            places = {k: k for k in range(len(listed(new.tensors)))}
            new.tensors = [self.tensor(file, tensor) for tensor in listed(new.tensors)]
            new.operators = [self.operator(file, op, places) for op in listed(new.operators)]
        return self._others[key]


class _GraphWriter:
    """Writes the graph of one signature. `ends` are the places of inputs and outputs, by those in BASE."""

    def __init__(self, whole: _Writer, number: int, choice: Sequence[str], rounded: Mapping[int, str]) -> None:
        self.whole, self.choice, self.rounded = whole, choice, rounded
        self.base = whole.base.parts[number]
        self.parts = {name: file.parts[number] for name, file in whole.files.items()}
        self.graph = copy.copy(self.base.graph)
        self.graph.tensors, self.graph.operators = [], []
        self.ends: dict[int, int] = {}
        self._made: dict[tuple[Value, Form], int] = {}
        self._form: dict[Value, Form] = {}  # in which a value is computed
        self._constants: dict[tuple[Any, ...], int] = {}
        self._loose: dict[tuple[str, int], int] = {}

    def write(self) -> Any:
        file = self.whole.base
        for k, n in self.base.inputs.items():
            self.ends[k] = self._add(self.whole.tensor(file, self.base.tensors[k]))
            self._keep(("in", n), file.form(self.base.tensors[k]), self.ends[k])
        self.graph.inputs = np.array([self.ends[k] for k in self.base.inputs], np.int32)
        for k, name in enumerate(self.choice):
            self._operation(k, name)
        outputs = []
        for k in (int(i) for i in listed(self.base.graph.outputs)):
            value = self.base.value(k)
            place = self._constant(BASE, value) if value[0] == "const" else self._read(BASE, k)
            if value[0] != "in":
                self.graph.tensors[place].name = self.base.tensors[k].name
            self.ends[k] = place
            outputs.append(place)
        self.graph.outputs = np.array(outputs, np.int32)
        return self.graph

    def _operation(self, k: int, name: str) -> None:
        part = self.parts[name]
        old, places = part.ops[k], dict[int, int]()
        for n, i in enumerate(part.inputs_of(k)):
            if i >= 0:
                places[i] = self._input(k, n, name)
        for i in (int(one) for one in listed(old.intermediates)):
            places[i] = self._add(self.whole.tensor(part.file, part.tensors[i]))
        for n, i in enumerate(int(one) for one in listed(old.outputs)):
            tensor = self.whole.tensor(part.file, part.tensors[i])
            tensor.name = self.base.tensors[int(self.base.ops[k].outputs[n])].name
            places[i] = self._add(tensor)
        self.graph.operators.append(self.whole.operator(part.file, old, places))
        for n, i in enumerate(int(one) for one in listed(old.outputs)):
            form, place = part.file.form(part.tensors[i]), places[i]
            if k in self.rounded:
                theirs = self.parts[self.rounded[k]]
                tensor = theirs.tensors[int(theirs.ops[k].outputs[n])]
                wanted = theirs.file.form(tensor)
                if wanted != form:
                    place, form = self._converted(place, form, theirs.file, tensor, wanted), wanted
            self._keep(("op", k, n), form, place)

    def _input(self, k: int, n: int, name: str) -> int:
        """The place of the n-th input of operation `k`, as the file has it."""
        part = self.parts[name]
        i = part.inputs_of(k)[n]
        value = part.value(i)
        if value[0] == "const":
            return self._constant(name, value)
        if value[0] == "loose":
            return self._own(name, i)
        if k in self.rounded:
            like = self.rounded[k]
            return self._rounded(name, i, like, self.parts[like].inputs_of(k)[n])
        return self._read(name, i)

    def _keep(self, value: Value, form: Form, place: int) -> None:
        self._form[value] = form
        self._made[value, form] = place

    def _read(self, name: str, k: int) -> int:
        """The place of the value of tensor `k` of a file, in its form there."""
        part = self.parts[name]
        value, form = part.value(k), part.file.form(part.tensors[k])
        if (value, form) not in self._made:
            computed = self._form[value]
            place = self._made[value, computed]
            self._made[value, form] = self._converted(place, computed, part.file, part.tensors[k], form)
        return self._made[value, form]

    def _rounded(self, name: str, k: int, like: str, other: int) -> int:
        """The same in float, first rounded as tensor `other` of the file `like`."""
        part, theirs = self.parts[name], self.parts[like]
        form = theirs.file.form(theirs.tensors[other])
        place, wanted = self._read(like, other), part.file.form(part.tensors[k])
        return place if form == wanted else self._converted(place, form, part.file, part.tensors[k], wanted)

    def _converted(self, place: int, form: Form, file: File, like: Any, wanted: Form) -> int:
        """The value at `place` in another form, that of the tensor `like` of a file."""
        known = {"FLOAT32", *FIXED_POINT}
        if not {form[0], wanted[0]} <= known or (form[1] is None and form[0] != "FLOAT32"):
            name = tensor_name(self.graph.tensors[place])
            message = f"{name} is {form[0].lower()} where it is made and {wanted[0].lower()} where it is read"
            raise EdgetfError(message, "take both operations from one file")
        if form[0] == "INT8" and wanted[0] == "INT16":  # tflite-runtime 2.14 refuses QUANTIZE from int8 to int16
            like_float = copy.copy(self.graph.tensors[place])
            like_float.type, like_float.quantization = self.whole.schema.TensorType.FLOAT32, None
            place, form = self._convert(place, form, like_float, _FLOAT), _FLOAT
        return self._convert(place, form, self.whole.tensor(file, like), wanted)

    def _convert(self, place: int, form: Form, tensor: Any, wanted: Form) -> int:
        schema, op = self.whole.schema, self.whole.schema.OperatorT()
        label = tensor_name(self.graph.tensors[place]).split("|")[0]
        tensor.name, tensor.buffer = f"{label}|{wanted[0].lower()}", 0
        if wanted[0] == "FLOAT32":
            op.opcodeIndex = self.whole.builtin("DEQUANTIZE", {"INT8": 2, "INT16": 3}.get(form[0], 1))
            op.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
            op.builtinOptions = schema.DequantizeOptionsT()
        else:
            op.opcodeIndex = self.whole.builtin("QUANTIZE", 2 if "INT16" in (form[0], wanted[0]) else 1)
            op.builtinOptionsType = schema.BuiltinOptions.QuantizeOptions
            op.builtinOptions = schema.QuantizeOptionsT()
        made = self._add(tensor)
        op.inputs, op.outputs = np.array([place], np.int32), np.array([made], np.int32)
        self.graph.operators.append(op)
        return made

    def _constant(self, name: str, value: Value) -> int:
        part = self.parts[name]
        tensor, dequantized = part.tensors[value[1]], value[2]
        key = (*part.file.constant_key(tensor), dequantized is not None)
        if key not in self._constants:
            place = self._add(self.whole.tensor(part.file, tensor))
            if dequantized is not None:
                op = part.producer[dequantized]
                made = self._add(self.whole.tensor(part.file, part.tensors[dequantized]))
                places = {int(op.inputs[0]): place, dequantized: made}
                self.graph.operators.append(self.whole.operator(part.file, op, places))
                place = made
            self._constants[key] = place
        return self._constants[key]

    def _own(self, name: str, k: int) -> int:
        """A tensor without a value, such as the state of an LSTM, of the operation's own file."""
        if (name, k) not in self._loose:
            part = self.parts[name]
            self._loose[name, k] = self._add(self.whole.tensor(part.file, part.tensors[k]))
        return self._loose[name, k]

    def _add(self, tensor: Any) -> int:
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1
