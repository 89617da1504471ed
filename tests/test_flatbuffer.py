from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetf.errors import EdgetfError
from edgetf.flatbuffer import read_contents


def test_contents_name_inputs_outputs_ops_and_weights(converted: Path) -> None:
    contents = read_contents(converted / "int8-io.tflite")
    assert contents.signatures == ("serving_default",)
    [image], [output] = contents.inputs, contents.outputs
    assert (image.name, image.shape, image.dtype) == ("image", (1, 8, 8, 1), "int8")
    assert output.name == "output_0"
    assert output.quantization is not None
    assert output.quantization.scale == pytest.approx(1 / 256)  # softmax: 0 to 1 in 256 steps
    assert output.quantization.zero_point == -128
    assert contents.counts()["CONV_2D"] == 1
    assert set(contents.weights) == {"int8", "int32"}
    assert contents.bytes == (converted / "int8-io.tflite").stat().st_size
    assert contents.min_runtime is not None


def test_float_weights_of_the_float_variant_are_counted_to_the_byte(converted: Path) -> None:
    weights = read_contents(converted / "float32.tflite").weights
    conv, hidden, last = 3 * 3 * 8 + 8, 3 * 3 * 8 * 32, 32 * 3 + 3  # the converter drops the hidden layer's zero bias
    assert weights["float32"] == 4 * (conv + hidden + last)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_file_that_is_cut_short_is_refused_wherever_it_was_cut(converted: Path, tmp_path: Path, share: float) -> None:
    whole = (converted / "int8.tflite").read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(EdgetfError, match=r"is damaged or cut short|is not a TFLite file"):
        read_contents(cut)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="cannot read"):
        read_contents(tmp_path / "missing.tflite")
