"""The interpreter of TFLite for microcontrollers (the package `tflite-micro`), in the form of TFLite's own for Python.

In: a `.tflite` file. Out: an Interpreter for `interpreter.Session`, in an arena of exactly the bytes that it needs. The
kernels are the portable ones of microcontrollers, compiled for this machine: outputs and the arena are of interest,
times are not. There are no delegates, shapes are fixed, and only the first graph can be called.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .answers import in_one_line
from .from_file import FromFile, printed
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


class Interpreter(FromFile):
    """A variant in the smallest arena that it runs in. Raises RuntimeError with the reason if it cannot be loaded."""

    def __init__(self, model_path: str, num_threads: int = 1, experimental_op_resolver_type: object = None) -> None:
        content = Path(model_path).read_bytes()
        self.arena = find_arena(content)
        self._interpreter = open_model(content, self.arena.total)
        super().__init__(
            importlib.import_module("tflite_micro.tensorflow.lite.micro.python.schema_py_generated"), content
        )
        self._inputs = {tensor: k for k, tensor in enumerate(self.input_tensors)}
        self._outputs = {tensor: k for k, tensor in enumerate(self.output_tensors)}
        for tensor, k in self._outputs.items():
            known = self._interpreter.get_output_details(k)
            self.details[tensor] = self.detail(tensor, known["shape"], known["dtype"])
        for tensor, k in self._inputs.items():
            known = self._interpreter.get_input_details(k)
            self.details[tensor] = self.detail(tensor, known["shape"], known["dtype"])

    def resize_tensor_input(self, index: int, shape: list[int]) -> None:
        """Raise JobError: a microcontroller's memory is planned once."""
        detail = self.details[index]
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
    with printed() as messages:
        try:
            return runtime.Interpreter.from_bytes(content, arena_size=arena)
        except (RuntimeError, ValueError) as error:
            raise RuntimeError(reason(str(error), messages())) from None


def find_arena(content: bytes) -> Arena:
    """The smallest arena in which a model can be loaded. Raises RuntimeError with the reason if there is none."""
    interpreter = open_model(content, LARGEST_ARENA)
    with printed() as messages:
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
