"""LiteRT's CompiledModel in the form of TFLite's interpreter: what runs variants on accelerators that it compiles for.

In: a `.tflite` file, or one that was compiled ahead of time (`edgetf compile`), and an accelerator. Out: an Interpreter
for `interpreter.Session`. LiteRT falls back to the CPU without an error, and reports then that everything is
accelerated: here, its log decides. A variant of which the accelerator takes nothing is refused, and so is one that runs
on another device than was asked for.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from .answers import in_one_line, line
from .delegates import DISPATCH as DISPATCH
from .from_file import FromFile, printed, text
from .job import Coverage, JobError

NPU, OPENVINO_CPU = "npu", "openvino-cpu"  # names of accelerators
_PARTITIONED = re.compile(
    r"Partitioned subgraph<0>, selected (\d{1,9}) ops, from a total of (\d{1,9}) ops. resulted in (\d{1,9}) partitions"
)
_APPLIED = re.compile(r"(\d{1,9}) compiler plugins were applied successfully")
_DEVICE = re.compile(r"Using Intel OpenVINO device: (\w+)")
_LIBRARY = re.compile(r"(lib[\w.-]+\.so[\w.]*): cannot open shared object file")
_CAUSE = re.compile(r"(?:ERROR|Exception)\b[^\n]*|└ [^\n]*|Cannot load library[^\n]*")
_PLACES = re.compile(r"ERROR: (?:\[[^\]]*\] ?)?|└ |(?<![\w.])/(?:[\w.-]+/)+")  # in LiteRT's source, and folders


class Interpreter(FromFile):
    """A variant on an accelerator, with the CPU for what it does not take.

    Raises JobError with the reason if nothing would run on the accelerator.
    """

    def __init__(self, model_path: str, num_threads: int = 1, accelerator: str = NPU) -> None:
        super().__init__(importlib.import_module("ai_edge_litert.schema_py_generated"), Path(model_path).read_bytes())
        self._refuse_state()
        self._tensor_names: dict[int, str] = {}
        self._buffers: dict[str, dict[str, Any]] = {}
        codes = (self.model.OperatorCodes(k) for k in range(self.model.OperatorCodesLength()))
        self._precompiled = any(text(one.CustomCode()) == DISPATCH for one in codes)
        with printed() as log:
            try:
                self._compiled = _compile(model_path, num_threads, accelerator)
                self._key = next(iter(self._compiled.get_signature_list()))
                self._prepare()
            except (RuntimeError, ValueError) as error:
                raise JobError(f"it does not run on the accelerator: {why_not(str(error), log())}") from error
            self._log = log()
        self._refuse_other_device(accelerator)

    def _refuse_state(self) -> None:
        tensors = (self.graph.Tensors(k) for k in range(self.graph.TensorsLength()))
        if any(one.IsVariable() for one in tensors):
            raise JobError("it keeps a state from one run to the next, which an accelerator cannot forget")

    def _prepare(self) -> None:
        """Details of inputs and outputs, and buffers for them."""
        signature = self.get_signature_list().get(self._key)
        for kind, tensors in (("input", self.input_tensors), ("output", self.output_tensors)):
            known = getattr(self._compiled, f"get_{kind}_tensor_details")(self._key)
            names = self._names(signature, kind, tensors)
            create = getattr(self._compiled, f"create_{kind}_buffer_by_name")
            for index, name in names.items():
                self.details[index] = self.detail(index, known[name]["shape"], known[name]["dtype"])
            self._tensor_names.update(names)
            self._buffers[kind] = {name: create(self._key, name) for name in names.values()}

    def _names(self, signature: Any, kind: str, tensors: list[int]) -> dict[int, str]:
        """The names of inputs or outputs by their tensors: those of the signature, else their own."""
        if signature is None:
            return {k: text(self.graph.Tensors(k).Name()) for k in tensors}
        count, of = (
            (signature.InputsLength, signature.Inputs)
            if kind == "input"
            else (signature.OutputsLength, signature.Outputs)
        )
        return {int(one.TensorIndex()): text(one.Name()) for one in map(of, range(count()))}

    def _refuse_other_device(self, accelerator: str) -> None:
        """Raise JobError if the log shows that the CPU runs everything, or another device than was asked for."""
        applied = _APPLIED.search(self._log)
        if not self._precompiled and (applied is None or int(applied[1]) == 0 or not self.taken[0]):
            raise JobError(f"nothing of it runs on the accelerator: {why_not('', self._log)}")
        devices = set(_DEVICE.findall(self._log))
        if devices and (devices == {"CPU"}) is not (accelerator == OPENVINO_CPU):
            other = f"--delegate {OPENVINO_CPU if accelerator == NPU else NPU}"
            raise JobError(f"it runs on OpenVINO's device {', '.join(sorted(devices))}: ask for it with {other}")

    @property
    def taken(self) -> tuple[int, int, int]:
        """The operations that the accelerator took, of how many, and in how many pieces; zeros if that is unknown."""
        found = _PARTITIONED.search(self._log)
        return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)

    def coverage(self, accelerator: str) -> Coverage:
        """What the accelerator took, by the log. Raises JobError if the log does not have it."""
        taken, of, pieces = self.taken
        if not of:
            raise JobError("it was compiled ahead of time: edgetf compile reported what the accelerator takes")
        return Coverage(of, taken, pieces, [], None, accelerator, False, "log")

    def resize_tensor_input(self, index: int, shape: list[int]) -> None:
        """Raise JobError: an accelerator's code is for one shape."""
        detail = self.details[index]
        own = [int(axis) for axis in detail["shape"]]
        raise JobError(f"input {detail['name']!r} was compiled for the shape {own}, the samples need {shape}")

    def allocate_tensors(self) -> None:
        """They were allocated when the variant was compiled."""

    def set_tensor(self, index: int, values: np.ndarray[Any, Any]) -> None:
        self._buffers["input"][self._tensor_names[index]].write(np.ascontiguousarray(values))

    def get_tensor(self, index: int) -> np.ndarray[Any, Any]:
        detail = self.details[index]
        shape = [int(axis) for axis in detail["shape"]]
        count = int(np.prod(shape, dtype=np.int64))
        values = self._buffers["output"][self._tensor_names[index]].read(count, np.dtype(detail["dtype"]))
        return np.array(values).reshape(shape)

    def invoke(self) -> None:
        self._compiled.run_by_name(self._key, self._buffers["input"], self._buffers["output"])

    def reset_all_variables(self) -> None:
        """There are none: a variant that keeps a state is refused."""


