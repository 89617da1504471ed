from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given
from hypothesis import strategies as st

from edgetf.flatbuffer import pack, unpack
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
