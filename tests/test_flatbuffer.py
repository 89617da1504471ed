from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetf import flatbuffer
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import listed, pack, read_contents, unpack
from tests.conftest import Run


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
    with pytest.raises(EdgetfError, match=r"is damaged or truncated|is not a TFLite file"):
        read_contents(cut)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="cannot read"):
        read_contents(tmp_path / "missing.tflite")


Change = Callable[[Any, Any], object]


def _changed(converted: Path, out: Path, change: Change) -> Path:
    """The float32 variant after a change of its objects; `change` gets the model and the schema."""
    model, schema = unpack((converted / "float32.tflite").read_bytes())
    change(model, schema)
    path = out / "changed.tflite"
    path.write_bytes(pack(model))
    return path


def _weight(model: Any) -> Any:
    return next(t for t in model.subgraphs[0].tensors if len(listed(model.buffers[t.buffer].data)) > 1000)


def _constant(model: Any, schema: Any, kind: str, shape: list[int] | None, data: bytes) -> None:
    tensor, buffer = schema.TensorT(), schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    model.buffers.append(buffer)
    tensor.name, tensor.shape, tensor.buffer = b"constant", shape, len(model.buffers) - 1
    tensor.type = getattr(schema.TensorType, kind)
    model.subgraphs[0].tensors.append(tensor)


CONSTANTS = {
    "a scalar without a shape": ("FLOAT32", None, bytes(4)),
    "no elements": ("FLOAT32", [0, 3], b""),
    "five axes": ("INT8", [1, 1, 1, 2, 2], bytes(4)),
    "two to a byte": ("INT4", [3, 3], bytes(5)),
    "four to a byte": ("INT2", [3, 3], bytes(3)),
    "bfloat16": ("BFLOAT16", [2, 2], bytes(8)),
    "texts": ("STRING", [2, 2], bytes(24)),
    "complex": ("COMPLEX64", [2, 2], bytes(32)),
}


@pytest.mark.parametrize("constant", CONSTANTS)
def test_constants_of_any_kind_are_read(converted: Path, tmp_path: Path, constant: str) -> None:
    kind, shape, data = CONSTANTS[constant]
    path = _changed(converted, tmp_path, lambda model, schema: _constant(model, schema, kind, shape, data))
    contents = read_contents(path)
    assert contents.counts() == read_contents(converted / "float32.tflite").counts()
    if kind not in ("FLOAT32", "INT8"):
        assert contents.weights[kind.lower()] == len(data)


def test_a_figure_that_cannot_be_computed_does_not_prevent_reading(
    converted: Path, tmp_path: Path, edgetf: Run
) -> None:
    path = _changed(converted, tmp_path, lambda model, schema: _constant(model, schema, "FLOAT32", [2, 2], bytes(15)))
    assert read_contents(path).weight_sparsity is None
    ended = edgetf("inspect", path)
    assert ended.returncode == 0, ended.stderr
    assert "of the weights are zero" not in ended.stdout


def test_the_zeros_that_a_sparse_tensor_leaves_out_are_counted(converted: Path, tmp_path: Path) -> None:
    def change(model: Any, schema: Any) -> None:
        tensor = _weight(model)
        tensor.sparsity = schema.SparsityParametersT()
        model.buffers[tensor.buffer].data = model.buffers[tensor.buffer].data[:40]  # ten of all are stored

    sparsity = read_contents(_changed(converted, tmp_path, change)).weight_sparsity
    assert sparsity is not None
    assert sparsity > 0.9


def _without_zero_point(model: Any, schema: Any) -> None:
    parameters = schema.QuantizationParametersT()
    parameters.scale = [0.5]
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].quantization = parameters


def _empty_metadata(model: Any, schema: Any) -> None:
    for entry in model.metadata:
        model.buffers[entry.buffer].data = None


def _nothing_in_it(model: Any, schema: Any) -> None:
    graph = model.subgraphs[0]
    graph.inputs = graph.outputs = graph.operators = graph.tensors = model.signatureDefs = model.metadata = None


@pytest.mark.parametrize("change", [_without_zero_point, _empty_metadata, _nothing_in_it])
def test_missing_optional_fields_are_not_damage(converted: Path, tmp_path: Path, change: Change) -> None:
    assert read_contents(_changed(converted, tmp_path, change)).bytes > 0


