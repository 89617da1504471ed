from __future__ import annotations

import pytest

from edgetf.device.benchmark_model import (
    common_flags,
    once_flags,
    read_coverage,
    read_facts,
    read_failure,
    read_ops,
    read_timing,
    timing_flags,
    unknown_flags,
    why_not_delegated,
)
from edgetf.device.runner.delegates import DELEGATES
from edgetf.device.runner.job import Job, TimingPlan

# the output of android_aarch64_benchmark_model of 2025
NEW = """INFO: STARTING!
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 2136 out of 2168 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 65 partitions for subgraph 0.
INFO: Initialized session in 207.799ms.
INFO: count=11 first=90710 curr=42743 min=42209 max=90710 avg=48230.2 std=13845 p5=42209 median=42611 p95=90710

INFO: count=24 first=42468 curr=41938 min=41938 max=42840 avg=42394.8 std=188 p5=42133 median=42419 p95=42671

INFO: Inference timings in us: Init: 207799, First inference: 90710, Warmup (avg): 48230.2, Inference (avg): 42394.8
INFO: Memory footprint delta from the start of the tool (MB): init=23.5938 overall=26.6797
INFO: Overall peak memory footprint (MB) via periodic monitoring: 40.5
"""  # noqa: E501
# and of the one of TensorFlow 2.4
OLD = """count=2 first=339304 curr=266325 min=266325 max=339304 avg=302814 std=36489
count=50 first=266601 curr=266931 min=265837 max=268116 avg=266473 std=419
Inference timings in us: Init: 20283, First inference: 339304, Warmup (avg): 302814, Inference (avg): 266473
Peak memory footprint (MB): init=7.1 overall=13.5
"""


def test_times_and_memory_are_read_from_the_output_of_old_and_new_versions() -> None:
    reported = read_timing(NEW)
    assert reported is not None
    assert (reported.n, reported.mean_ns, reported.median_ns, reported.stdev_ns) == (
        24,
        42_394_800,
        42_419_000,
        188_000,
    )
    assert (reported.min_ns, reported.max_ns) == (41_938_000, 42_840_000)
    assert read_facts(NEW) == {
        "load_ns": 207_799_000,
        "first_ns": 90_710_000,
        "added_rss_bytes": round(26.6797 * 2**20),
        "peak_rss_bytes": round(40.5 * 2**20),
        "delegate_partitions": 65,
    }
    assert "delegate_partitions" not in read_facts(NEW.replace("subgraph 0", "subgraph 1"))  # of a loop's body
    reported = read_timing(OLD)
    assert reported is not None
    assert (reported.n, reported.mean_ns, reported.median_ns) == (50, 266_473_000, None)
    assert read_facts(OLD)["added_rss_bytes"] == round(13.5 * 2**20)


@pytest.mark.parametrize("log", ["", "INFO: STARTING!\nERROR: Benchmarking failed.", NEW.split("\n\n")[0]])
def test_a_log_without_the_measured_runs_has_no_times(log: str) -> None:
    assert read_timing(log) is None


def test_equal_times_are_printed_without_their_mean() -> None:
    reported = read_timing(
        "INFO: count=1 curr=10123 p5=10123 median=10123 p95=10123\nINFO: count=50 curr=7(all same) median=7\n"
    )
    assert reported is not None
    assert (reported.n, reported.mean_ns, reported.stdev_ns, reported.min_ns, reported.median_ns) == (
        50,
        7000,
        0,
        7000,
        7000,
    )
    assert read_timing("count=3 curr=1 avg=1\ncount=0\n") is None


GPU = DELEGATES["gpu"]


