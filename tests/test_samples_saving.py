"""The line of Python that saves samples: it runs, and edgetf reads what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.errors import EdgetfError
from edgetf.results import TensorSpec
from edgetf.samples import load_samples
from edgetf.samples.core import label_name
from edgetf.samples.saving import needs_flex, savez, why_not

VALUES = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.mark.parametrize("names", [["image"], ["labels"], ["labels", "labels_"], ["class", "input-1", "a.b/c", "x"]])
def test_the_call_saves_samples_under_any_names(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call = savez("samples.npz", {**dict.fromkeys(names, "array"), label_name(names): "labels"})
    exec(call, {"np": np, "array": VALUES, "labels": np.arange(3)})
    samples = load_samples("samples.npz", [TensorSpec(name, (None, 2), "float32") for name in names])
    assert set(samples.inputs) == set(names)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 2]


def test_names_of_the_arguments_of_savez_have_no_call() -> None:
    assert savez("samples.npz", {"file": "array", "x": "array"}) == savez("s.npz", {"allow_pickle": "array"}) == ""


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "qint8", "string", "variant"])
def test_types_that_numpy_lacks_are_refused_without_an_expression_that_fails(dtype: str, tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")  # registers some of them with numpy
    np.savez(tmp_path / "s.npz", x=VALUES)
    spec = TensorSpec("x", (None, 2), dtype)
    with pytest.raises(EdgetfError, match=r"'x' takes .*, which samples cannot hold") as caught:
        load_samples(tmp_path / "s.npz", [spec])
    assert "astype" not in caught.value.hint
    assert needs_flex([spec]) == (dtype == "string")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64", "complex64"])
def test_types_of_numpy_can_be_saved(dtype: str) -> None:
    assert why_not(TensorSpec("x", (None, 2), dtype)) is None
