"""`edgetf compile`: what a maker's compiler takes, and what a host without it reports. Few hosts have OpenVINO."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema

from edgetf.api.benchmark import benchmark
from edgetf.api.compile import compile as compile_variants
from edgetf.errors import EdgetfError
from edgetf.files import now, sha256_file, write_document
from edgetf.flatbuffer import pack, read_contents, unpack
from edgetf.results import CONVERSION_SCHEMA, Conversion, Source, Status, TensorSpec, Variant, read_conversion
from edgetf.targets import aot
from edgetf.targets.aot import Chip, chips, find_chip
from tests.attacks.kit import NONE, WEIGHTS, answers, inputs, write_reference, write_samples
from tests.conftest import Run
from tests.targets.made import write_int8, write_signed

OPENVINO = find_spec("openvino") is not None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A conversion with two variants, which are the same file."""
    place = tmp_path / "out"
    place.mkdir()
    variants = []
    for name in ("float16", "float32"):
        file = write_signed(place / f"{name}.tflite")
        variants.append(Variant(name, Status.OK, file.name, file.stat().st_size, sha256_file(file), 1.0, {}))
    specs = (TensorSpec("x", (1, 16), "float32"),), (TensorSpec("p", (1, 4), "float32"),)
    source = Source("model", "5" * 64, "serving_default", *specs)
    made = Conversion(CONVERSION_SCHEMA, "0", now(), source, {}, None, None, (), {}, tuple(variants))
    write_document(place / "conversion.json", made)
    return place


