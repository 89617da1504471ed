"""Verdicts on four networks whose outputs or labels have special forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.results import LabelUse, Parity, Verdict
from tests.cases import binary_logits, segmentation_argmax, tcn_dilated, yolo_pass
from tests.conftest import BLOCKS, SHORT, ignore

pytestmark = pytest.mark.slow


def _judge(make: Callable[[Path], None], folder: Path) -> dict[str, Parity]:
    """The parity of float32, float16 and int8, with the default budgets."""
    make(folder)
    options = ConvertOptions(("float32", "float16", "int8"), samples=folder / "train.npz")
    convert(folder / "saved_model", folder / "out", options, ignore)
    on_cpu = ReferenceOptions(on=Place.CPU)
    make_reference(folder / "saved_model", folder / "test.npz", folder / "ref", on_cpu, ignore)
    how = BenchmarkOptions(reference=folder / "ref", timing=SHORT, blocks=BLOCKS, patience=1)
    found = benchmark([folder / "out"], LocalDevice(), folder / "bench", how, ignore)
    return {result.variant: result.parity for result in found.results if result.parity}


def test_a_detector_whose_scores_are_all_zero_fails_and_the_columns_are_named(tmp_path: Path) -> None:
    found = _judge(yolo_pass.make, tmp_path)
    assert found["float32"].verdict is found["float16"].verdict is Verdict.PASS
    assert found["int8"].verdict is Verdict.FAIL
    assert "columns 4 to 6 of axis 2" in found["int8"].reason
    [output] = found["int8"].outputs
    assert output.centred_db is not None
    assert output.centred_db > 20  # over all columns it would pass


def test_a_map_of_class_numbers_is_judged_by_the_positions_that_are_right(tmp_path: Path) -> None:
    found = _judge(segmentation_argmax.make, tmp_path)
    assert {name: parity.verdict for name, parity in found.items()} == dict.fromkeys(found, Verdict.PASS)
    by_output = {metric.output: metric for metric in found["int8"].metrics}
    assert by_output["map"].reference == by_output["probs"].reference > 85
    [labels] = {output.labels for output in found["int8"].outputs}
    assert labels is LabelUse.POSITIONS


def test_one_logit_has_an_accuracy_by_the_threshold_0(tmp_path: Path) -> None:
    found = _judge(binary_logits.make, tmp_path)
    assert found["float32"].verdict is found["float16"].verdict is Verdict.PASS
    for parity in found.values():
        accuracy = parity.outputs[0].accuracy
        assert accuracy is not None
        assert accuracy.reference > 0.9


def test_a_better_variant_passes_if_a_worse_one_passes(tmp_path: Path) -> None:
    found = _judge(tcn_dilated.make, tmp_path)
    assert {name: parity.verdict for name, parity in found.items()} == dict.fromkeys(found, Verdict.PASS)
    widths = {name: parity.metrics[0].high - parity.metrics[0].low for name, parity in found.items()}
    assert widths["float16"] < widths["int8"]
