"""The interpreter of TFLite for microcontrollers (the package `tflite-micro`), in the form of TFLite's own for Python.

In: a `.tflite` file. Out: an Interpreter for `interpreter.Session`, in an arena of exactly the bytes that it needs. The
kernels are the portable ones of microcontrollers, compiled for this machine: outputs and the arena are of interest,
times are not. There are no delegates, shapes are fixed, and only the first graph can be called.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .answers import in_one_line
from .job import JobError

# no microcontroller has as much; memory that is not used is not taken
LARGEST_ARENA = 256 << 20
_STEP = 16  # bytes: the alignment of an arena
_USED = re.compile(r"Arena allocation (total|head|tail) ([0-9]{1,12}) bytes")
_SOURCE = re.compile(r"\S+/\S+\.(?:cc|h)(?::\d+)?:? ?")  # the file of a kernel in front of its message
_GENERAL = "TFLM failed"  # of Python: the message of the kernel, on standard error, is the reason
_MEANINGS = (  # messages of kernels that only those understand who know the kernel
    (re.compile("Hybrid models are not supported"), "there are no kernels for int8 weights with float activations"),
    (re.compile(r"kTfLiteInt8.*Node DEQUANTIZE"), "DEQUANTIZE takes int8, int16 and uint8, but no float16"),
)


class OpResolverType:
    """As in TFLite's module: microcontrollers have no delegates."""

    BUILTIN_WITHOUT_DEFAULT_DELEGATES = None


@dataclass(frozen=True)
class Arena:
    """Bytes of the memory in which a variant runs: activations (`head`), and the interpreter's own (`tail`).

    `total` is the smallest arena in which it can be loaded, and in which it is run. The structures in the tail hold
    pointers, which have 64 bits here.
    """

    total: int
    head: int
    tail: int


@dataclass(frozen=True)
class _Runner:
    """A signature of the first graph: details of its inputs and outputs by name."""

    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    _subgraph_index: int

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        return self.inputs

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        return self.outputs


