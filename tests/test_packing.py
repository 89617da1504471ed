from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given
from hypothesis import strategies as st

from edgetf import packing
from edgetf.flatbuffer import new_model, pack, unpack
from edgetf.packing import stand_in
from edgetf.schemes import DEFAULT_SCHEMES

_VECTORS = st.lists(st.integers(-3, 3), max_size=3)


def _plain(part: Any) -> Any:
    """The objects of a flatbuffer as dicts and lists, which compare by value."""
    if isinstance(part, (list, np.ndarray)):
        return [_plain(one) for one in part]
    if hasattr(part, "Pack"):
        return {name: _plain(value) for name, value in vars(part).items()}
    return part


@pytest.mark.parametrize("scheme", DEFAULT_SCHEMES)
def test_a_reader_finds_the_same_in_no_more_bytes(converted: Path, scheme: str) -> None:
    content = (converted / f"{scheme}.tflite").read_bytes()
    once = bytes(flatbuffer_utils.convert_object_to_bytearray(unpack(content)[0]))
    packed = pack(unpack(content)[0])
    assert _plain(unpack(packed)[0]) == _plain(unpack(content)[0])
    assert len(packed) < len(once)
    assert len(packed) <= len(content)
    runner = Interpreter(model_content=packed).get_signature_runner()
    [detail] = runner.get_input_details().values()
    ones = np.ones(detail["shape"], detail["dtype"])
    expected = Interpreter(model_content=once).get_signature_runner()(image=ones)
    np.testing.assert_array_equal(runner(image=ones)["output_0"], expected["output_0"])


def test_zero_points_of_equal_channels_are_stored_once(converted: Path) -> None:
    model, _ = unpack((converted / "int8.tflite").read_bytes())
    for tensor in model.subgraphs[0].tensors[:8]:
        tensor.quantization.zeroPoint = np.zeros(1000, np.int64)
    assert len(flatbuffer_utils.convert_object_to_bytearray(model)) - len(pack(model)) > 7 * 8_000


@given(shapes=st.lists(_VECTORS, max_size=6), names=st.lists(st.text(max_size=4), max_size=6))
def test_any_vectors_and_names_are_read_as_they_were_written(shapes: list[list[int]], names: list[str]) -> None:
    """Also empty ones, a name that has the bytes of a vector, and vectors that are equal but for their type."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    graph = schema.SubGraphT()
    graph.tensors = []
    for shape, name in zip(shapes, names, strict=False):
        tensor = schema.TensorT()
        tensor.shape, tensor.name, tensor.quantization = shape, name.encode(), schema.QuantizationParametersT()
        tensor.quantization.zeroPoint = np.array(shape, np.int64)
        tensor.quantization.scale = np.array(shape, np.float32)
        graph.tensors.append(tensor)
    graph.inputs = graph.outputs = graph.operators = model.operatorCodes = []
    model.subgraphs, model.buffers = [graph], [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer("".join(names).encode(), np.uint8)
    once = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    assert _plain(unpack(pack(model))[0]) == _plain(unpack(once)[0])


def _with_constants(*values: np.ndarray[Any, Any]) -> Any:
    """A model with these constants, and no operations."""
    model, schema = new_model()
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    model.subgraphs, model.operatorCodes = [graph], []
    for one in values:
        tensor, buffer = schema.TensorT(), schema.BufferT()
        buffer.data, tensor.shape, tensor.type = one, list(one.shape), schema.TensorType.UINT8
        tensor.name, tensor.buffer = b"constant", len(model.buffers)
        graph.tensors.append(tensor)
        model.buffers.append(buffer)
    return model


def test_large_constants_stand_behind_everything_else_where_kernels_want_them() -> None:
    random = np.random.default_rng(0)
    values = [random.integers(0, 256, size, np.uint8) for size in (3, 100_001, 70_000, 5, 200_003)]
    packed = pack(_with_constants(*values))
    found, _ = unpack(packed)
    for k, one in enumerate(values):
        np.testing.assert_array_equal(found.buffers[k + 1].data, one)
    large = [packed.index(one.tobytes()) for one in values if len(one) > 65_536]
    assert min(large) > max(packed.index(one.tobytes()) for one in values if len(one) <= 65_536)
    assert [place % 16 for place in large] == [0, 0, 0]
    assert len(packed) < sum(map(len, values)) + 1000


def test_large_constants_are_filled_in_when_they_are_written() -> None:
    model = _with_constants(stand_in(100_000), np.ones(80_000, np.uint8), stand_in(90_000))
    packed = pack(model, {1: lambda target: target.fill(3), 3: lambda target: target.fill(7)})
    found, _ = unpack(packed)
    assert [set(one.data.tolist()) for one in found.buffers[1:]] == [{3}, {1}, {7}]


def test_an_error_while_a_constant_is_filled_in_is_the_one_that_is_raised() -> None:
    def fail(target: np.ndarray[Any, Any]) -> None:
        raise ValueError("not to be had")

    with pytest.raises(ValueError, match="not to be had"):
        pack(_with_constants(stand_in(100_000)), {1: fail})


def test_more_than_a_flatbuffer_can_have_is_stored_behind_it(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (converted / "float32.tflite").read_bytes()
    model, _ = unpack(content)
    monkeypatch.setattr(packing, "_COMPARED", 1000)
    monkeypatch.setattr(packing, "_MOST", len(content) // 2)
    packed = pack(model)
    root = schema_py_generated.Model.GetRootAs(packed, 0)
    buffers = [root.Buffers(k) for k in range(root.BuffersLength())]
    large = [one for one in buffers if one.Offset()]
    assert large
    assert all(one.Offset() % 16 == 0 and one.DataIsNone() for one in large)
    assert max(one.DataLength() for one in buffers) <= 1000
    assert _plain(unpack(packed)[0]) == _plain(model)
    expected, found = (Interpreter(model_content=one).get_signature_runner() for one in (content, packed))
    [detail] = found.get_input_details().values()
    ones = np.ones(detail["shape"], detail["dtype"])
    np.testing.assert_array_equal(found(image=ones)["output_0"], expected(image=ones)["output_0"])
