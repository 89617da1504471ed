"""A stand-in for TFLite's `benchmark_model`: the same flags and output, with the real interpreter of this machine.

Its lines are those that android_aarch64_benchmark_model printed in 2025 (LiteRT 1.x), with its own numbers. Like the
real one it prints a warning for unknown flags and continues, prints errors on standard error, ends with SIGABRT after
FATAL, and fails in four ways to use a GPU.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate


def main(arguments: list[str]) -> int:
    log("STARTING!")
    flags = parse(arguments)
    log(f"Graph: [{flags['graph']}]")
    if "EDGETF_TEST_DIES" in os.environ:
        os.kill(os.getpid(), signal.SIGSEGV)
    begin = time.perf_counter()
    try:
        interpreter = load(flags)
    except (RuntimeError, ValueError) as error:
        log(f"ERROR: {str(error).splitlines()[0]}")
        log("ERROR: Benchmarking failed.")
        return 1
    if flags.get("use_gpu") == "true":
        how = os.environ.get("EDGETF_TEST_GPU", "though")
        log(GPU[how])
        if how == "failed":
            return 1
    report(interpreter, flags)
    init_us = (time.perf_counter() - begin) * 1e6
    feed(interpreter, flags)
    warmup = runs(interpreter, int(flags.get("warmup_runs", 1)), float(flags.get("warmup_min_secs", 0.5)), 150)
    most = float(flags.get("max_secs", 150))
    measured = runs(interpreter, int(flags.get("num_runs", 50)), float(flags.get("min_secs", 1)), most)
    first = warmup[0] if warmup else 0
    mean = statistics.mean(warmup) if warmup else 0
    log(f"Inference timings in us: Init: {init_us:.0f}, First inference: {first:.0f}, Warmup (avg): {mean:g}, "
        f"Inference (avg): {statistics.mean(measured):g}")  # fmt: skip
    log("Memory footprint delta from the start of the tool (MB): init=5.4961 overall=6.25")
    if flags.get("report_peak_memory_footprint") == "true":
        log("Overall peak memory footprint (MB) via periodic monitoring: 12.5")
    if "output_filepath" in flags:
        outputs = [interpreter.get_tensor(detail["index"]).tobytes() for detail in interpreter.get_output_details()]
        Path(flags["output_filepath"]).write_bytes(b"".join(outputs))
    if flags.get("enable_op_profiling") == "true":
        Path(flags["op_profiling_output_file"]).write_text(PROFILE)
    return 0


def parse(arguments: list[str]) -> dict[str, str]:
    flags = dict(argument[2:].partition("=")[::2] for argument in arguments)
    known = set(KNOWN.split()) - set(os.environ.get("EDGETF_TEST_LACKS", "").split())
    if unknown := [f"--{name}={flags.pop(name)}" for name in list(flags) if name not in known]:
        log(f"WARN: Unconsumed cmdline flags: {' '.join(unknown)}")
    return flags


def feed(interpreter: Any, flags: dict[str, str]) -> None:
    """Inputs from their files; an input without a file is unchanged (the real one uses random numbers)."""
    files = dict(item.split(":") for item in flags.get("input_layer_value_files", "").split(",") if item)
    for name, detail in zip(flags["input_layer"].split(","), interpreter.get_input_details(), strict=True):
        if name not in files:
            continue
        content = Path(files[name]).read_bytes()
        size = int(np.prod(detail["shape"])) * np.dtype(detail["dtype"]).itemsize
        if len(content) != size:
            log(f"FATAL: The size of {files[name]} is {len(content)} bytes. It should be {size} bytes.")
            os.abort()
        interpreter.set_tensor(detail["index"], np.frombuffer(content, detail["dtype"]).reshape(detail["shape"]))


def load(flags: dict[str, str]) -> Any:
    plain = flags.get("use_xnnpack") == "false"
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    threads, delegates = int(flags["num_threads"]), external(flags)
    interpreter = Interpreter(
        flags["graph"],
        num_threads=threads,
        experimental_op_resolver_type=resolver,
        experimental_delegates=delegates or None,
    )
    shapes = [[int(axis) for axis in shape.split(",")] for shape in flags["input_layer_shape"].split(":")]
    for detail, shape in zip(interpreter.get_input_details(), shapes, strict=True):
        if list(detail["shape"]) != shape:
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    return interpreter


def external(flags: dict[str, str]) -> list[Any]:
    """The delegate of a library; like the real one it continues without one that cannot be made."""
    options = dict(item.split(":") for item in flags.get("external_delegate_options", "").split(";") if item)
    try:
        return [load_delegate(flags["external_delegate_path"], options)] if "external_delegate_path" in flags else []
    except (OSError, ValueError):
        return []


def report(interpreter: Any, flags: dict[str, str]) -> None:
    """Print what the delegates took, but for the GPU's."""
    if "external_delegate_path" in flags and external(flags):
        log(TOOK.format(taken=count_pieces(interpreter)))
        log(GPU["works"].replace("GPU", "EXTERNAL"))
    if flags.get("use_xnnpack") != "false":
        log(REPLACED)
    if "xnnpack_weight_cache_file_path" in flags:
        place = Path(flags["xnnpack_weight_cache_file_path"])
        log("XNNPack weight cache loaded" if place.exists() else "XNNPack weight cache built")
        place.touch()


