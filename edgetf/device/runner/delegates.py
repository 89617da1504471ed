"""Runtimes and delegates: what runs a variant, and what may take pieces of its graph. Each is one row here.

The command line's choices, what `devices.toml` may name, the refusal of what a device does not have, and the flags of
`benchmark_model` are all read from these rows. A new delegate is a row; if a Python interpreter must load a library for
it, `_delegate_options` in `interpreter.py` does that.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PythonRuntime:
    """A TFLite interpreter for Python: the package that is installed, and the module that is imported."""

    package: str
    module: str


# in the order in which "auto" takes them
RUNTIMES: dict[str, PythonRuntime] = {
    "litert": PythonRuntime("ai-edge-litert", "ai_edge_litert"),
    "tflite-runtime": PythonRuntime("tflite-runtime", "tflite_runtime"),
}
MICRO = "tflite-micro"  # of microcontrollers: for devices of that kind only, so that "auto" never takes it
AUTO = "auto"
RUNTIME_CHOICES: tuple[str, ...] = (AUTO, *RUNTIMES)
PROGRAM = "benchmark_model"  # TFLite's own program, which runs variants where there is no Python
_ALL = (*RUNTIMES, PROGRAM)


@dataclass(frozen=True)
class Delegate:
    """One delegate: its name in options and documents, the runtimes that have it, and how each is asked for it.

    `flag` is that of `benchmark_model`, `--name=value` (empty: it lacks the delegate), `resolver` the member of the
    interpreter's OpResolverType (empty: the default).
    `printed` is the name by which `benchmark_model` reports that it applied the delegate. Where it is empty, no report
    is expected; else the lack of one is an error, since the program then ran the graph on the CPU. `node` is how the
    names of the delegate's nodes begin in its log. `accelerator` is what LiteRT's CompiledModel is asked for, in the
    place of the interpreter (empty: it is not used).
    """

    name: str
    label: str
    runtimes: tuple[str, ...]
    flag: str = ""
    resolver: str = ""
    printed: str = ""
    node: str = ""
    accelerator: str = ""


_ROWS = (
    Delegate("xnnpack", "XNNPACK", _ALL, "--use_xnnpack=true", node="TfLiteXNNPack"),
    Delegate(
        "none", "no delegate", (*_ALL, MICRO), "--use_xnnpack=false", resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES"
    ),
    Delegate("npu", "the NPU", ("litert",), accelerator="npu"),
    Delegate("openvino-cpu", "OpenVINO on the CPU", ("litert",), accelerator="openvino-cpu"),
    Delegate("gpu", "the GPU delegate", (PROGRAM,), "--use_gpu=true", printed="GPU", node="TfLiteGpu"),
)
DELEGATES: dict[str, Delegate] = {row.name: row for row in _ROWS}
DISPATCH = "DISPATCH_OP"  # the operation in a file compiled ahead of time that an accelerator runs
NO_DELEGATE = "none"
DEFAULT_DELEGATE = "xnnpack"  # what all runtimes apply by themselves


def delegates_of(runtime: str) -> list[str]:
    """The names of the delegates that `runtime` has."""
    return [row.name for row in _ROWS if runtime in row.runtimes]
