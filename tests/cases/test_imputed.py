"""NaN in samples is refused, with a hint at the option that allows it; with it, every command works.

So it does with an input named `labels`."""

from __future__ import annotations

import json
from pathlib import Path

from edgetf.results import Verdict, read_benchmark
from tests.cases import imputed
from tests.conftest import Run


def test_nan_that_the_model_imputes_is_allowed_with_the_option(tmp_path: Path, edgetf: Run) -> None:
    imputed.make(tmp_path)
    samples = ("--samples", "samples.npz")
    refused = edgetf("reference", "saved_model", *samples, "-o", "ref", "--on", "cpu")
    assert refused.returncode == 1
    assert "'x' holds NaN" in refused.stderr
    assert "--allow-nan" in refused.stderr
    made = edgetf("reference", "saved_model", *samples, "-o", "ref", "--on", "cpu", "--allow-nan")
    assert made.returncode == 0, made.stderr
    schemes = ("--scheme", "float32", "--scheme", "int8")
    converted = edgetf("convert", "saved_model", *samples, "-o", "out", "--allow-nan", *schemes)
    assert converted.returncode == 0, converted.stderr
    ranges = json.loads((tmp_path / "out" / "ranges.json").read_text())["ranges"]
    assert all(abs(one["low"]) < 100 and abs(one["high"]) < 100 for one in ranges)
    timed = edgetf("benchmark", "out", "--reference", "ref", "-o", "bench", "--blocks", "2")  # the reference allows it
    assert timed.returncode == 0, timed.stderr
    float32 = read_benchmark(tmp_path / "bench").results[0]
    assert float32.parity is not None
    assert float32.parity.verdict is Verdict.PASS
    accuracy = float32.parity.outputs[0].accuracy  # `labels_`, in addition to the input `labels`
    assert accuracy is not None
    assert accuracy.reference == 1.0
