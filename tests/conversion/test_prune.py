from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from edgetf.conversion.constants import add_buffer, add_code
from edgetf.conversion.prune import prune
from edgetf.flatbuffer import count_ops, pack, parse_contents, unpack
from edgetf.samples import Array
from edgetf.schemes import DEFAULT_SCHEMES


def _run(content: bytes) -> Array:
    runner = Interpreter(model_content=content).get_signature_runner()
    images = np.random.default_rng(1).normal(size=(20, 8, 8, 1)).astype(np.float32)
    detail = runner.get_input_details()["image"]
    rows = images if detail["dtype"] is np.float32 else (images * 10).astype(detail["dtype"])
    return np.concatenate([runner(image=one[None])["output_0"] for one in rows])


def _littered(content: bytes, copies: int) -> bytes:
    """The flatbuffer with `copies` of all its constants that nothing reads, and an operation code that no op has."""
    model, schema = unpack(content)
    graph = model.subgraphs[0]
    add_code(model, schema.BuiltinOperator.ATAN2, 1)
    for tensor in [one for one in graph.tensors for _ in range(copies) if model.buffers[one.buffer].data is not None]:
        unused = copy.copy(tensor)
        unused.name = b"unused"
        unused.buffer = add_buffer(model, schema, np.asarray(model.buffers[tensor.buffer].data, np.uint8))
        graph.tensors.insert(0, unused)  # so that all others have other numbers
        graph.inputs, graph.outputs = _next(graph.inputs), _next(graph.outputs)
        for op in graph.operators:
            op.inputs, op.outputs = _next(op.inputs), _next(op.outputs)
        for one in (m for s in model.signatureDefs for m in (*s.inputs, *s.outputs)):
            one.tensorIndex += 1
    return pack(model)


def _next(vector: Any) -> Any:
    return np.array([k + (k >= 0) for k in vector], np.int32)


@pytest.mark.parametrize("scheme", DEFAULT_SCHEMES)
def test_a_pruned_flatbuffer_answers_bit_for_bit_and_is_no_larger(converted: Path, scheme: str) -> None:
    content = (converted / f"{scheme}.tflite").read_bytes()
    littered = _littered(content, 2)
    assert len(littered) > len(content)
    pruned = prune(littered)
    assert len(pruned) <= len(content)
    assert count_ops(pruned) == count_ops(content)
    np.testing.assert_array_equal(_run(pruned), _run(content))
    before, after = parse_contents("before", content), parse_contents("after", pruned)
    assert (after.signatures, after.inputs, after.outputs) == (before.signatures, before.inputs, before.outputs)
    assert after.min_runtime == before.min_runtime  # metadata have buffers, too


def test_a_pruned_file_is_unchanged(converted: Path) -> None:
    content = (converted / "dynamic.tflite").read_bytes()
    assert prune(content) == content


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_equal_constants_are_stored_once_and_a_state_has_a_buffer_of_its_own(kinds: list[int]) -> None:
    """Constants 0 to 2 are distinguished by their bytes, 3 is a state with the bytes of 0."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [schema.BufferT()], [graph], []
    graph.tensors, graph.operators, graph.inputs = [], [], np.array([], np.int32)
    for kind in kinds:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.isVariable = b"t", np.array([64], np.int32), kind == 3
        tensor.buffer = add_buffer(model, schema, np.full(64, kind % 3, np.float32))
        graph.tensors.append(tensor)
    graph.outputs = np.arange(len(kinds), dtype=np.int32)
    pruned, _ = unpack(prune(pack(model)))
    buffers = [one.buffer for one in pruned.subgraphs[0].tensors]
    assert [float(np.asarray(pruned.buffers[b].data, np.uint8).view(np.float32)[0]) for b in buffers] == [
        float(kind % 3) for kind in kinds
    ]
    states = [b for b, kind in zip(buffers, kinds, strict=True) if kind == 3]
    assert len(set(states)) == len(states)
    constants = {b for b, kind in zip(buffers, kinds, strict=True) if kind != 3}
    assert len(constants) == len({kind for kind in kinds if kind != 3})
    assert not constants.intersection(states)
