"""TFLite's own `benchmark_model`: the flags that a Job means, and what the program prints, as figures.

Flags and output are those of tflite/tools/benchmark in google-ai-edge/LiteRT (2026). Older programs report no median,
and lack `--output_filepath`: they print a warning for unknown flags, and continue. Single times are not reported, only
a summary in whole microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgetf.device.runner.answers import count, line, number
from edgetf.device.runner.delegates import Delegate, find_delegate
from edgetf.device.runner.job import Coverage, Job, LeftOperations, OpTime, TimeSummary, TimingPlan

_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
_STATS = re.compile(r"\bcount=(\d+)(.*)")
_INSIDE = "Delegate internal"  # the heading of a profile's part on the operations inside of a delegate
_LOG = "log"  # the source of what is known
_DEFAULT = "TfLiteXNNPack"  # takes what a delegate that is a library has left, whose nodes have any other name
_MIB = 1 << 20
_MOST = 1 << 53  # of a figure


def common_flags(job: Job, shapes: Sequence[Sequence[int]]) -> list[str]:
    """The flags of every run: threads, delegate, signature, and inputs called in0, in1, ... from files in0, in1, ..."""
    flags = [f"--num_threads={job.threads}", *_delegate_flags(job)]
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


def _delegate_flags(job: Job) -> list[str]:
    delegate = find_delegate(job.delegate)
    if delegate.library:
        given = ";".join(f"{key}:{value}" for key, value in job.delegate_options.items())
        return [*delegate.flags, *([f"--external_delegate_options={given}"] if given else [])]
    chosen = [delegate.options[key][value] for key, value in job.delegate_options.items()]
    return [*delegate.flags, *filter(None, chosen)]


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


def fill_flags() -> list[str]:
    """One run, which leaves a weight cache for the next ones."""
    return ["--warmup_runs=0", "--warmup_min_secs=0", "--num_runs=1", "--min_secs=0"]


def once_flags(output: str) -> list[str]:
    """One run without earlier ones, so that ops with state start again; its outputs go to the file `output`."""
    return [*fill_flags(), f"--output_filepath={output}"]


def profile_flags(csv: str) -> list[str]:
    """A run with the op profiler and with the memory watched, which slow it down: its times are not for the latency."""
    ops = ["--enable_op_profiling=true", "--op_profiling_output_mode=csv", f"--op_profiling_output_file={csv}"]
    ops.append(f"--profiling_output_csv_file={csv}")  # its name until TensorFlow 2.14
    return [*ops, "--report_peak_memory_footprint=true", "--warmup_runs=1", "--num_runs=20", "--max_secs=5"]


def read_timing(log: str) -> TimeSummary | None:
    """The last summary in the output of the program (the first is the warm-up's); None if there is none.

    If all times are equal, as after a single run, the program prints only `curr`.
    """
    found = _STATS.findall(log)
    if len(found) < 2 or not (n := count(found[-1][0])):
        return None
    read = {name: number(value) for name, value in re.findall(rf"\b(\w+)={_NUMBER}", found[-1][1])}
    values = {name: value * 1e3 for name, value in read.items() if value is not None and value >= 0}
    if "curr" not in values:
        return None
    same = values["curr"]
    return TimeSummary(
        n=n,
        mean_ns=values.get("avg", same),
        stdev_ns=values.get("std", 0.0),
        min_ns=values.get("min", same),
        max_ns=values.get("max", same),
        median_ns=values.get("median"),
    )


def why_not_delegated(log: str, delegate: Delegate) -> str:
    """Why the program ran the graph on the CPU instead of with `delegate`, which it need not report; or ""."""
    if not delegate.printed or f"Explicitly applied {delegate.printed} delegate" in log:
        return ""
    unknown = {_flag_name(flag) for flag in delegate.flags} & set(unknown_flags(log))
    if unknown or "unsupported on this platform" in log:
        return f"this benchmark_model has no {delegate.printed} delegate for the phone, and ran the graph on the CPU"
    if f"Failed to apply {delegate.printed} delegate" in log:
        return f"{delegate.label} could not be applied to the graph"
    if delegate.library and f"Though {delegate.printed} delegate is explicitly applied" not in log:
        return f"benchmark_model made no delegate of {delegate.label}: is it for this phone, and are its options right?"
    return f"{delegate.label} took nothing of the graph: benchmark_model ran it on the CPU"


def _flag_name(flag: str) -> str:
    return flag[2:].partition("=")[0]


_UNKNOWN = re.compile(r"Unconsumed cmdline flags:(.*)")
_OPTIONAL = re.compile(r"(enable_op_|op_|report_peak_|profiling_)\w+")  # what only informs, by its names of all years


def unknown_flags(log: str) -> tuple[str, ...]:
    """The names of unknown flags that the program ignored, except for those that only inform."""
    words = [word for line in _UNKNOWN.findall(log) for word in line.split()]
    names = dict.fromkeys(_flag_name(word) for word in words if word.startswith("--"))
    return tuple(name for name in names if not _OPTIONAL.fullmatch(name))


def read_facts(log: str) -> dict[str, int]:
    """`load_ns`, `first_ns`, `added_rss_bytes`, `peak_rss_bytes`, `delegate_partitions`, if the log has them."""
    patterns = {
        "load_ns": (rf"Inference timings in us: Init: {_NUMBER}", 1e3),
        "first_ns": (rf"First inference: {_NUMBER}", 1e3),
        "added_rss_bytes": (rf"emory footprint.*\(MB\): init={_NUMBER} overall={_NUMBER}", _MIB),
        "peak_rss_bytes": (rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}", _MIB),
        "delegate_partitions": (r"yielding (\d+) partitions(?! for subgraph [1-9])", 1),
    }
    facts = {}
    for name, (pattern, factor) in patterns.items():
        found = re.search(pattern, log)
        value = number(found[found.lastindex or 1]) if found else None
        if value is not None and 0 <= value * factor <= _MOST:
            facts[name] = round(value * factor)
    return facts


_REPLACED = re.compile(
    r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate \((\w+)\) node, "
    r"yielding (\d{1,9}) partitions(?! for subgraph [1-9])"
)


def read_coverage(log: str, delegate: Delegate, csv: str = "") -> Coverage | None:
    """What `delegate` took of the first graph, or None if the log does not have it.

    Each delegate reports the nodes that it replaced. The kinds of the others and their shares of the time are those of
    a profile (`csv`), if it has as many; what a second delegate took, as XNNPACK takes what a GPU leaves, is not among
    them.
    """
    for taken, total, name, pieces in _REPLACED.findall(log):
        default = name.startswith(_DEFAULT)
        if not (not default if delegate.library else delegate.node and name.startswith(delegate.node)):
            continue
        left = int(total) - int(taken)
        kinds = _left(csv)
        known = kinds if sum(one.count for one in kinds) == left else []
        return Coverage(int(total), int(taken), int(pieces), known, None, delegate.label, None, _LOG)
    return None


def _left(csv: str) -> list[LeftOperations]:
    """The operations of a profile's first table that no delegate took, by kind."""
    tables = _tables(_of_runs(csv).partition(_INSIDE)[0])[:1]
    ops = [op for table in tables for op in table]
    total = sum(op.mean_ms for op in ops) or 1.0
    kinds: dict[str, list[float]] = {}
    for op in ops:
        if not _is_delegate(op):
            kinds.setdefault(op.kind, []).append(op.mean_ms / total)
    found = [LeftOperations(kind, len(shares), "", sum(shares)) for kind, shares in kinds.items()]
    return sorted(found, key=lambda one: -one.count)


def _of_runs(csv: str) -> str:
    """The part of a profile that is not of the initialization."""
    return csv.rpartition("Operator-wise Profiling Info for Regular Benchmark Runs")[2]


def _is_delegate(op: OpTime) -> bool:
    return re.fullmatch(r"TfLite\w+Delegate\w*", op.kind) is not None


def read_ops(csv: str) -> list[OpTime]:
    """The ops of a profile, the slowest first; a delegate is replaced by its ops if it reports them.

    Lines under "Run Order" are `node type, first, avg_ms, %, cdf%, mem KB, times called, name` (older: `start` after
    the type). Types may hold commas (XNNPACK's "Convolution (NHWC, F32) IGEMM"): cells are counted from the end. The
    time of a loop or a branch has that of the ops inside, which are listed under "Subgraph": of the loop itself only
    the rest is left.
    """
    graphs, _, inside = _of_runs(csv).partition(_INSIDE)
    ops = [replace(op, delegated=_is_delegate(op)) for op in _without_inner(_tables(graphs))]
    if inside:
        ops = [op for op in ops if not op.delegated]
        ops += [replace(op, delegated=True) for table in _tables(inside) for op in table]
    total = sum(op.mean_ms for op in ops) or 1.0
    return sorted((replace(op, share=op.mean_ms / total) for op in ops), key=lambda op: -op.mean_ms)


def _tables(text: str) -> list[list[OpTime]]:
    """The ops of each table: that of the graph, then those of the graphs that its loops and branches run."""
    return [_ops(part.partition("Top by Computation Time")[0]) for part in text.split("Run Order")[1:]]


def _without_inner(tables: list[list[OpTime]]) -> list[OpTime]:
    """All ops; the time of loops and branches in the first table is reduced by that of the ops inside of them."""
    flat = [op for table in tables for op in table]
    outer = [op for op in tables[0] if op.kind in _CONTROL] if tables else []
    if len(tables) < 2 or not outer:
        return flat
    inside = sum(op.mean_ms for table in tables[1:] for op in table if op.kind not in _CONTROL)
    rest = max(0.0, 1 - inside / (sum(op.mean_ms for op in outer) or 1.0))
    own = [replace(op, mean_ms=op.mean_ms * rest) for op in outer]
    return [*own, *(op for op in flat if op.kind not in _CONTROL)]


_CONTROL = {"WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE"}


def _ops(table: str) -> list[OpTime]:
    numbers = 8 if "type, start," in table else 7
    ops = []
    for row in table.splitlines():
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) > numbers and cells[-5].endswith("%"):
            each, times = number(cells[-6]), count(cells[-2])
            if each is not None and each >= 0 and times is not None and each * times < _MOST:
                name = line(cells[-1].replace("\t", ","))
                ops.append(OpTime(line(", ".join(cells[:-numbers])), name, each * times, 0.0))
    return ops


def read_failure(log: str, code: int) -> str:
    """Why a run failed: the program's errors in one line, or else its end and the last line that it printed."""
    marked = (re.search(r"(?:ERROR|FATAL): *(.*)", one) for one in log.splitlines())
    errors = [line(found[1]) for found in marked if found]
    if errors:
        return "; ".join(errors[:3])
    lines = [line(one) for one in log.splitlines() if line(one)]
    detail = f": {lines[-1]}" if lines and not lines[-1].startswith(("INFO", "WARN", "VERBOSE")) else ""
    return f"benchmark_model {describe_end(code)}{detail}"


def describe_end(code: int) -> str:
    """An exit code of a shell in words: beyond 128 the program died of a signal."""
    name = _SIGNALS.get(code - 128)
    return f"died of {name}" if name else f"ended with exit code {code}"


_SIGNALS: Mapping[int, str] = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV"}
