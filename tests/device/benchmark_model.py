"""A stand-in for TFLite's `benchmark_model`: the same flags and output, with the real interpreter of this machine.

Its lines are those that android_aarch64_benchmark_model printed in 2025 (LiteRT 1.x), its numbers its own.
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
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def main(arguments: list[str]) -> int:
    flags = dict(argument[2:].partition("=")[::2] for argument in arguments)
    say("STARTING!")
    say(f"Graph: [{flags['graph']}]")
    if "EDGETF_TEST_DIES" in os.environ:
        os.kill(os.getpid(), signal.SIGSEGV)
    begin = time.perf_counter()
    try:
        interpreter = load(flags)
    except (RuntimeError, ValueError) as error:
        say(f"ERROR: {str(error).splitlines()[0]}")
        say("ERROR: Benchmarking failed.")
        return 1
    if flags.get("use_gpu") == "true" and "EDGETF_TEST_GPU" not in os.environ:
        say("Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.")
    elif flags.get("use_gpu") == "true":
        say("Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.")
    say("VERBOSE: Replacing 5 out of 5 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions")
    init_us = (time.perf_counter() - begin) * 1e6
    files = dict(item.split(":") for item in flags["input_layer_value_files"].split(","))
    for name, detail in zip(flags["input_layer"].split(","), interpreter.get_input_details(), strict=True):
        content = Path(files[name]).read_bytes()
        values = np.frombuffer(content, detail["dtype"])
        if values.size != np.prod(detail["shape"]):
            say(f"FATAL: The size of {files[name]} is {len(content)} bytes. It should be other.")
            return 1
        interpreter.set_tensor(detail["index"], values.reshape(detail["shape"]))
    warmup = runs(interpreter, int(flags.get("warmup_runs", 1)), float(flags.get("warmup_min_secs", 0.5)), 150)
    most = float(flags.get("max_secs", 150))
    measured = runs(interpreter, int(flags.get("num_runs", 50)), float(flags.get("min_secs", 1)), most)
    first = warmup[0] if warmup else 0
    mean = statistics.mean(warmup) if warmup else 0
    say(f"Inference timings in us: Init: {init_us:.0f}, First inference: {first:.0f}, Warmup (avg): {mean:g}, "
        f"Inference (avg): {statistics.mean(measured):g}")  # fmt: skip
    say("Memory footprint delta from the start of the tool (MB): init=5.4961 overall=6.25")
    if flags.get("report_peak_memory_footprint") == "true":
        say("Overall peak memory footprint (MB) via periodic monitoring: 12.5")
    if "output_filepath" in flags:
        outputs = [interpreter.get_tensor(detail["index"]).tobytes() for detail in interpreter.get_output_details()]
        Path(flags["output_filepath"]).write_bytes(b"".join(outputs))
    if flags.get("enable_op_profiling") == "true":
        Path(flags["op_profiling_output_file"]).write_text(PROFILE)
    return 0


def load(flags: dict[str, str]) -> Any:
    plain = flags.get("use_xnnpack") == "false"
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    threads = int(flags["num_threads"])
    interpreter = Interpreter(flags["graph"], num_threads=threads, experimental_op_resolver_type=resolver)
    shapes = [[int(axis) for axis in shape.split(",")] for shape in flags["input_layer_shape"].split(":")]
    for detail, shape in zip(interpreter.get_input_details(), shapes, strict=True):
        if list(detail["shape"]) != shape:
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    return interpreter


def runs(interpreter: Any, least: int, seconds: float, most: float) -> list[float]:
    """Microseconds of each run, and the line that sums them up, as the program's loop does it."""
    say(f"Running benchmark for at least {least} iterations and at least {seconds:g} seconds but terminate if "
        f"exceeding {most:g} seconds.")  # fmt: skip
    begin, times = time.perf_counter(), list[float]()
    while len(times) < least or time.perf_counter() - begin < seconds:
        if time.perf_counter() - begin > most:
            break
        start = time.perf_counter_ns()
        interpreter.invoke()
        times.append((time.perf_counter_ns() - start) // 1000)
    if not times:
        say("count=0")
        return times
    s = sorted(times)
    p5, p95 = s[int(0.05 * (len(s) - 1))], s[int(0.95 * (len(s) - 1))]
    same = f"curr={times[-1]:.0f}{'(all same)' if len(s) > 1 else ''}"
    parts = f"first={times[0]:.0f} curr={times[-1]:.0f} min={s[0]:.0f} max={s[-1]:.0f} avg={statistics.mean(s):g} std={statistics.pstdev(s):.0f}"  # noqa: E501
    summary = same if s[0] == s[-1] else parts
    say(f"count={len(s)} {summary} p5={p5:.0f} median={statistics.median(s):.0f} p95={p95:.0f}")
    return times


def say(line: str) -> None:
    sys.stdout.write(f"{line if line.startswith(('VERBOSE', 'ERROR', 'FATAL')) else f'INFO: {line}'}\n")
    sys.stdout.flush()


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
