"""TFLite's own `benchmark_model`: the flags that a Job means, and what the program prints, as figures.

Flags and output are those of tflite/tools/benchmark in google-ai-edge/LiteRT (2026). Older programs tell no median, and
lack `--output_filepath`. Single times are kept from us: whole microseconds go into a summary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgetf.device.runner.job import Job, OpTime, TimingPlan, Told

_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
_STATS = re.compile(r"\bcount=(\d+)(.*)")
_MIB = 1 << 20


def common_flags(job: Job, shapes: Sequence[Sequence[int]]) -> list[str]:
    """The flags of every run: threads, delegate, signature, and inputs called in0, in1, ... from files in0, in1, ..."""
    flags = [f"--num_threads={job.threads}", *_DELEGATES[job.delegate]]
    if job.signature is not None:
        flags.append(f"--signature_to_run_for={job.signature}")
    names = [f"in{k}" for k in range(len(shapes))]
    sizes = ":".join(",".join(str(axis) for axis in shape) for shape in shapes)
    files = ",".join(f"{name}:{name}" for name in names)
    return [
        *flags,
        f"--input_layer={','.join(names)}",
        f"--input_layer_shape={sizes}",
        f"--input_layer_value_files={files}",
    ]


_DELEGATES = {
    "xnnpack": ["--use_xnnpack=true"],
    "none": ["--use_xnnpack=false"],
    "gpu": ["--use_gpu=true"],
}


def timing_flags(plan: TimingPlan) -> list[str]:
    """Warm-up for a quarter of its bound at least (the program does not see when it is steady), then the plan."""
    warmup = ["--warmup_runs=3", f"--warmup_min_secs={plan.max_warmup_s / 4:g}"]
    return [*warmup, f"--num_runs={plan.min_runs}", f"--min_secs={plan.min_s:g}", f"--max_secs={plan.max_s:g}"]


def load_flags(seconds: float) -> list[str]:
    """Run for `seconds`."""
    return [
        "--warmup_runs=1",
        "--warmup_min_secs=0",
        "--num_runs=2",
        f"--min_secs={seconds:g}",
        f"--max_secs={seconds:g}",
    ]


def once_flags(output: str) -> list[str]:
    """One run without any before it (ops that keep state start anew), whose outputs go to the file `output`."""
    once = ["--warmup_runs=0", "--warmup_min_secs=0", "--num_runs=1", "--min_secs=0"]
    return [*once, f"--output_filepath={output}"]


def profile_flags(csv: str) -> list[str]:
    """A run with the op profiler and with the memory watched, which slow it down: its times are not for the latency."""
    ops = ["--enable_op_profiling=true", "--op_profiling_output_mode=csv", f"--op_profiling_output_file={csv}"]
    ops.append(f"--profiling_output_csv_file={csv}")  # its name until TensorFlow 2.14
    return [*ops, "--report_peak_memory_footprint=true", "--warmup_runs=1", "--num_runs=20", "--max_secs=5"]


def read_timing(log: str) -> Told | None:
    """The last summary in what the program printed (the first is the warm-up's); None where there is none.

    Where all times are equal, those of a single run included, it prints `curr` and nothing else.
    """
    found = _STATS.findall(log)
    if len(found) < 2 or found[-1][0] == "0":
        return None
    n, rest = int(found[-1][0]), found[-1][1]
    told = {name: float(value) * 1e3 for name, value in re.findall(rf"\b(\w+)={_NUMBER}", rest)}
    if "curr" not in told:
        return None
    same = told["curr"]
    return Told(
        n=n,
        mean_ns=told.get("avg", same),
        stdev_ns=told.get("std", 0.0),
        min_ns=told.get("min", same),
        max_ns=told.get("max", same),
        median_ns=told.get("median"),
    )


def gpu_took_nothing(log: str) -> bool:
    """Whether the program, asked for the GPU, ran the graph on the CPU: it says so, and goes on."""
    return "Explicitly applied GPU delegate" not in log


def read_facts(log: str) -> dict[str, int]:
    """`load_ns`, `first_ns`, `added_rss_bytes`, `peak_rss_bytes`, `delegate_partitions`: those that the log tells."""
    patterns = {
        "load_ns": (rf"Inference timings in us: Init: {_NUMBER}", 1e3),
        "first_ns": (rf"First inference: {_NUMBER}", 1e3),
        "added_rss_bytes": (rf"emory footprint.*\(MB\): init={_NUMBER} overall={_NUMBER}", _MIB),
        "peak_rss_bytes": (rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}", _MIB),
        "delegate_partitions": (r"yielding (\d+) partitions", 1),
    }
    facts = {}
    for name, (pattern, factor) in patterns.items():
        found = re.search(pattern, log)
        if found:
            facts[name] = round(float(found[found.lastindex or 1]) * factor)
    return facts


def read_ops(csv: str) -> list[OpTime]:
    """The ops of a profile, the slowest first; where a delegate told what is in it, its ops and not it.

    Lines under "Run Order" are `node type, first, avg_ms, %, cdf%, mem KB, times called, name` (older: `start`
    after the type). Types may hold commas (XNNPACK's "Convolution (NHWC, F32) IGEMM"): cells are counted from the end.
    """
    runs = csv.rpartition("Operator-wise Profiling Info for Regular Benchmark Runs")[2]
    tables = [part.partition("Top by Computation Time")[0] for part in runs.split("Run Order")[1:]]
    ops = [op for table in tables for op in _ops(table)]
    if "Delegate internal" in runs:
        ops = [op for op in ops if not re.fullmatch(r"TfLite\w+Delegate", op.kind)]
    total = sum(op.mean_ms for op in ops) or 1.0
    return sorted((replace(op, share=op.mean_ms / total) for op in ops), key=lambda op: -op.mean_ms)


def _ops(table: str) -> list[OpTime]:
    numbers = 8 if "type, start," in table else 7
    ops = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) > numbers and cells[-5].endswith("%") and cells[-2].isdigit():
            kind, times = ", ".join(cells[:-numbers]), int(cells[-2])
            ops.append(OpTime(kind, cells[-1].replace("\t", ","), float(cells[-6]) * times, 0.0))
    return ops


def read_failure(log: str, code: int) -> str:
    """Why a run failed: the program's errors in one line, or else its end and the last line that it printed."""
    marked = (re.search(r"(?:ERROR|FATAL): *(.*)", line) for line in log.splitlines())
    errors = [found[1].strip() for found in marked if found]
    if errors:
        return "; ".join(errors[:3])
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = f": {lines[-1]}" if lines and not lines[-1].startswith(("INFO", "VERBOSE")) else ""
    return f"benchmark_model {describe_end(code)}{said}"


def describe_end(code: int) -> str:
    """An exit code of a shell in words: beyond 128 the program died of a signal."""
    name = _SIGNALS.get(code - 128)
    return f"died of {name}" if name else f"ended with exit code {code}"


_SIGNALS: Mapping[int, str] = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV"}
