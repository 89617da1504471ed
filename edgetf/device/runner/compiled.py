"""Accelerators that LiteRT compiles for: NPUs, and OpenVINO's device for CPUs.

In: a `.tflite` file, or one that was compiled ahead of time (`edgetf compile`), and an accelerator. Out: an Interpreter
for `interpreter.Session`. A variant of which the accelerator takes nothing is refused, by the log, and so is one that
runs on another device than was asked for.
"""

from __future__ import annotations

import re
from typing import Any

from .answers import in_one_line, line
from .compiled_model import CompiledModel
from .delegates import DISPATCH as DISPATCH
from .from_file import text
from .job import Coverage, DelegateError, JobError

NPU, OPENVINO_CPU = "npu", "openvino-cpu"  # names of accelerators
_PARTITIONED = re.compile(
    r"Partitioned subgraph<0>, selected (\d{1,9}) ops, from a total of (\d{1,9}) ops. resulted in (\d{1,9}) partitions"
)
_APPLIED = re.compile(r"(\d{1,9}) compiler plugins were applied successfully")
_DEVICE = re.compile(r"Using Intel OpenVINO device: (\w+)")
_LIBRARY = re.compile(r"(lib[\w.-]+\.so[\w.]*): cannot open shared object file")
_CAUSE = re.compile(r"(?:ERROR|Exception)\b[^\n]*|└ [^\n]*|Cannot load library[^\n]*")
_PLACES = re.compile(r"ERROR: (?:\[[^\]]*\] ?)?|└ |(?<![\w.])/(?:[\w.-]+/)+")  # in LiteRT's source, and folders


class Interpreter(CompiledModel):
    """A variant on an accelerator, with the CPU for what it does not take.

    Raises JobError with the reason if nothing would run on the accelerator.
    """

    plugins = True

    def __init__(self, model_path: str, num_threads: int = 1, accelerator: str = NPU) -> None:
        self._accelerator = accelerator
        super().__init__(model_path, num_threads)
        codes = (self.model.OperatorCodes(k) for k in range(self.model.OperatorCodesLength()))
        self._precompiled = any(text(one.CustomCode()) == DISPATCH for one in codes)
        self._refuse_other_device(accelerator)

    def _options(self, litert: Any, threads: int) -> Any:
        openvino, on_cpu = litert.IntelOpenVinoOptions, self._accelerator == OPENVINO_CPU
        return litert.Options(
            hardware_accelerators=litert.HardwareAccelerator.NPU | litert.HardwareAccelerator.CPU,
            cpu_options=litert.CpuOptions(num_threads=threads),
            intel_openvino_options=openvino(
                graph_backend=openvino.GRAPH_BACKEND.CPU if on_cpu else openvino.GRAPH_BACKEND.NPU,
                configs_map={"INFERENCE_NUM_THREADS": str(threads)} if on_cpu else {},
            ),
        )

    def _why_not(self, raised: str, log: str) -> str:
        return f"it does not run on the accelerator: {why_not(raised, log)}"

    def _refuse_other_device(self, accelerator: str) -> None:
        """Raise JobError if the log shows that the CPU runs everything, or another device than was asked for.

        It is a DelegateError if no compiler works here, because a library is missing.
        """
        applied = _APPLIED.search(self._log)
        compiles = applied is not None and int(applied[1]) > 0
        if not self._precompiled and not (compiles and self.taken[0]):
            kind = DelegateError if not compiles and _LIBRARY.search(self._log) else JobError
            raise kind(f"nothing of it runs on the accelerator: {why_not('', self._log)}")
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
