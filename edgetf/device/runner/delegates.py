"""Runtimes and delegates: what runs a variant, and what may take pieces of its graph. Each is one row here.

The command line's choices, what `devices.toml` may name, the refusal of what a device does not have, and the flags of
`benchmark_model` are all read from these rows. A new delegate is a row; if something else than the runtime's
interpreter runs variants on it, the row names the module here that does. Delegates that are libraries of their own,
such as Edge TPU's, need no row: they are named by their file (`find_delegate`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


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

    `flags` are those of `benchmark_model`, `--name=value` (empty: it lacks the delegate), `resolver` the member of the
    interpreter's OpResolverType (empty: the default).
    `printed` is the name by which `benchmark_model` reports that it applied the delegate. Where it is empty, no report
    is expected; else the lack of one is an error, since the program then ran the graph on the CPU. `node` is how the
    names of the delegate's nodes begin in its log. `module` is the one here whose Interpreter runs variants in the
    place of the runtime's (empty: the runtime's own), `accelerator` what that one is asked for.
    `options` are the delegate's own, with the flags of `benchmark_model` for each of their values, the default first.
    `library` is the file of a delegate that is none of these rows: its options are unknown here. `alone`: it may
    refuse a second process, or not be faster with one.
    """

    name: str
    label: str
    runtimes: tuple[str, ...]
    flags: tuple[str, ...] = ()
    resolver: str = ""
    printed: str = ""
    node: str = ""
    module: str = ""
    accelerator: str = ""
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    library: str = ""
    alone: bool = False


NPUS = "compiled"  # the module for accelerators that LiteRT compiles for
WEIGHT_CACHE = "weight_cache"  # XNNPACK keeps the weights that it has packed in a file, and maps that the next time
PRECISION = "precision"  # a GPU computes in float16 by default, if it can
_CACHED = {WEIGHT_CACHE: {"false": "", "true": "--xnnpack_weight_cache_file_path=weights"}}  # in the job's folder

_ROWS = (
    Delegate("xnnpack", "XNNPACK", _ALL, ("--use_xnnpack=true",), node="TfLiteXNNPack", options=_CACHED),
    Delegate(
        "xnnpack-fp16",
        "XNNPACK in float16",
        ("litert", PROGRAM),
        ("--use_xnnpack=true", "--xnnpack_force_fp16=true"),
        node="TfLiteXNNPack",
        module="xnnpack",
        accelerator="float16",  # with a weight cache LiteRT 2.3 aborts: "An invalid pack identifier was created"
    ),
    Delegate(
        "none", "no delegate", (*_ALL, MICRO), ("--use_xnnpack=false",), resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES"
    ),
    Delegate("npu", "the NPU", ("litert",), module=NPUS, accelerator="npu"),
    Delegate("openvino-cpu", "OpenVINO on the CPU", ("litert",), module=NPUS, accelerator="openvino-cpu"),
    Delegate(
        "gpu",
        "the GPU",
        ("litert", PROGRAM),
        ("--use_gpu=true",),
        printed="GPU",
        node="TfLiteGpu",
        module="gpu",
        options={PRECISION: {"default": "", "float32": "--gpu_precision_loss_allowed=false"}},
        alone=True,
    ),
)
DELEGATES: dict[str, Delegate] = {row.name: row for row in _ROWS}
ETHOS_U = "ethos-u"  # the operation in a file that Arm's compiler made, which only a board with that NPU runs
DISPATCH = "DISPATCH_OP"  # the operation in a file compiled ahead of time that an accelerator runs
NO_DELEGATE = "none"
DEFAULT_DELEGATE = "xnnpack"  # what all runtimes apply by themselves


_LIBRARY = re.compile(r"\S.*\.(so(\.\d+)*|dylib)|.*/.*")


def delegates_of(runtime: str) -> list[str]:
    """The names of the delegates that `runtime` has."""
    return [row.name for row in _ROWS if runtime in row.runtimes]


def find_delegate(name: str) -> Delegate:
    """The delegate of that name, or of the library that is called so. Raises KeyError for neither.

    A library is a path on the device, or the name of a file `*.so` that the loader of the device finds. TFLite's own
    kernels and its default delegate run what it leaves.
    """
    if name in DELEGATES or not _LIBRARY.fullmatch(name):
        return DELEGATES[name]
    label = name.rpartition("/")[2]
    flags = (f"--external_delegate_path={name}",)
    return Delegate(name, label, _ALL, flags, printed="EXTERNAL", library=name, alone=True)


def fault_of_options(delegate: Delegate, options: Mapping[str, str]) -> tuple[str, str] | None:
    """What is wrong with the options of a delegate, and what to do; None if nothing is."""
    for key, value in options.items():
        if delegate.library:
            continue
        if key not in delegate.options:
            known = ", ".join(delegate.options)
            return f"{delegate.name} has no option {key!r}", f"it has: {known}" if known else "it has none"
        if value not in delegate.options[key]:
            return f"{delegate.name} cannot have {key}={value}", f"give {' or '.join(delegate.options[key])}"
    return None
