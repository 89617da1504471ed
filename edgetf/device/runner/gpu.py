"""LiteRT's GPU (WebGPU, on Vulkan) for hosts with Python: a variant in, an Interpreter for `interpreter.Session` out.

The variant is compiled for the GPU alone first: if that fails, the log names what is missing. Only if operations are
left over, the CPU takes them. Whether the GPU ran, and which one, is in the log alone: with a CPU allowed, LiteRT
reports a variant as fully accelerated in any case.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .answers import in_one_line, line
from .compiled_model import CompiledModel
from .delegates import PRECISION
from .job import Coverage, DelegateError, JobError, LeftOperations

_BEGIN = "Flatbuffer model initialized"  # of each attempt
_PIECE = "Initializing WebGPU-based API from graph"
_ADAPTER = re.compile(r"Selected adapter: ([^\n]*?), arch=[^\n]*adapterType=([^\n]*)")
_SOFTWARE = re.compile(r"\bCPU\b|SwiftShader|llvmpipe|lavapipe|softpipe", re.IGNORECASE)
_COUNTS = re.compile(r"(\d{1,9}) operations will run on the GPU, and the remaining (\d{1,9}) operations will run on")
_LEFT = re.compile(r"^([A-Z][A-Z0-9_]*): ([^\n]*)$", re.MULTILINE)
_VULKAN = "Debian's libvulkan1"
_DYNAMIC = "dynamic-sized tensor"  # what the log has of a variant that no GPU runs
_LACKING = (  # what the log has if no variant can run, and what it means
    (r"Couldn't load Vulkan[^\n]*cannot open shared object", f"there is no Vulkan loader: install {_VULKAN}"),
    (
        r"Found no drivers|VK_ERROR_INCOMPATIBLE_DRIVER",
        "Vulkan has no driver for a GPU here: install the GPU's (Debian's mesa-vulkan-drivers for Intel, AMD and "
        "Raspberry Pi; NVIDIA's also needs libglvnd0, libegl1 and libglx0); vulkaninfo --summary lists those there are",
    ),
    (r"No adapters found", "LiteRT found no GPU that it can use: vulkaninfo --summary lists those there are"),
    (
        r"(?:GPU|WebGpu)[^\n]*(?:not be loaded|not found|Failed to load)|kLiteRtStatusErrorNotFound[^\n]*GPU",
        "this LiteRT has no GPU for this system: pip install 'ai-edge-litert>=2.1.5'",
    ),
)


@dataclass(frozen=True)
class Log:
    """What LiteRT printed on a variant: `adapter` is the GPU (empty: none was used), `software` whether it is emulated
    (None: unknown); of `on_gpu` and `on_cpu` operations (zeros: not reported) the GPU has so many `pieces`, and `left`
    are those of the CPU, by kind, with the reason (empty: unknown)."""

    adapter: str
    software: bool | None
    on_gpu: int
    on_cpu: int
    pieces: int
    left: tuple[LeftOperations, ...]


class Interpreter(CompiledModel):
    """A variant on the GPU, with the CPU for the operations that the GPU lacks.

    `options` are the delegate's: with the PRECISION "float32" the GPU computes in float32, else in float16 if it can.
    Raises JobError with the reason if nothing would run on the GPU.
    """

    def __init__(
        self, model_path: str, num_threads: int = 1, accelerator: str = "", options: Mapping[str, str] | None = None
    ) -> None:
        self._in_float32 = (options or {}).get(PRECISION) == "float32"
        self._alone = True
        super().__init__(model_path, num_threads)
        self.found = read_log(self._log)
        if not self.found.pieces or not self.found.adapter:
            raise JobError(f"nothing of it runs on the GPU: {why_not('', self._log)}")

    def _compile(self, path: str, threads: int) -> Any:
        try:
            return super()._compile(path, threads)
        except RuntimeError:
            if not read_log(self._printed()).on_cpu:
                raise
        self._alone = False
        return super()._compile(path, threads)

    def _options(self, litert: Any, threads: int) -> Any:
        hardware = litert.HardwareAccelerator
        return litert.Options(
            hardware_accelerators=hardware.GPU if self._alone else hardware.GPU | hardware.CPU,
            cpu_options=litert.CpuOptions(num_threads=threads),
            gpu_options=litert.GpuOptions(enforce_f32=self._in_float32),
        )

    def _fault(self, raised: str, log: str) -> JobError:
        kind = DelegateError if lacks(log) else JobError
        return kind(self._why_not(raised, log))

    def _why_not(self, raised: str, log: str) -> str:
        return f"it does not run on the GPU: {why_not(raised, log)}"

    def coverage(self, accelerator: str) -> Coverage:
        """What the GPU took, by the log: alone, it took everything, or LiteRT would have refused."""
        found, count = self.found, int(self.graph.OperatorsLength())
        label = f"{accelerator} ({found.adapter})"
        if self._alone:
            return Coverage(count, count, found.pieces, [], None, label, found.software, "log")
        if not found.on_cpu:
            raise JobError("LiteRT did not report how many operations run on the GPU")
        operations = found.on_gpu + found.on_cpu
        return Coverage(operations, found.on_gpu, found.pieces, list(found.left), None, label, found.software, "log")


def read_log(log: str) -> Log:
    """What LiteRT printed on the last of its attempts; the GPU is found once."""
    adapter, last = _ADAPTER.search(log), log.rpartition(_BEGIN)[2]
    name, kind = (line(adapter[1]), adapter[2]) if adapter else ("", "")
    counts = _COUNTS.search(last)
    on_gpu, on_cpu = (int(counts[1]), int(counts[2])) if counts else (0, 0)
    software = bool(_SOFTWARE.search(f"{name} {kind}")) if adapter else None
    return Log(name, software, on_gpu, on_cpu, last.count(_PIECE), _left(last, on_cpu))


def _left(log: str, count: int) -> tuple[LeftOperations, ...]:
    """The operations that the GPU lacks, each on a line with its reason; empty if these are not as many."""
    _, _, after = log.partition("operations are not supported by GPU delegate:")
    lines = _LEFT.findall(after.partition("operations will run on the GPU")[0])
    if len(lines) != count:
        return ()
    reasons = {kind: line(why.partition(". ")[0]).rstrip(".") for kind, why in reversed(lines)}
    kinds = Counter(kind for kind, _ in lines)
    return tuple(LeftOperations(kind, n, reasons[kind]) for kind, n in kinds.most_common())


def lacks(log: str) -> str:
    """What is missing for LiteRT to use a GPU here for any variant; empty if nothing is."""
    return next((meaning for pattern, meaning in _LACKING if re.search(pattern, log)), "")


def why_not(raised: str, log: str) -> str:
    """Why LiteRT does not use the GPU, in one line: what is missing, else its last error."""
    if reason := lacks(log):
        return reason
    if re.search(_DYNAMIC, log):
        return "the GPU needs fixed shapes, and a shape of it is known only in a run: edgetf convert --shape"
    found = re.findall(r"^(?:ERROR|E\d{4})[^\n]*?\] ?([^\n]+)", log, re.MULTILINE)
    errors = [line(one) for one in found if "Dispatch API" not in one]  # of an NPU
    return in_one_line(errors[-1] if errors else raised.partition("└ ")[2] or raised or "its log does not say why")
