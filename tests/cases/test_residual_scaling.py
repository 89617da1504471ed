from __future__ import annotations

from pathlib import Path

import pytest

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.results import Status
from edgetf.schemes import DEFAULT_SCHEMES
from tests.cases import residual_scaling
from tests.conftest import ignore


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("residual-scaling")
    residual_scaling.make(folder)
    return folder


@pytest.mark.parametrize("model", ["residual", "temperature"])
def test_a_scalar_constant_does_not_prevent_any_scheme(place: Path, model: str) -> None:
    made = convert(place / model, place / f"{model}-out", ConvertOptions(samples=place / "train.npz"), ignore)
    assert [variant.scheme for variant in made.variants] == list(DEFAULT_SCHEMES)
    for variant in made.variants:
        assert variant.status is Status.OK, variant.error
        assert variant.ran_in is not None