class Interpreter:
    """A variant in the smallest arena that it runs in. Raises RuntimeError with the reason if it cannot be loaded."""

    def __init__(self, model_path: str, num_threads: int = 1, experimental_op_resolver_type: object = None) -> None:
        content = Path(model_path).read_bytes()
        self.arena = find_arena(content)
        self._interpreter = open_model(content, self.arena.total)
        schema = importlib.import_module("tflite_micro.tensorflow.lite.micro.python.schema_py_generated")
        self._model = schema.Model.GetRootAs(content, 0)
        graph = self._model.Subgraphs(0)
        self._inputs = {int(graph.Inputs(k)): k for k in range(graph.InputsLength())}
        self._outputs = {int(graph.Outputs(k)): k for k in range(graph.OutputsLength())}
        known = self._interpreter
        details = {t: _detail(graph, t, known.get_output_details(k)) for t, k in self._outputs.items()}
        self._details = {
            **details,
            **{t: _detail(graph, t, known.get_input_details(k)) for t, k in self._inputs.items()},
        }

    def get_signature_list(self) -> dict[str, object]:
        """The names of the signatures, in their order."""
        signatures = (self._model.SignatureDefs(k) for k in range(self._model.SignatureDefsLength()))
        return {_text(one.SignatureKey()): one for one in signatures}

    def get_signature_runner(self, key: str) -> _Runner:
        """The inputs and outputs of a signature."""
        one: Any = self.get_signature_list()[key]
        index = int(one.SubgraphIndex())
        if index:
            return _Runner({}, {}, index)  # the session refuses it
        inputs = (one.Inputs(k) for k in range(one.InputsLength()))
        outputs = (one.Outputs(k) for k in range(one.OutputsLength()))
        return _Runner(self._named(inputs), self._named(outputs), index)

    def _named(self, maps: Iterable[Any]) -> dict[str, dict[str, Any]]:
        return {_text(one.Name()): self._details[int(one.TensorIndex())] for one in maps}

    def get_input_details(self) -> list[dict[str, Any]]:
        return [self._details[tensor] for tensor in self._inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [self._details[tensor] for tensor in self._outputs]

    def resize_tensor_input(self, index: int, shape: list[int]) -> None:
        """Raise JobError: a microcontroller's memory is planned once."""
        detail = self._details[index]
        own = [int(axis) for axis in detail["shape"]]
        raise JobError(f"input {detail['name']!r} has the shape {own} for microcontrollers, the samples need {shape}")

    def allocate_tensors(self) -> None:
        """They were allocated when the variant was loaded."""

    def set_tensor(self, index: int, values: np.ndarray[Any, Any]) -> None:
        self._interpreter.set_input(values, self._inputs[index])

    def get_tensor(self, index: int) -> np.ndarray[Any, Any]:
        values: np.ndarray[Any, Any] = np.array(self._interpreter.get_output(self._outputs[index]))
        return values

    def invoke(self) -> None:
        self._interpreter.invoke()

    def reset_all_variables(self) -> None:
        self._interpreter.reset()


def open_model(content: bytes, arena: int) -> Any:
    """tflite-micro's interpreter of a model in an arena of so many bytes. Raises RuntimeError with the reason."""
    runtime = importlib.import_module("tflite_micro").runtime
    with _messages() as messages:
        try:
            return runtime.Interpreter.from_bytes(content, arena_size=arena)
        except (RuntimeError, ValueError) as error:
            raise RuntimeError(reason(str(error), messages())) from None


def find_arena(content: bytes) -> Arena:
    """The smallest arena in which a model can be loaded. Raises RuntimeError with the reason if there is none."""
    interpreter = open_model(content, LARGEST_ARENA)
    with _messages() as messages:
        interpreter.print_allocations()
        used = {part: int(size) for part, size in _USED.findall(messages())}
    if set(used) != {"total", "head", "tail"}:
        raise RuntimeError("this tflite-micro does not report its arena: install another version")
    return Arena(_smallest(content, used["total"]), used["head"], used["tail"])


def _smallest(content: bytes, used: int) -> int:
    """The least arena, in steps of its alignment, from what is used: to plan may need more for a moment."""
    low, high, size = used - _STEP, LARGEST_ARENA, used  # it fits into `high`, and not into `low`
    while high - low > _STEP:
        try:
            open_model(content, size)
            high = size
        except RuntimeError:
            low = size
        size = min((low + high) // 2, 2 * low) // _STEP * _STEP
    return high


def reason(raised: str, printed: str) -> str:
    """Why a model was refused, in one line: what its kernel printed, else what Python raised."""
    lines = [_SOURCE.sub("", line).strip() for line in printed.splitlines()]
    found = "; ".join(dict.fromkeys(line.rstrip(".") for line in lines if line))
    meaning = next((meaning for message, meaning in _MEANINGS if message.search(found)), "")
    raised = "" if found and raised.startswith(_GENERAL) else raised
    return in_one_line("; ".join(filter(None, (meaning, raised, found))))


@contextmanager
def _messages() -> Iterator[Any]:
    """Enclose calls of the interpreter, which prints to standard error; gives a function that returns what it printed.

    Only for a process that does nothing else: its standard error is redirected meanwhile.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def read() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield read
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _detail(graph: Any, index: int, known: dict[str, Any]) -> dict[str, Any]:
    """A tensor as TFLite's interpreter describes it; name and free axes are only in the file."""
    tensor, parameters = graph.Tensors(index), known["quantization_parameters"]
    shape = np.asarray(known["shape"], np.int32)
    free = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else shape
    scales, zero_points = list(parameters["scales"]), list(parameters["zero_points"])
    quantization = (float(scales[0]), int(zero_points[0])) if len(scales) == 1 else (0.0, 0)
    return {
        "name": _text(tensor.Name()),
        "index": index,
        "shape": shape,
        "shape_signature": np.asarray(free, np.int32),
        "dtype": known["dtype"],
        "quantization": quantization,
    }


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
