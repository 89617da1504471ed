from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgetf.device.runner.interpreter import JobError, Session, Tensor, find_runtime
from edgetf.device.runner.job import Job
from tests.attacks.kit import write_two_graphs

Numbers = NDArray[Any]
scales = st.floats(1e-6, 1e3)
zero_points = st.integers(-128, 127)


def _tensor(scale: float, zero_point: int, dtype: type = np.int8) -> Tensor:
    return Tensor("t", 0, (1, 4), dtype, scale, zero_point)


@given(hnp.arrays(np.int8, 20), scales, zero_points)
def test_every_stored_value_survives_dequantize_and_quantize(stored: Numbers, scale: float, zero_point: int) -> None:
    tensor = _tensor(scale, zero_point)
    np.testing.assert_array_equal(tensor.quantize(tensor.dequantize(stored)), stored)


@given(hnp.arrays(np.float32, 20, elements=st.floats(-1, 1, width=32)), st.floats(1e-3, 1), zero_points)
def test_a_value_in_range_moves_by_half_a_step_at_most(values: Numbers, scale: float, zero_point: int) -> None:
    tensor = _tensor(scale, zero_point)
    low, high = (tensor.dequantize(np.array([limit], np.int8))[0] for limit in (-128, 127))
    inside = values[(values >= low) & (values <= high)]
    error = np.abs(tensor.dequantize(tensor.quantize(inside)) - inside)
    assert (error <= scale * 0.501 + 1e-6).all()


@given(hnp.arrays(np.float32, 20, elements=st.floats(-1e6, 1e6, width=32)), scales, zero_points)
def test_values_out_of_range_are_clipped_not_wrapped(values: Numbers, scale: float, zero_point: int) -> None:
    stored = _tensor(scale, zero_point).quantize(values).astype(int)
    order = np.argsort(values, kind="stable")
    assert (np.diff(stored[order]) >= 0).all()


def test_what_is_not_quantized_passes_through_and_other_dtypes_are_refused() -> None:
    plain = _tensor(0.0, 0, np.float32)
    values = np.array([1.5], np.float32)
    assert plain.quantize(values) is values
    assert plain.dequantize(values) is values
    with pytest.raises(JobError, match="input 't' takes float32, the samples are int32"):
        plain.quantize(np.array([1], np.int32))


def test_the_error_for_an_unknown_runtime_lists_the_known_ones() -> None:
    assert find_runtime("auto").name == "litert"
    with pytest.raises(JobError, match="unknown runtime 'tpu'; known: auto, litert, tflite-runtime"):
        find_runtime("tpu")


@pytest.fixture
def float_variant(converted: Path) -> str:
    return str(converted / "float32.tflite")


def _session(
    model: str, signature: str | None, shapes: dict[str, tuple[int, ...]], delegate: str = "xnnpack"
) -> Session:
    return Session(find_runtime("litert"), Job(model, {}, signature, delegate=delegate), 1, shapes)


def test_inputs_are_assigned_by_the_names_of_the_signature(float_variant: str) -> None:
    session = _session(float_variant, "serving_default", {"image": (8, 8, 1)})
    assert [t.name for t in session.inputs] == ["image"]
    assert [t.name for t in session.outputs] == ["output_0"]
    with pytest.raises(JobError, match=r"the variant's inputs are \['image'\], the samples have \['x'\]"):
        _session(float_variant, None, {"x": (8, 8, 1)})
    with pytest.raises(JobError, match="has no signature 'other'; it has: serving_default"):
        _session(float_variant, "other", {"image": (8, 8, 1)})
    with pytest.raises(JobError, match=r"input 'image' takes \[8, 8, 1\] a sample, the samples have \[9, 8, 1\]"):
        _session(float_variant, None, {"image": (9, 8, 1)})


def test_a_signature_that_runs_another_graph_than_the_first_is_refused(tmp_path: Path) -> None:
    """The first graph was run, with the indices of the other one's tensors."""
    both = str(write_two_graphs(tmp_path / "both.tflite", {"all": 1, "logits": 0}))
    with pytest.raises(JobError, match="signature 'all' is not the variant's first graph"):
        _session(both, None, {"x": (16,)})
    only = str(write_two_graphs(tmp_path / "only.tflite", {"logits": 0}))
    assert _session(only, None, {"x": (16,)}).outputs[0].shape == (1, 3)


def test_a_delegate_takes_the_float_graph(float_variant: str) -> None:
    session = _session(float_variant, None, {"image": (8, 8, 1)})
    assert session.coverage("XNNPACK").partitions == 1
    assert _session(float_variant, None, {"image": (8, 8, 1)}, delegate="none").coverage("").partitions == 0
    with pytest.raises(JobError, match="litert has no delegate 'tpu'; it has: xnnpack, "):
        _session(float_variant, None, {"image": (8, 8, 1)}, delegate="tpu")