def _newer_op(model: Any, schema: Any) -> None:
    model.operatorCodes[0].builtinCode = 999


def _newer_type(model: Any, schema: Any) -> None:
    model.subgraphs[0].tensors[0].type = 99


@pytest.mark.parametrize(("change", "what"), [(_newer_op, "operation 999"), (_newer_type, "type 99")])
def test_a_file_for_a_newer_tflite_is_reported(converted: Path, tmp_path: Path, change: Change, what: str) -> None:
    with pytest.raises(EdgetfError, match=f"was made for a newer TFLite: {what}") as caught:
        read_contents(_changed(converted, tmp_path, change))
    assert "pip install --upgrade ai-edge-litert" in caught.value.hint


def _no_such_tensor(model: Any, schema: Any) -> None:
    model.subgraphs[0].operators[0].inputs = [9999]


def _no_such_buffer(model: Any, schema: Any) -> None:
    model.subgraphs[0].tensors[0].buffer = 9999


def _no_such_code(model: Any, schema: Any) -> None:
    model.subgraphs[0].operators[0].opcodeIndex = 99


def _no_text(model: Any, schema: Any) -> None:
    model.subgraphs[0].tensors[0].name = b"\xff\xfe"


@pytest.mark.parametrize("change", [_no_such_tensor, _no_such_buffer, _no_such_code, _no_text])
def test_references_to_missing_entries_are_damage(converted: Path, tmp_path: Path, change: Change) -> None:
    with pytest.raises(EdgetfError, match="is damaged or truncated"):
        read_contents(_changed(converted, tmp_path, change))


def test_a_fault_of_our_own_is_not_called_damage(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Any, types: Any) -> float:
        raise TypeError("a bug")

    monkeypatch.setattr(flatbuffer, "_weights", broken)
    with pytest.raises(TypeError, match="a bug"):
        read_contents(converted / "float32.tflite")


def _with_constant(converted: Path, out: Path, data: bytes) -> Path:
    return _changed(converted, out, lambda model, schema: _constant(model, schema, "INT8", [1, len(data)], data))


def test_the_compressed_size_of_a_large_file_is_an_estimate_by_pieces_of_all_of_it(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flatbuffer, "_MOST_COMPRESSED", 1 << 20)
    random = np.random.default_rng(0)
    halves = bytes(2_000_000) + random.integers(-8, 8, 2_000_000).astype(np.int8).tobytes()
    path = _with_constant(converted, tmp_path, halves)
    contents, exact = read_contents(path), len(zlib.compress(path.read_bytes()))
    assert contents.is_compressed_estimated
    assert contents.compressed_bytes == pytest.approx(exact, rel=0.05)
    assert contents.compressed_bytes != exact
    small = read_contents(converted / "int8.tflite")
    assert not small.is_compressed_estimated
    assert small.compressed_bytes == len(zlib.compress((converted / "int8.tflite").read_bytes()))


def test_reading_and_changing_a_file_keeps_no_second_copy_of_its_constants(converted: Path, tmp_path: Path) -> None:
    size = 32_000_000
    path = _with_constant(converted, tmp_path, bytes(size))
    content = path.read_bytes()
    tracemalloc.start()
    try:
        read_contents(path)  # which reads the file once
        assert tracemalloc.get_traced_memory()[1] < 1.5 * size
        tracemalloc.reset_peak()
        model, _ = unpack(content)
        assert tracemalloc.get_traced_memory()[1] < 0.1 * size
        assert pack(model) == content
        assert tracemalloc.get_traced_memory()[1] < 2.2 * size  # the builder and the result
    finally:
        tracemalloc.stop()


def test_what_is_stored_after_a_flatbuffer_is_part_of_the_model(converted: Path, tmp_path: Path) -> None:
    model, _ = unpack((converted / "float32.tflite").read_bytes())
    buffer = model.buffers[_weight(model).buffer]
    data, buffer.data = bytes(buffer.data), None
    buffer.offset = buffer.size = len(data)
    buffer.offset = len(pack(model))
    read, _ = unpack(pack(model) + data)
    found = read.buffers[_weight(read).buffer]
    assert (bytes(found.data), found.offset, found.size) == (data, 0, 0)
