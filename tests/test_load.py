"""The scripts that measure large inputs, with small ones: what they run works, and what they print is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.performance import large_model, many_operations, many_samples
from tests.performance.cost import HERE


def test_a_large_model_is_converted_and_inspected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large_model.make_model(0.1, tmp_path / "model")
    found = list(large_model.compare(tmp_path / "model", {"this": HERE}, tmp_path))
    assert [what for what, _, _ in found] == ["convert", "inspect"]
    assert all(cost.seconds > 0 and cost.megabytes > 1 for _, _, cost in found)
    alone = tmp_path / "alone.tflite"
    monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path / "model"), str(alone)])
    exec(large_model.ALONE, {})  # what TensorFlow's converter alone is measured by
    assert 100_000 <= alone.stat().st_size < 110_000


def test_a_model_of_many_operations_is_converted_and_all_its_layers_are_compared(tmp_path: Path) -> None:
    many_operations.make_model(6, tmp_path / "model")
    found = list(many_operations.compare(tmp_path / "model", 6, {"this": HERE}, tmp_path))
    assert [what for what, _, _ in found][-2:] == ["compare layers", "explain float16"]
    assert all(cost.seconds > 0 for _, _, cost in found)


def test_a_reference_of_many_samples_is_watched(tmp_path: Path) -> None:
    many_samples.make_model(tmp_path / "model")
    [(count, name, cost)] = many_samples.compare(tmp_path / "model", (100,), {"this": HERE}, tmp_path)
    assert (count, name) == (100, "this")
    assert cost.megabytes > 10
    assert (tmp_path / "this-100" / "reference.json").is_file()