def _precompile(path: Path, place: Path) -> Path:
    """What a compiler would make of the variant if its accelerator took the layer, and left the softmax."""
    model, _ = unpack(path.read_bytes())
    code = model.operatorCodes[model.subgraphs[0].operators[0].opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, schema.BuiltinOperator.CUSTOM
    code.customCode = b"DISPATCH_OP"
    model.subgraphs[0].operators[0].builtinOptions, model.subgraphs[0].operators[0].builtinOptionsType = None, 0
    place.write_bytes(pack(model))
    return place


def test_a_compiled_variant_keeps_its_scheme_and_a_failure_keeps_no_other_from_being_compiled(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(path: Path, chip: Chip, work: Path) -> dict[str, str]:
        if path.stem == "float16":
            return {"error": "ValueError", "log": "ERROR: [a.cc:1] no float16 here\n"}
        return {"path": str(_precompile(path, work / "made.tflite"))}

    monkeypatch.setattr(aot, "_ask", answer)
    found = compile_variants(folder, tmp_path / "npu", target="qualcomm-sm8750")
    made, failed = found["float32"], found["float16"]
    assert made.path == str(tmp_path / "npu" / "float32.tflite")
    assert (made.delegated, made.operations, made.partitions) == (1, 2, 1)
    assert {one.kind: one.count for one in made.on_cpu} == {"SOFTMAX": 1}
    assert (failed.path, failed.reason) == (None, "no float16 here")
    assert failed.hint == "pip install ai-edge-litert-sdk-qualcomm"
    kept = read_conversion(tmp_path / "npu")
    assert {one.scheme: one.status for one in kept.variants} == {"float16": Status.FAILED, "float32": Status.OK}
    assert kept.variants[1].sha256 == sha256_file(tmp_path / "npu" / "float32.tflite")
    assert "takes 1 of 2 operations" in kept.variants[1].notes[0]
    bench = benchmark(tmp_path / "npu", tmp_path / "bench")  # the interpreter cannot run it, and says what can
    assert "run it with --delegate npu or openvino-cpu" in bench["float32"].record.error.message  # type: ignore[union-attr]
    with pytest.raises(EdgetfError, match="is compiled already"):
        compile_variants(tmp_path / "npu" / "float32.tflite", tmp_path / "again", target="intel-ptl")


def test_a_compiler_that_takes_nothing_made_nothing(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(aot, "_ask", lambda path, chip, work: {"path": str(path)})
    with pytest.raises(EdgetfError, match="its compiler takes none of the operations"):
        compile_variants(folder, tmp_path / "npu", target="intel-lnl")
    assert not (tmp_path / "npu").exists()


def test_without_the_makers_compiler_there_is_one_line_and_what_to_install(folder: Path, edgetf_here: Run) -> None:
    ended = edgetf_here("compile", folder / "float32.tflite", "--for", "qualcomm-sm8750", "-o", "npu")
    assert ended.returncode == 1
    assert "float32 was not compiled for qualcomm-sm8750: libQnnHtp.so is missing" in ended.stderr
    assert "hint: pip install ai-edge-litert-sdk-qualcomm" in ended.stderr
    assert not (folder.parent / "npu").exists()


def test_the_targets_are_the_chips_that_litert_knows() -> None:
    assert {"intel-cpu", "intel-ptl", "qualcomm-sm8750", "mediatek-mt6991", "google-tensor-g5"} <= set(chips())
    with pytest.raises(EdgetfError, match="unknown target 'qualcomm'"):
        find_chip("qualcomm")


def test_vela_makes_the_file_that_a_board_needs_and_nothing_here_runs_it(tmp_path: Path, edgetf_here: Run) -> None:
    pytest.importorskip("ethosu")
    variants = [write_int8(tmp_path / "int8.tflite"), write_signed(tmp_path / "float32.tflite")]
    ended = edgetf_here("compile", *variants, "--for", "ethos-u55-128", "-o", tmp_path / "npu", "--json")
    assert ended.returncode == 1  # float32 was not compiled
    int8, float32 = (json.loads(ended.stdout)[name] for name in ("int8", "float32"))
    made = tmp_path / "npu" / "int8.tflite"
    assert (int8["operations"], int8["on_cpu"], int8["partitions"]) == (2, [], 1)
    assert int8["sha256"] == sha256_file(made)
    assert read_contents(made).counts() == {"ethos-u": 1}
    assert (float32["path"], float32["hint"]) == (
        None,
        f"see why with: edgetf inspect {variants[1]} --for ethos-u55-128",
    )
    assert "takes none of the operations" in float32["reason"]
    bench = benchmark(made, tmp_path / "bench")
    assert "only a board with it runs this file" in bench["int8"].record.error.message  # type: ignore[union-attr]
    with pytest.raises(EdgetfError, match="is compiled already"):
        compile_variants(made, tmp_path / "again", target="ethos-u55-128")
    with pytest.raises(EdgetfError, match="unknown target 'ethos-u55'") as caught:
        compile_variants(variants, tmp_path / "again", target="ethos-u55")
    assert "did you mean 'ethos-u55-" in caught.value.hint


@pytest.mark.skipif(not OPENVINO, reason="openvino is not installed: the tests have it on x86-64 Linux")
def test_what_openvino_compiled_is_benchmarked_and_judged_like_any_variant(
    folder: Path, tmp_path: Path, edgetf_here: Run
) -> None:
    ended = edgetf_here("compile", folder, "--for", "intel-cpu", "-o", "npu", "--json")
    found = json.loads(ended.stdout)
    assert ended.returncode == 0
    assert (found["float16"]["operations"], found["float16"]["on_cpu"]) == (2, [])
    x = inputs(500)
    outputs = answers(x, WEIGHTS, NONE)
    samples = write_samples(tmp_path / "samples.npz", x, outputs.argmax(axis=1))
    reference = write_reference(tmp_path / "ref", samples, outputs)
    bench = benchmark(tmp_path / "npu", tmp_path / "b", reference=reference, delegate="openvino-cpu", blocks=2)
    judged = bench["float16"].record
    assert judged.status is Status.OK
    assert judged.parity is not None
    assert judged.parity.outputs[0].accuracy is not None
    assert judged.parity.outputs[0].accuracy.variant > 0.95
    assert judged.latency_ms is not None
