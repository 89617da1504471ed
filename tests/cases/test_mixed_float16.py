from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.results import Status
from tests.cases import mixed_float16
from tests.conftest import ignore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    mixed_float16.make(folder)
    return folder


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_file_in_half_precision_is_exported_under_float32_with_a_note(made: Path, name: str, tmp_path: Path) -> None:
    options = ConvertOptions(("float32", "int8"), samples=made / "samples.npz")
    conversion = convert(made / name, tmp_path / "out", options, ignore)
    assert [variant.status for variant in conversion.variants] == [Status.OK, Status.OK]
    assert conversion.source.origin is not None
    assert "exported in float32" in conversion.source.origin.notes[0]
    if name == "model.keras":
        import keras

        place, options_ = tmp_path / "ref", ReferenceOptions(on=Place.CPU)
        reference = make_reference(made / name, made / "samples.npz", place, options_, ignore)
        assert reference.source.origin == conversion.source.origin
        assert reference.source.digest == conversion.source.digest
        assert reference.precision.dtype == "float32"
        [ours] = load_outputs(reference, place).values.values()
        theirs = keras.models.load_model(made / name, compile=False)(np.load(made / "samples.npz")["image"])
        assert np.abs(ours - np.asarray(theirs)).max() < 0.01  # the same weights, rounded differently by the export


def test_a_saved_model_in_half_precision_gives_the_reason(made: Path, tmp_path: Path) -> None:
    conversion = convert(made / "saved_model", tmp_path / "out", ConvertOptions(("float32",)), ignore)
    [variant] = conversion.variants
    assert variant.error is not None
    assert variant.error.message == "the graph computes in float16, and TFLite computes in float32"
    assert "give the Keras file" in variant.error.hint
