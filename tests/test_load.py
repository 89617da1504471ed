"""The scripts that measure large inputs, with small ones: what they run works, and what they print is measured."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Small
from tests.performance.cost import HERE
from tests.performance.large_model import compare


def test_a_large_model_is_converted_by_both_sides_and_inspected(small: Small, tmp_path: Path) -> None:
    found = list(compare(small.saved_model, {"this": HERE}, tmp_path))
    assert [(what, name) for what, name, _, _ in found] == [
        ("convert", "TensorFlow"),
        ("convert", "this"),
        ("inspect", "this"),
    ]
    assert all(cost.seconds > 0 and cost.megabytes > 1 and 0 < size < 1 for _, _, cost, size in found)
