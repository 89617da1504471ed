from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgetf.benchmarks.diagnosis.layers import blame
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.results import Status
from edgetf.samples import Array
from edgetf.schemes import SCHEMES
from tests.cases import onehot_int8
from tests.conftest import ignore


def _run(path: Path, digits: Array) -> NDArray[np.float64]:
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    found: NDArray[np.float64] = np.concatenate([runner(digits=one[None])["state"] for one in digits])
    return found


def test_one_hot_in_int8_reaches_the_sqnr_of_its_scheme(tmp_path: Path) -> None:
    """The byte of off_value used to read as 0.502, and the answers were at -2 dB."""
    onehot_int8.make(tmp_path)
    options = ConvertOptions(("float32", "int8"), samples=tmp_path / "train.npz")
    float32, int8 = convert(tmp_path / "saved_model", tmp_path / "out", options, ignore).variants
    assert float32.status is int8.status is Status.OK
    assert "ONE_HOT" in int8.notes[0]
    digits = np.load(tmp_path / "test.npz")["digits"]
    exact, found = (_run(tmp_path / "out" / f"{name}.tflite", digits) for name in ("float32", "int8"))
    least = SCHEMES["int8"].min_sqnr_db
    assert least is not None
    assert 10 * np.log10(np.var(exact) / np.mean((found - exact) ** 2)) > least + 5

    layers = blame(tmp_path / "out" / "float32.tflite", tmp_path / "out" / "int8.tflite", {"digits": digits})
    [one_hot] = [layer for layer in layers if layer.op == "ONE_HOT"]  # it was left out: its input is whole numbers
    assert one_hot.local_db == 120.0