def test_a_gpu_that_ran_no_operation_is_detected() -> None:
    assert why_not_delegated("Though GPU delegate is explicitly applied, the model graph will not be executed", GPU)
    assert not why_not_delegated(
        "INFO: Explicitly applied GPU delegate, and the model graph will be partially executed", GPU
    )
    assert "no GPU delegate" in why_not_delegated("WARN: GPU acceleration is unsupported on this platform.", GPU)
    assert "no GPU delegate" in why_not_delegated("WARN: Unconsumed cmdline flags: --use_gpu=true", GPU)
    assert "could not be applied" in why_not_delegated("ERROR: Failed to apply GPU delegate.", GPU)
    assert why_not_delegated("INFO: STARTING!", GPU)


XNNPACK = DELEGATES["xnnpack"]


def test_what_a_delegate_took_is_read_from_the_log_of_new_and_older_versions() -> None:
    coverage = read_coverage(NEW, XNNPACK)
    assert coverage is not None
    assert (coverage.operations, coverage.delegated, coverage.partitions, coverage.left) == (2168, 2136, 65, [])
    assert (coverage.accelerator, coverage.source, coverage.crossing_bytes) == ("XNNPACK", "log", None)
    older = read_coverage(NEW.replace(" for subgraph 0", ""), XNNPACK)
    assert older == coverage
    assert read_coverage(NEW.replace("subgraph 0", "subgraph 1"), XNNPACK) is None  # of a loop's body
    assert read_coverage(OLD, XNNPACK) is None
    assert read_coverage(NEW, GPU) is None
    assert read_coverage(NEW, DELEGATES["none"]) is None


def test_what_a_gpu_took_is_not_what_xnnpack_took_of_the_rest() -> None:
    """The kinds of what the GPU left are unknown if a second delegate took some of them."""
    gpu = (
        "Replacing 60 out of 65 node(s) with delegate (TfLiteGpuDelegateV2) node, "
        "yielding 2 partitions for the whole graph."
    )
    rest = (
        "Replacing 3 out of 7 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0."
    )
    profile = PROFILE.replace("CONV_2D, 0.066", "TfLiteGpuDelegateV2, 0.066")
    coverage = read_coverage(f"{gpu}\n{rest}\n", GPU, profile)
    assert coverage is not None
    assert (coverage.operations, coverage.delegated, coverage.partitions, coverage.left) == (65, 60, 2, [])
    alone = read_coverage(gpu.replace("60", "64"), GPU, profile)
    assert alone is not None
    [left] = alone.left
    assert (left.kind, left.count) == ("DEPTHWISE_CONV_2D", 1)
    assert left.time_share == pytest.approx(19.87 / (19.87 + 60.957))


def test_flags_that_the_program_ignored_are_known() -> None:
    log = "INFO: STARTING!\nWARN: Unconsumed cmdline flags: --output_filepath=once --op_profiling_output_file=a --x y\n"
    assert unknown_flags(log) == ("output_filepath", "x")
    assert unknown_flags(NEW) == ()


def test_large_numbers_in_exponents_are_read() -> None:
    reported = read_timing(NEW.replace("avg=42394.8", "avg=1.23e+06"))
    assert reported is not None
    assert reported.mean_ns == pytest.approx(1.23e9)


def test_the_flags_of_each_delegate() -> None:
    def flags(delegate: str) -> list[str]:
        return common_flags(Job("m", {}, delegate=delegate, threads=4), [(1, 8, 8, 1), (1, 3)])

    inputs = ["--input_layer=in0,in1", "--input_layer_shape=1,8,8,1:1,3", "--input_layer_value_files=in0:in0,in1:in1"]
    assert flags("xnnpack") == ["--num_threads=4", "--use_xnnpack=true", *inputs]
    assert flags("none") == ["--num_threads=4", "--use_xnnpack=false", *inputs]
    assert flags("gpu") == ["--num_threads=4", "--use_gpu=true", *inputs]
    assert "--signature_to_run_for=second" in common_flags(Job("m", {}, signature="second"), [(1,)])


