"""Repairs of wrong scales from TensorFlow's quantizers. In: a quantized flatbuffer. Out: the repaired one, and notes.

The quantizers (seen with TensorFlow 2.21) do not always follow three rules of the kernels:
- A kernel that copies values copies bytes. Its operands, including constants, must have the scale of its result.
  ONE_HOT's `off_value` has a different scale: "off" then becomes 0.5.
- A tensor's scale must cover its range. A copying op passes its result's scale to its operand, which clips that tensor
  for all its other readers: in `where(x > 0, -3, x)`, x ends at 0.
- A kernel that pads with zeros writes bytes of 0, which must mean 0: the zero point must be 0.
Only the main graph is repaired: loops stay float32 (see `loops.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.ranges import Ranges
from edgetf.flatbuffer import builtin_code, data_of, listed, names_of, pack, tensor_name, unpack

# the operands that a kernel copies into its results byte by byte
COPIES_FIRST = (
    "PAD MIRROR_PAD GATHER GATHER_ND RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE SLICE STRIDED_SLICE TILE BROADCAST_TO "
    "REVERSE_V2 REVERSE_SEQUENCE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND SPACE_TO_DEPTH DEPTH_TO_SPACE MAX_POOL_2D "
    "AVERAGE_POOL_2D RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REDUCE_MAX REDUCE_MIN SPLIT_V UNPACK TOPK_V2"
)
_COPIED: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(COPIES_FIRST.split(), (0,)),
    **dict.fromkeys(("SELECT", "SELECT_V2"), (1, 2)),
    **dict.fromkeys(("ONE_HOT", "SPARSE_TO_DENSE"), (2, 3)),
    **dict.fromkeys(("MATRIX_SET_DIAG", "DYNAMIC_UPDATE_SLICE", "MAXIMUM", "MINIMUM"), (0, 1)),
    "PADV2": (0, 2),
    **dict.fromkeys(("FILL", "EMBEDDING_LOOKUP"), (1,)),
    "SPLIT": (1,),
}
_ALL_COPIED = ("CONCATENATION", "PACK")
_ZERO_FILLED = {"SCATTER_ND": 1, "MATRIX_DIAG": 0}  # and the operand that is copied
_FIXED = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION")  # their kernels demand a scale
_WITH_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3, "CONV_3D": 2}
_LIMITS = {"INT8": (-128, 127), "INT16": (-32767, 32767)}
_SLACK = 1.5  # steps by which a range may exceed its scale, because of rounding


def repair_scales(content: bytes, ranges: Ranges | None) -> tuple[bytes, tuple[str, ...]]:
    """Make a quantized flatbuffer follow the three rules; `ranges` are those of its quantization, if known."""
    graph = _Graph(content)
    if ranges is not None:
        graph.widen({one.tensor.rpartition("#")[0]: (one.low, one.high) for one in ranges.ranges})
    graph.copy_in_one_scale()
    graph.fill_with_true_zeros()
    notes = []
    if graph.copied:
        kinds = ", ".join(sorted(graph.copied))
        notes.append(f"the operands of {kinds} were given the scale of their results, which TensorFlow neglects")
    if graph.widened:
        notes.append(f"{graph.widened} tensor(s) that TensorFlow's quantizer had clipped have their full range again")
    if graph.filled:
        kinds = ", ".join(sorted(graph.filled))
        notes.append(f"the zeros that {kinds} pad with were made exact, by a scale around 0")
    return (pack(graph.model) if notes else content), tuple(notes)


class _Graph:
    """The main graph of a flatbuffer during its repair; `copied`, `widened` and `filled` record the changes."""

    def __init__(self, content: bytes) -> None:
        self.model, self._schema = unpack(content)
        self._graph = self.model.subgraphs[0]
        self._names = names_of(self._schema.BuiltinOperator)
        self._types = names_of(self._schema.TensorType)
        self.copied: set[str] = set()
        self.filled: set[str] = set()
        self.widened = 0

    # the rules -----------------------------------------------------------------------------------------------------

    def widen(self, known: Mapping[str, tuple[float, float]]) -> None:
        """Give clipped tensors a scale that covers their range, unless all ops that read them clip as well.

        Runs from the end to the beginning: the operand of a copying op must cover the range of its results.
        """
        found = self._ranges(known)
        ops = self._ops()
        readers: dict[int, list[Any]] = {}
        answers = {int(k) for k in listed(self._graph.outputs)}
        for op in ops:
            for k in op.inputs:
                readers.setdefault(int(k), []).append(op)
        results = [(int(k), op) for op in reversed(ops) for k in op.outputs]
        for k, maker in [*results, *((int(k), None) for k in listed(self._graph.inputs))]:
            if k not in found or not self._clips(k, *found[k]) or (maker and self._kind(maker) in _FIXED):
                continue
            if k not in answers and all(self._hands_on(op, k) for op in readers.get(k, [])):
                continue
            before = float(self._tensor(k).quantization.scale[0])
            self._set_scale(k, *found[k])
            self.widened += 1
            for op in readers.get(k, []):
                self._rescale_bias(op, k, before / float(self._tensor(k).quantization.scale[0]))

    def copy_in_one_scale(self) -> None:
        """Give every copied operand the scale of the result; if an op has several results, give them the operand's."""
        for op in self._ops():
            kind, result = self._kind(op), int(op.outputs[0])
            copied = self._copied(op)
            if not copied or not self._is_quantized(result):
                continue
            if len(op.outputs) > 1:
                self._convert_results(op, kind, int(op.inputs[copied[0]]))
                continue
            for place in copied:
                if op.inputs[place] >= 0 and not self._alike(int(op.inputs[place]), result):
                    self._convert_operand(op, place, result)
                    self.copied.add(kind)

    def fill_with_true_zeros(self) -> None:
        """Make ops that pad with zeros compute in a scale around 0, with a change of scale before and after."""
        for op in self._ops():
            kind, result = self._kind(op), int(op.outputs[0])
            if kind not in _ZERO_FILLED or not self._is_quantized(result):
                continue
            if int(self._tensor(result).quantization.zeroPoint[0]) == 0:
                if not self._alike(int(op.inputs[_ZERO_FILLED[kind]]), result):
                    self._convert_operand(op, _ZERO_FILLED[kind], result)
                    self.copied.add(kind)
                continue
            low, high = self._held(result)
            around = self._add_tensor(result, result)
            self._tensor(around).quantization.scale = [max(-low, high) / _LIMITS["INT8"][1]]
            self._tensor(around).quantization.zeroPoint = [0]
            op.outputs = [around]
            self._insert(self._quantize(around, result), after=op)
            self._convert_operand(op, _ZERO_FILLED[kind], around)
            self.filled.add(kind)

    # tensors -------------------------------------------------------------------------------------------------------

    def _ops(self) -> list[Any]:
        """The ops with operands and results; others (of variables) never copy."""
        return [op for op in listed(self._graph.operators) if len(listed(op.inputs)) and len(listed(op.outputs))]

    def _kind(self, op: Any) -> str:
        return self._names[builtin_code(self.model, op)]

    def _tensor(self, k: int) -> Any:
        return self._graph.tensors[k]

    def _type(self, k: int) -> str:
        return self._types[self._tensor(k).type]

    def _is_quantized(self, k: int) -> bool:
        parameters = self._tensor(k).quantization
        return self._type(k) in _LIMITS and parameters is not None and len(listed(parameters.scale)) == 1

    def _alike(self, one: int, other: int) -> bool:
        if self._type(one) != self._type(other) or not self._is_quantized(one):
            return False
        first, second = self._tensor(one).quantization, self._tensor(other).quantization
        return bool(first.scale[0] == second.scale[0] and first.zeroPoint[0] == second.zeroPoint[0])

    def _held(self, k: int) -> tuple[float, float]:
        """The smallest and largest value that a quantized tensor can hold."""
        parameters = self._tensor(k).quantization
        scale, zero = float(parameters.scale[0]), int(parameters.zeroPoint[0])
        least, most = _LIMITS[self._type(k)]
        return (least - zero) * scale, (most - zero) * scale

    def _clips(self, k: int, low: float, high: float) -> bool:
        if not self._is_quantized(k) or self._data(k) is not None:
            return False
        least, most = self._held(k)
        slack = _SLACK * float(self._tensor(k).quantization.scale[0])
        return low < least - slack or high > most + slack

    def _set_scale(self, k: int, low: float, high: float) -> None:
        """Set the scale for a range as the quantizers do: int8 from end to end, int16 around 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        parameters = self._tensor(k).quantization = copy.copy(self._tensor(k).quantization)
        if self._type(k) == "INT16":
            scale, zero = np.float32(max(-low, high) / _LIMITS["INT16"][1]), 0
        else:
            scale = np.float32((high - low) / 255)
            zero = int(np.clip(np.rint(-128 - low / scale), -128, 127))
        parameters.scale, parameters.zeroPoint = [float(scale)], [zero]
        parameters.min, parameters.max = None, None

    def _ranges(self, known: Mapping[str, tuple[float, float]]) -> dict[int, tuple[float, float]]:
        """The range of each quantized tensor: by its name, or by the float tensor before or after its quantization."""
        tensors = listed(self._graph.tensors)
        found = {k: known[name] for k, one in enumerate(tensors) if (name := tensor_name(one)) in known}
        for op in self._ops():
            if (kind := self._kind(op)) not in ("QUANTIZE", "DEQUANTIZE"):
                continue
            source, result = int(op.inputs[0]), int(op.outputs[0])
            if kind == "QUANTIZE" and source in found:
                found.setdefault(result, found[source])
            elif kind == "DEQUANTIZE" and result in found:
                found.setdefault(source, found[result])
        return found

    # ops -----------------------------------------------------------------------------------------------------------

    def _copied(self, op: Any) -> tuple[int, ...]:
        kind = self._kind(op)
        places = tuple(range(len(op.inputs))) if kind in _ALL_COPIED else _COPIED.get(kind, ())
        return tuple(place for place in places if place < len(op.inputs))

    def _hands_on(self, op: Any, k: int) -> bool:
        """Whether `op` only copies tensor `k` into results of the same scale."""
        copied = self._copied(op)
        everywhere = [place for place, one in enumerate(op.inputs) if int(one) == k]
        return set(everywhere) <= set(copied) and all(self._alike(k, int(result)) for result in op.outputs)

    def _convert_operand(self, op: Any, place: int, like: int) -> None:
        """Give an operand the scale and type of tensor `like`: quantize a constant again, or insert a QUANTIZE."""
        source = int(op.inputs[place])
        made = self._add_tensor(source, like)
        inputs = [int(k) for k in op.inputs]
        inputs[place] = made
        op.inputs = inputs
        values = self._data(source)
        if values is None:
            self._insert(self._quantize(source, made), before=op)
            return
        parameters, (least, most) = self._tensor(made).quantization, _LIMITS[self._type(made)]
        steps = np.rint(values / parameters.scale[0]) + parameters.zeroPoint[0]
        self._store(made, np.clip(steps, least, most).astype(self._type(made).lower()))

    def _convert_results(self, op: Any, kind: str, operand: int) -> None:
        outputs = [int(k) for k in op.outputs]
        for place, result in enumerate(outputs):
            if self._is_quantized(result) and self._is_quantized(operand) and not self._alike(operand, result):
                outputs[place] = self._add_tensor(result, operand)
                self._insert(self._quantize(outputs[place], result), after=op)
                self.copied.add(kind)
        op.outputs = outputs

    def _rescale_bias(self, op: Any, k: int, factor: float) -> None:
        """Convert biases to a new scale of the input: a bias's scale is that of the input times that of the weights."""
        place = _WITH_BIAS.get(self._kind(op), len(op.inputs))
        if place >= len(op.inputs) or k not in (int(op.inputs[0]), int(op.inputs[place - 1])) or op.inputs[place] < 0:
            return
        old = int(op.inputs[place])
        dtype = self._type(old).lower()
        if dtype not in ("int32", "int64") or not len(data_of(self.model, self._tensor(old).buffer)):
            return
        made = self._add_tensor(old, old)
        stored = data_of(self.model, self._tensor(old).buffer).view(dtype)
        self._store(made, np.rint(stored * factor).astype(dtype))
        parameters = self._tensor(made).quantization
        if parameters is not None and parameters.scale is not None:
            parameters.scale = [float(scale) / factor for scale in parameters.scale]
        inputs = [int(one) for one in op.inputs]
        inputs[place] = made
        op.inputs = inputs

    def _data(self, k: int) -> NDArray[np.float64] | None:
        """The values of a constant, as numbers; None for a tensor that is not a constant."""
        data = data_of(self.model, self._tensor(k).buffer)
        if not len(data):
            return None
        stored = data.view(self._type(k).lower()).astype(np.float64)
        if not self._is_quantized(k):
            return stored
        parameters = self._tensor(k).quantization
        return (stored - int(parameters.zeroPoint[0])) * float(parameters.scale[0])

    def _add_tensor(self, shape_of: int, like: int) -> int:
        """Add a tensor with the shape of one and the type and scale of another."""
        made = copy.copy(self._tensor(shape_of))
        made.type, made.quantization, made.buffer = self._tensor(like).type, self._tensor(like).quantization, 0
        made.quantization = copy.copy(made.quantization)
        made.name = f"{tensor_name(made)}_in_scale_{len(self._graph.tensors)}".encode()
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def _store(self, k: int, values: NDArray[Any]) -> None:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self._tensor(k).buffer = len(self.model.buffers) - 1

    def _quantize(self, source: int, result: int) -> Any:
        op = self._schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = self._quantize_code(), [source], [result]
        op.builtinOptionsType = self._schema.BuiltinOptions.QuantizeOptions
        op.builtinOptions = self._schema.QuantizeOptionsT()
        return op

    def _quantize_code(self) -> int:
        number, codes = self._schema.BuiltinOperator.QUANTIZE, self.model.operatorCodes
        for k, code in enumerate(codes):
            if max(int(code.builtinCode), int(code.deprecatedBuiltinCode)) == number and code.version >= 2:
                return k
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 2  # the first version that converts between scales
        codes.append(code)
        return len(codes) - 1

    def _insert(self, new: Any, before: Any = None, after: Any = None) -> None:
        operators = listed(self._graph.operators)
        place = next(k for k, op in enumerate(operators) if op is (before or after))
        operators.insert(place if before is not None else place + 1, new)
        self._graph.operators = operators
