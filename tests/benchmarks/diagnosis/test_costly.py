from __future__ import annotations

from dataclasses import replace

import pytest

from edgetf.benchmarks.diagnosis.costly import costly_of, time_layers
from edgetf.figures import Coverage, CoverageSource, Latency, OpTime
from edgetf.results import Failure, Result, Status

COVERAGE = Coverage(4, 3, 1, (), 0, "XNNPACK", False, CoverageSource.NODES)
OPS = (
    OpTime("CONV_2D", "m/conv/a", 0.6, 0.6, "conv", True, estimated=True),
    OpTime("SOFTMAX", "m/out/s", 0.25, 0.25, "out", False),
    OpTime("ADD", "m/conv/b", 0.1, 0.1, "conv", True, estimated=True),
    OpTime("CONV_2D", "m/conv/c", 0.045, 0.045, "conv", True, estimated=True),
    OpTime("RESHAPE", "m/flat/r", 0.005, 0.005, "flat", True, estimated=True),
)
TIME = Latency(1.0, 0.95, 1.05, None, None, 1.0, 0.1, 100)
INT8 = Result(
    "int8", "int8", "pi", Status.OK, "litert 2.3.0", 1, "", 1, "xnnpack", coverage=COVERAGE, ops=OPS, latency_ms=TIME
)


def test_operations_of_one_kind_in_one_layer_count_together_and_tiny_ones_are_left_out() -> None:
    conv, softmax, add = costly_of(INT8, time_layers([INT8]), most=10)
    assert (conv.layer, conv.kind, conv.count, conv.ran_on, conv.estimated) == ("conv", "CONV_2D", 2, "XNNPACK", True)
    assert conv.ms == pytest.approx(0.645)
    assert conv.share == pytest.approx(0.645)
    assert (softmax.layer, softmax.ran_on, softmax.estimated) == ("out", "TFLite", False)
    assert add.kind == "ADD"
    assert [one.kind for one in costly_of(INT8, time_layers([INT8]), most=1)] == ["CONV_2D"]


def test_what_a_tool_names_inside_of_a_delegate_counts_by_kind() -> None:
    ops = tuple(OpTime("IGEMM", f"Delegate/IGEMM:{k}", 0.5, 0.5, "", True) for k in range(2))
    [one] = costly_of(replace(INT8, ops=ops), time_layers([INT8]), most=3)
    assert (one.layer, one.count, one.help) == ("", 2, "")


def test_what_a_library_leaves_runs_on_the_cpu_by_whichever_kernels() -> None:
    """XNNPACK takes it, if it can: no hint on TFLite's kernels is right."""
    library = replace(INT8, coverage=replace(COVERAGE, accelerator="libvx.so"))
    found = {one.kind: one.ran_on for one in costly_of(library, time_layers([library]), most=3)}
    assert (found["CONV_2D"], found["SOFTMAX"]) == ("libvx.so", "the CPU")


def test_a_variant_that_takes_less_for_the_layer_would_help_if_it_does_not_fail() -> None:
    half = tuple(replace(op, mean_ms=op.mean_ms / 2) for op in OPS)
    fast = replace(INT8, variant="fast", ops=half, latency_ms=replace(TIME, low=0.4, high=0.6))
    assert costly_of(INT8, time_layers([INT8, fast]), most=1)[0].help == "fast takes about 0.372 ms for the layer"
    assert costly_of(fast, time_layers([INT8, fast]), most=1)[0].help == ""
    for useless in (
        replace(fast, error=Failure("run", "it died", "")),
        replace(fast, device="other"),
        replace(fast, latency_ms=replace(TIME, low=0.5, high=0.96)),  # not measurably faster
        replace(fast, latency_ms=None),
        replace(fast, ops=tuple(replace(op, mean_ms=0.9 * op.mean_ms) for op in OPS)),
    ):
        assert costly_of(INT8, time_layers([INT8, useless]), most=1)[0].help == ""


def test_what_runtimes_have_no_kernels_for_has_a_hint() -> None:
    left = tuple(replace(op, delegated=False, estimated=False) for op in OPS)
    nothing = replace(INT8, ops=left, coverage=replace(COVERAGE, delegated=0, partitions=0))

    def hint(**changes: str) -> str:
        return costly_of(replace(nothing, **changes), time_layers([]), most=1)[0].help  # type: ignore[arg-type]

    assert hint(runtime="tflite-runtime 2.14.0") == "LiteRT's XNNPACK takes int8: --runtime litert"
    assert hint(scheme="int16x8") == "XNNPACK has no kernels for int16, but for int8"
    assert hint(delegate="none") == "--delegate xnnpack"
    assert hint() == ""
    assert hint(scheme="float32", runtime="tflite-runtime 2.14.0") == ""
