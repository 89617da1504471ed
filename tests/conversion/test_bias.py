"""Wrong biases are corrected, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.conversion.bias import correct_biases
from edgetf.conversion.constants import add_buffer
from edgetf.conversion.improve import Improver
from edgetf.conversion.repairs import HeldOut, NotWorthItError
from edgetf.flatbuffer import pack, unpack
from edgetf.results import RepairKind, RepairState, read_conversion
from edgetf.samples import Samples, load_samples
from tests.conftest import Small


def _int8_constants(content: bytes) -> list[bytes]:
    model, schema = unpack(content)
    constants = [one for one in model.subgraphs[0].tensors if one.type == schema.TensorType.INT8]
    return sorted(bytes(data) for one in constants if (data := model.buffers[one.buffer].data) is not None)


def _with_wrong_biases(content: bytes, steps: int) -> bytes:
    """All biases moved by so many of their own steps, and stored in one buffer where they are equal."""
    model, schema = unpack(content)
    for one in model.subgraphs[0].tensors:
        data = model.buffers[one.buffer].data
        if (
            one.type == schema.TensorType.INT32
            and data is not None
            and one.quantization
            and one.quantization.scale is not None
        ):
            wrong = np.frombuffer(bytes(data), np.int32) + steps
            one.buffer = add_buffer(model, schema, wrong.astype(np.int32))
    return pack(model)


@pytest.fixture(scope="module")
def samples(small: Small, converted: Path) -> Samples:
    return load_samples(small.samples, read_conversion(converted).source.inputs)


def test_wrong_biases_are_corrected_and_no_weight_changes(converted: Path, samples: Samples) -> None:
    exact, int8 = ((converted / f"{name}.tflite").read_bytes() for name in ("float32", "int8"))
    held_out = HeldOut(exact, samples)
    wrong = _with_wrong_biases(int8, 1500)
    corrected = correct_biases(wrong, exact, samples, held_out.split.some)
    assert held_out.score(wrong) < held_out.score(int8) - 6
    assert held_out.score(corrected) > held_out.score(int8) - 1
    assert _int8_constants(corrected) == _int8_constants(int8)


def test_corrected_biases_are_kept_only_if_they_help(
    converted: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, int8 = ((converted / f"{name}.tflite").read_bytes() for name in ("float32", "int8"))
    wrong = _with_wrong_biases(int8, 1500)
    content, [kept] = Improver(exact, samples).int8(wrong)
    assert (kept.kind, kept.state) == (RepairKind.BIAS, RepairState.KEPT)
    assert content != wrong
    monkeypatch.setattr("edgetf.conversion.improve.correct_biases", lambda *arguments: wrong)
    content, [refused] = Improver(exact, samples).int8(int8)
    assert refused.state is RepairState.REFUSED
    assert content == int8


def test_a_slow_or_needless_correction_is_not_tried_and_has_a_reason(
    converted: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, int8 = ((converted / f"{name}.tflite").read_bytes() for name in ("float32", "int8"))
    content, [little] = Improver(exact, samples).int8(exact)
    assert content == exact
    assert little.state is RepairState.NOT_TRIED
    assert "have at least 40 dB" in little.reason
    monkeypatch.setattr("edgetf.conversion.bias._MOST_S", 0.0)
    with pytest.raises(NotWorthItError, match="operations one after another would take about"):
        correct_biases(int8, exact, samples, range(8))
    content, [slow] = Improver(exact, samples).int8(int8)
    assert (content, slow.state) == (int8, RepairState.NOT_TRIED)


def test_a_correction_fails_for_another_graph(converted: Path, samples: Samples) -> None:
    exact, int8 = ((converted / f"{name}.tflite").read_bytes() for name in ("float32", "int8"))
    model, _ = unpack(exact)
    model.subgraphs[0].operators = list(model.subgraphs[0].operators)[:-1]
    with pytest.raises(ValueError, match="its operations are not those of float32"):
        correct_biases(int8, pack(model), samples, range(8))
