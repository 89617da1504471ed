"""Outputs without an axis for samples, with a varying number of rows, get a verdict by rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.bundle import BundleOptions, make_bundle
from edgetf.benchmarks.diagnosis.ladder import climb
from edgetf.benchmarks.diagnosis.twins import LadderOptions
from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.benchmarks.report.render import write_report
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.device.runner.verify import verify
from edgetf.results import Verdict, read_benchmark, read_reference
from tests.cases import nms
from tests.conftest import BLOCKS, SHORT, ignore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nms")
    nms.make(folder)
    for name in ("saved_model", "kept", "padded"):
        options = ConvertOptions(schemes=("float32", "int8"), samples=folder / "samples.npz")
        convert(folder / name, folder / f"{name}-out", options, ignore)
        place = folder / f"{name}-ref"
        make_reference(folder / name, folder / "samples.npz", place, ReferenceOptions(on=Place.CPU), ignore)
        timing = BenchmarkOptions(reference=place, timing=SHORT, blocks=BLOCKS, patience=1)
        benchmark([folder / f"{name}-out"], LocalDevice(), folder / f"{name}-bench", timing, ignore)
    return folder


def test_rows_are_padded_and_their_number_is_stored(made: Path) -> None:
    document = read_reference(made / "saved_model-ref")
    found = load_outputs(document, made / "saved_model-ref")
    counts = found.shapes["boxes"][:, 0]
    assert len(set(counts)) > 1
    assert found.values["boxes"].shape == (80, counts.max(), 4)
    assert found.values["scores"].shape == (80, counts.max())
    assert np.array_equal(found.shapes["scores"][:, 0], counts)
    for k, count in enumerate(counts):
        assert (np.asarray(found.values["scores"][k, :count]) > 0.5).all()
        assert not np.asarray(found.values["scores"][k, count:]).any()
    assert found.unbatched == found.loose == {"boxes", "scores"}


def test_rows_that_tflite_adds_are_detected(made: Path) -> None:
    """TFLite's NMS always gives the maximum number of rows; those after the kept ones are not the model's."""
    for result in read_benchmark(made / "saved_model-bench").results:
        assert result.parity is not None
        assert result.parity.verdict is Verdict.FAIL
        assert result.parity.reason.startswith("boxes:rows: it is the same for every sample")


@pytest.mark.parametrize("name", ["kept", "padded"])
def test_float32_passes_and_a_row_that_int8_loses_is_detected(made: Path, name: str) -> None:
    results = {result.variant: result for result in read_benchmark(made / f"{name}-bench").results}
    parity = results["float32"].parity
    assert parity is not None
    assert parity.verdict is Verdict.PASS, parity.reason
    outputs = [output.name for output in parity.outputs]
    rows = ["boxes:rows", "scores:rows"]
    assert [output for output in outputs if output.endswith(":rows")] == (rows if name == "kept" else [])
    int8 = results["int8"].parity
    assert int8 is not None
    if name == "kept" and int8.outputs[0].max_abs > 0:  # int8 keeps a different number of rows for some sample
        assert int8.verdict is not Verdict.PASS


def test_the_ladder_a_bundle_and_the_report_support_them(made: Path) -> None:
    asked = LadderOptions("float32", [made / "kept-out"], made / "kept-ref")
    assert climb(made / "kept-bench", asked, ignore).broken is None
    make_bundle(made / "kept-bench", made / "kept.edgetf", BundleOptions(asked, unproven=True), ignore)
    assert verify(made / "kept.edgetf", "litert", ignore).problems == []
    write_report(made / "kept-bench", made / "report.html", force=False)
    assert "boxes" in (made / "report.html").read_text()
