from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf import unpacking
from edgetf.flatbuffer import data_of, pack, unpack
from edgetf.unpacking import listed


@pytest.fixture
def content(converted: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A variant of which what was read is kept."""
    monkeypatch.setattr(unpacking, "_LEAST_KEPT", 0)
    monkeypatch.setattr(unpacking, "_READ", type(unpacking._READ)())
    return (converted / "float32.tflite").read_bytes()


def test_a_model_that_is_read_again_is_the_same_and_has_objects_of_its_own(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = unpack(content)
    packed = pack(first)
    first.subgraphs[0].tensors[0].name = b"changed"
    first.subgraphs[0].operators.pop()
    del first.buffers[1:]
    monkeypatch.setattr(unpacking, "_read", None)  # it is not read again
    second, _ = unpack(content)
    assert pack(second) == packed


def test_constants_are_views_of_the_bytes_that_were_read(content: bytes) -> None:
    whole = np.frombuffer(content, np.uint8)
    for _ in range(2):
        model, _ = unpack(content)
        stored = [data_of(model, k) for k in range(len(model.buffers))]
        assert sum(map(len, stored)) > 1000
        assert all(np.shares_memory(one, whole) for one in stored if len(one))


def test_vectors_of_integers_are_lists_that_can_be_changed(content: bytes) -> None:
    model, _ = unpack(content)
    for operator in model.subgraphs[0].operators:
        assert isinstance(operator.inputs, list)
    for tensor in model.subgraphs[0].tensors:
        assert tensor.shape is None or listed(tensor.shape) == tensor.shape


def test_few_models_are_kept_and_none_that_is_large(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = unpack(content)
    for k in range(10):
        model.description = f"{k}".encode()
        unpack(pack(model))
    assert len(unpacking._READ) == unpacking._KEPT
    unpacking._READ.clear()
    monkeypatch.setattr(unpacking, "_LARGEST_KEPT", len(content) - 1)
    unpack(content)
    assert not unpacking._READ
