from __future__ import annotations

from pathlib import Path

import pytest

from edgetf.conversion.contract import RuntimeVersion, find_problems, find_target, smallest_runtimes
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import Op, read_contents
from tests.conftest import ignore

OLD = RuntimeVersion("tflite-runtime", "2.14.0")


def test_a_runtime_is_found_by_name_and_the_beginning_of_its_version() -> None:
    assert find_target("tflite-runtime==2.14") == OLD
    assert find_target("tflite-runtime") == OLD
    assert find_target("litert").package == "ai-edge-litert"
    for text in ("tflite-runtime==3", "tpu", "tflite-runtime==2.1"):
        with pytest.raises(EdgetfError, match="unknown runtime"):
            find_target(text)


def test_problems_name_the_op_and_both_versions(converted: Path) -> None:
    [problem] = find_problems(read_contents(converted / "dynamic.tflite"), OLD)
    assert problem == "tflite-runtime 2.14.0 has FULLY_CONNECTED up to version 10, the variant has 12"
    for scheme in ("float32", "float16", "int8", "int16x8"):
        assert find_problems(read_contents(converted / f"{scheme}.tflite"), OLD) == ()


def test_the_smallest_runtime_is_the_oldest_that_has_the_ops() -> None:
    assert smallest_runtimes([Op("CONV_2D", 1, 1)])[0] == RuntimeVersion("tflite-runtime", "2.7.0")
    assert smallest_runtimes([Op("FULLY_CONNECTED", 10, 1)])[0] == RuntimeVersion("tflite-runtime", "2.13.0")
    assert [t.package for t in smallest_runtimes([Op("FULLY_CONNECTED", 12, 1)])] == ["ai-edge-litert"]
    assert smallest_runtimes([Op("CONV_2D", 99, 1)]) == ()
    assert smallest_runtimes([Op("MyOp", 1, 1)]) == ()


def test_a_scheme_that_no_flag_makes_compatible_fails_with_the_reason(tmp_path: Path) -> None:
    import tensorflow as tf

    class Upper(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return tf.math.atan(x)

    module = Upper()
    tf.saved_model.save(module, str(tmp_path / "atan"), signatures=module.call)
    options = ConvertOptions(("float32",), select_tf_ops=True, runtime="tflite-runtime==2.14")
    [variant] = convert(tmp_path / "atan", tmp_path / "out", options, ignore).variants
    assert variant.error is not None
    assert variant.error.message == "Atan needs the Flex delegate, which tflite-runtime 2.14.0 lacks"
