from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.results import Status
from tests.cases import augmented
from tests.conftest import ignore


@pytest.mark.parametrize(("model", "samples"), [("model.keras", "samples.npz"), ("uint8.keras", "uint8.npz")])
def test_augmentation_is_not_part_of_what_is_exported(
    model: str, samples: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = tmp_path_factory.mktemp("augmented")
    augmented.make(made)
    options = ConvertOptions(("float32", "int8"), samples=made / samples)
    conversion = convert(made / model, tmp_path / "out", options, ignore)
    assert [variant.status for variant in conversion.variants] == [Status.OK, Status.OK]
    assert conversion.source.origin is not None
    assert conversion.source.origin.notes == ()  # the export computes what model(x, training=False) does
    reference = make_reference(made / model, made / samples, tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)
    assert reference.source.digest == conversion.source.digest
    [outputs] = load_outputs(reference, tmp_path / "ref").values.values()
    assert (outputs.argmax(axis=1) == np.load(made / samples)["labels"]).all()