def test_the_flags_of_a_plan_and_of_a_single_run() -> None:
    assert timing_flags(TimingPlan(2.0, 10, 0.3, 6.0)) == [
        "--warmup_runs=3",
        "--warmup_min_secs=0.5",
        "--num_runs=10",
        "--min_secs=0.3",
        "--max_secs=6",
    ]
    assert "--warmup_runs=0" in once_flags("once")  # ops that keep state start over


PROFILE = """Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0.066, 87.754, 60.957, 2.066%, 2.066%, 0, 1, [MobilenetV1/Conv2d_0/Relu6\tBias]:0
DEPTHWISE_CONV_2D, 61.033, 53.628, 19.870, 1.691%, 3.757%, 0, 1, [MobilenetV1/Conv2d_1]:1

============================== Top by Computation Time ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0.066, 87.754, 60.957, 2.066%, 2.066%, 0, 1, [MobilenetV1/Conv2d_0/Relu6]:0
"""


def test_a_profile_of_an_older_version_is_read() -> None:
    ops = read_ops(PROFILE)
    assert [(op.kind, op.mean_ms) for op in ops] == [("CONV_2D", 60.957), ("DEPTHWISE_CONV_2D", 19.87)]
    assert ops[0].name == "[MobilenetV1/Conv2d_0/Relu6,Bias]:0"
    assert ops[0].share == pytest.approx(60.957 / (60.957 + 19.87))
    assert read_ops("") == []


LOOP = """Operator-wise Profiling Info for Regular Benchmark Runs:
Primary graph (name: main) profile:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 2, 2.0, 20%, 20%, 0, 1, [conv]:0
WHILE, 8, 8.0, 80%, 100%, 0, 1, [loop]:1

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
WHILE, 8, 8.0, 80%, 80%, 0, 1, [loop]:1

Subgraph (index: 1, name: body) profile:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
FULLY_CONNECTED, 0.5, 0.5, 50%, 50%, 0, 10, [dense]:0
IF, 0.2, 0.2, 20%, 70%, 0, 10, [branch]:1

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
FULLY_CONNECTED, 0.5, 0.5, 50%, 50%, 0, 10, [dense]:0

Subgraph (index: 2, name: then) profile:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
TANH, 0.1, 0.1, 100%, 100%, 0, 10, [tanh]:0
"""


def test_the_inside_of_a_loop_is_counted_once() -> None:
    ops = read_ops(LOOP)
    assert {op.kind: round(op.mean_ms, 6) for op in ops} == {
        "FULLY_CONNECTED": 5.0,
        "CONV_2D": 2.0,
        "WHILE": 2.0,  # the time of the loop itself: 8 ms without the 5 and the 1 inside
        "TANH": 1.0,
    }
    assert sum(op.share for op in ops) == pytest.approx(1)
    assert [op.share for op in ops if op.kind == "FULLY_CONNECTED"] == [pytest.approx(0.5)]


def test_a_loop_whose_inside_is_not_reported_counts_as_a_whole() -> None:
    reported = LOOP.partition("Subgraph (index: 1")[0]
    assert {op.kind: op.mean_ms for op in read_ops(reported)} == {"WHILE": 8.0, "CONV_2D": 2.0}


def test_failures_are_reported_with_the_message_of_the_program_or_its_signal() -> None:
    log = "ERROR: Node number 57 (BATCH_MATMUL) failed to prepare.\nERROR: Failed to allocate tensors!\n"
    assert read_failure(log, 1) == "Node number 57 (BATCH_MATMUL) failed to prepare.; Failed to allocate tensors!"
    assert read_failure("INFO: STARTING!\nFATAL: The size of in0 is 3 bytes.", 134) == "The size of in0 is 3 bytes."
    linker = "CANNOT LINK EXECUTABLE: library libc.so not found"
    assert read_failure(linker, 1) == f"benchmark_model ended with exit code 1: {linker}"
    assert read_failure("", 139) == "benchmark_model died of SIGSEGV"
    assert read_failure("", 2) == "benchmark_model ended with exit code 2"
