from __future__ import annotations

from pathlib import Path

import pytest

from edgetf.benchmarks.runtime_check import prove
from edgetf.conversion.contract import RuntimeVersion, find_problems, find_target, smallest_runtimes
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.errors import EdgetfError
from edgetf.files import sha256_file, write_document
from edgetf.flatbuffer import Op, read_contents
from edgetf.results import Status, read_conversion
from tests.conftest import Small, ignore

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


def test_a_variant_is_made_within_the_contract_and_runs_in_that_very_runtime(small: Small, tmp_path: Path) -> None:
    options = ConvertOptions(("dynamic", "int8"), samples=small.samples, runtime="tflite-runtime==2.14")
    conversion = convert(small.saved_model, tmp_path / "out", options, ignore)
    dynamic, int8 = prove(tmp_path / "out", conversion, small.samples, "tflite-runtime==2.14", ignore).variants
    assert dynamic.notes == (
        "dense layers are quantized per tensor, because tflite-runtime 2.14.0 has FULLY_CONNECTED up to version 10, "
        "the variant has 12",
        "ran in tflite-runtime 2.14.0 and agreed with LiteRT on 8 samples",
    )
    assert int8.notes == ("ran in tflite-runtime 2.14.0 and agreed with LiteRT on 8 samples",)
    assert read_conversion(tmp_path / "out").variants == (dynamic, int8)


def test_golden_inputs_find_what_the_runtime_refuses(converted: Path, small: Small, tmp_path: Path) -> None:
    """The dynamic variant with FULLY_CONNECTED 12, which LiteRT runs and tflite-runtime 2.14 does not."""
    conversion = read_conversion(converted)
    (tmp_path / "dynamic.tflite").write_bytes((converted / "dynamic.tflite").read_bytes())
    [dynamic] = [variant for variant in conversion.variants if variant.scheme == "dynamic"]
    assert dynamic.sha256 == sha256_file(tmp_path / "dynamic.tflite")
    alone = type(conversion)(**{**vars(conversion), "variants": (dynamic,)})
    write_document(tmp_path / "conversion.json", alone)
    [proven] = prove(tmp_path, alone, small.samples, "tflite-runtime==2.14", ignore).variants
    assert proven.status is Status.FAILED
    assert proven.error is not None
    assert "FULLY_CONNECTED" in proven.error.message


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
