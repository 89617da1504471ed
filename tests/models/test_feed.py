from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetf.errors import EdgetfError
from edgetf.models.feed import feed
from edgetf.results import TensorSpec
from edgetf.samples import LABELS, write_arrays

ROWS = np.arange(40, dtype=np.float32).reshape(20, 2)
SPEC = TensorSpec("x", (None, 2), "float32")


def _labels(batches: Any) -> list[int]:
    return [int(label) for _, labels in batches for label in labels]


@pytest.mark.parametrize("name", ["s.npz", "s.tfrecord.gz"])
@pytest.mark.parametrize("cache", [False, True])
def test_each_pass_has_every_sample_once_in_an_order_that_the_seed_decides(
    tmp_path: Path, name: str, cache: bool
) -> None:
    write_arrays(tmp_path / name, {"x": ROWS, LABELS: np.arange(20)}, 1 if name == "s.npz" else 3, force=False)
    one, same = (feed(tmp_path / name, [SPEC], 6, seed=5, cache=cache) for _ in range(2))
    first, second = _labels(one), _labels(one)
    assert sorted(first) == sorted(second) == [*range(20)]
    assert first != second
    assert _labels(same) == first
    assert _labels(feed(tmp_path / name, [SPEC], 6, seed=None)) == [*range(20)]
    for inputs, labels in one:
        np.testing.assert_array_equal(inputs["x"], ROWS[labels])


def test_samples_without_labels_are_not_fed(tmp_path: Path) -> None:
    for name in ("s.npz", "s.tfrecord"):
        write_arrays(tmp_path / name, {"x": ROWS}, 1, force=False)
        with pytest.raises(EdgetfError, match="has no labels to train on"):
            feed(tmp_path / name, [SPEC], 4, seed=0)
