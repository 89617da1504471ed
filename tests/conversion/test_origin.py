from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from edgetf.conversion.origin import as_saved_model, describe, is_stale, stale_warnings
from edgetf.conversion.savedmodel import read_source
from edgetf.results import Origin, Source
from tests.conftest import Small, ignore


@pytest.fixture
def copies(small: Small, tmp_path: Path) -> dict[str, Path]:
    shutil.copy(small.keras_file, tmp_path / "model.keras")
    shutil.copytree(small.saved_model, tmp_path / "saved_model")
    return {"keras": tmp_path / "model.keras", "saved_model": tmp_path / "saved_model"}


def _source(model: Path, small: Small) -> Source:
    return replace(read_source(small.saved_model, None), origin=describe(model))


def test_a_keras_file_is_the_model_of_its_export(small: Small) -> None:
    with as_saved_model(small.keras_file, False, ignore) as found:
        assert read_source(found.folder, None).digest == read_source(small.saved_model, None).digest
        assert found.origin.notes == ()
    assert not found.folder.exists()


def test_another_model_at_the_path_is_stale_and_the_same_one_saved_again_is_not(
    small: Small, copies: dict[str, Path]
) -> None:
    import keras

    sources = {name: _source(path, small) for name, path in copies.items()}
    model = keras.models.load_model(small.keras_file)
    model.save(copies["keras"])
    shutil.rmtree(copies["saved_model"])
    model.export(str(copies["saved_model"]), verbose=False)
    assert stale_warnings(sources) == []
    model.set_weights([weight * 1.1 for weight in model.get_weights()])
    model.save(copies["keras"])
    shutil.rmtree(copies["saved_model"])
    model.export(str(copies["saved_model"]), verbose=False)
    warnings = stale_warnings({**sources, "int8": sources["keras"]})
    assert len(warnings) == 2
    assert warnings[0].startswith(f"{copies['keras']} has changed since keras, int8 came from it")


def test_a_missing_model_is_not_stale_and_a_damaged_one_is(small: Small, copies: dict[str, Path]) -> None:
    sources = {name: _source(path, small) for name, path in copies.items()}
    copies["keras"].write_bytes(b"half-written")
    assert is_stale(sources["keras"])
    copies["keras"].unlink()
    assert not is_stale(sources["keras"])
    assert not is_stale(replace(sources["keras"], origin=None))
    everything = replace(sources["keras"], origin=Origin("/", "0" * 64, ()))
    assert not is_stale(everything)  # no model: nothing below it is read


def test_the_optimizer_state_does_not_change_the_identity_of_a_keras_file(small: Small, tmp_path: Path) -> None:
    import keras

    model = keras.models.load_model(small.keras_file)
    model.save(tmp_path / "a.h5")
    shutil.copy(tmp_path / "a.h5", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file.create_dataset("optimizer_weights/iteration", data=7)
    assert describe(tmp_path / "a.h5").digest == describe(tmp_path / "b.h5").digest
