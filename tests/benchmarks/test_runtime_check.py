"""Variants in the runtime that `edgetf convert --runtime` names."""

from __future__ import annotations

from pathlib import Path

from edgetf.benchmarks.runtime_check import prove
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.files import sha256_file, write_document
from edgetf.results import Status, read_conversion
from tests.conftest import Small, ignore


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