def count_pieces(interpreter: Any) -> int:
    kinds = [str(node["op_name"]) for node in interpreter._get_ops_details()]
    return kinds.count("DELEGATE") - 1  # but for XNNPACK's


def runs(interpreter: Any, least: int, seconds: float, most: float) -> list[float]:
    """Microseconds of each run; prints the summary line as the program's loop does."""
    log(f"Running benchmark for at least {least} iterations and at least {seconds:g} seconds but terminate if "
        f"exceeding {most:g} seconds.")  # fmt: skip
    begin, times = time.perf_counter(), list[float]()
    while len(times) < least or time.perf_counter() - begin < seconds:
        if time.perf_counter() - begin > most:
            break
        start = time.perf_counter_ns()
        interpreter.invoke()
        times.append((time.perf_counter_ns() - start) // 1000)
    if not times:
        log("count=0")
        return times
    s = sorted(times)
    p5, p95 = s[int(0.05 * (len(s) - 1))], s[int(0.95 * (len(s) - 1))]
    same = f"curr={times[-1]:.0f}{'(all same)' if len(s) > 1 else ''}"
    parts = f"first={times[0]:.0f} curr={times[-1]:.0f} min={s[0]:.0f} max={s[-1]:.0f} avg={statistics.mean(s):g} std={statistics.pstdev(s):.0f}"  # noqa: E501
    summary = same if s[0] == s[-1] else parts
    log(f"count={len(s)} {summary} p5={p5:.0f} median={statistics.median(s):.0f} p95={p95:.0f}")
    return times


def log(line: str) -> None:
    stream = sys.stderr if line.startswith(("ERROR", "FATAL")) else sys.stdout
    stream.write(f"{line if line.startswith(('VERBOSE', 'WARN', 'ERROR', 'FATAL')) else f'INFO: {line}'}\n")
    stream.flush()


REPLACED = (
    "VERBOSE: Replacing 66 out of 67 node(s) with delegate (TfLiteXNNPackDelegate) node, "
    "yielding 1 partitions for subgraph 0."
)
TOOK = (
    "INFO: Replacing {taken} out of 2 node(s) with delegate (FakeDelegate) node, yielding 1 partitions for subgraph 0."
)
GPU = {
    "works": "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.",
    "unsupported": "WARN: GPU acceleration is unsupported on this platform.",
    "though": "Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.",
    "failed": "ERROR: Failed to apply GPU delegate.",
    "silent": "Loaded model",
}
KNOWN = """
    graph num_threads use_xnnpack use_gpu signature_to_run_for input_layer input_layer_shape input_layer_value_files
    warmup_runs warmup_min_secs num_runs min_secs max_secs output_filepath enable_op_profiling op_profiling_output_mode
    op_profiling_output_file report_peak_memory_footprint external_delegate_path external_delegate_options
    xnnpack_force_fp16 xnnpack_weight_cache_file_path
"""

PROFILE = """Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
ModifyGraphWithDelegate, 6.348, 6.348, 55.64%, 55.64%, 7148, 1, ModifyGraphWithDelegate/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
QUANTIZE, 0.199, 0.2, 10%, 10%, 0, 1, [tfl.quantize]:0
TfLiteXNNPackDelegate, 1.8, 1.8, 90%, 100%, 0, 1, [StatefulPartitionedCall:0]:66

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
TfLiteXNNPackDelegate, 1.8, 1.8, 90%, 90%, 0, 1, [StatefulPartitionedCall:0]:66

Delegate internal:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, QC8) IGEMM, 0.428, 0.5, 40%, 40%, 0, 2, Delegate/Convolution (NHWC\t QC8) IGEMM:1
Fully Connected (NC, QS8) GEMM, 0.125, 0.8, 60%, 100%, 0, 1, Delegate/Fully Connected (NC\t QS8) GEMM:2

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