def _compile(path: str, threads: int, accelerator: str) -> Any:
    """The CompiledModel of a file. Raises JobError for a LiteRT without it."""
    try:
        model = importlib.import_module("ai_edge_litert.compiled_model").CompiledModel
        hardware = importlib.import_module("ai_edge_litert.hardware_accelerator").HardwareAccelerator
        options = importlib.import_module("ai_edge_litert.options")
    except ImportError as error:
        raise JobError(f"this LiteRT has no CompiledModel: pip install 'ai-edge-litert>=2.3' ({error})") from error
    openvino = options.IntelOpenVinoOptions
    device = openvino.GRAPH_BACKEND.CPU if accelerator == OPENVINO_CPU else openvino.GRAPH_BACKEND.NPU
    chosen = options.Options(
        hardware_accelerators=hardware.NPU | hardware.CPU,
        cpu_options=options.CpuOptions(num_threads=threads),
        intel_openvino_options=openvino(
            graph_backend=device,
            configs_map={"INFERENCE_NUM_THREADS": str(threads)} if accelerator == OPENVINO_CPU else {},
        ),
    )
    return model.from_file(path, options=chosen)


def why_not(raised: str, log: str) -> str:
    """Why LiteRT did not compile for an accelerator, in one line: a library that is missing, else its last error."""
    libraries = _LIBRARY.findall(log)
    if libraries:
        return f"{line(libraries[0])} is missing{_of_openvino(libraries[0])}"
    lines = (_PLACES.sub("", match[0]).strip() for match in _CAUSE.finditer(log))
    found = [one for one in lines if one]
    return in_one_line(found[-1] if found else raised or "no plugin for it was found")


def _of_openvino(library: str) -> str:
    """The package that has a library of OpenVINO: its number is the version."""
    version = re.fullmatch(r"libopenvino\.so\.(\d\d)(\d)(\d)", library)
    return f": pip install openvino==20{version[1]}.{version[2]}.{version[3]}" if version else ""
