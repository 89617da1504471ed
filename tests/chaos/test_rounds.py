"""A few rounds of random kills, on commands that start no TensorFlow; `make chaos` plays many, on all commands."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place as On
from edgetf.benchmarks.reference.options import ReferenceOptions
from edgetf.files import write_document
from edgetf.results import read_benchmark, read_conversion
from edgetf.samples import make_samples, save_samples
from tests.chaos.rounds import Command, Place, complete_bundle, complete_folder, complete_tuning, play
from tests.conftest import Small, ignore


@pytest.mark.parametrize("seed", [1, 2])
def test_a_benchmark_that_is_ended_at_any_moment_is_resumed(converted: Path, tmp_path: Path, seed: int) -> None:
    out, chance = tmp_path / "out" / "bench", random.Random(seed)
    asked = ("benchmark", str(converted / "int8.tflite"), "-o", str(out), "--blocks", "2")
    command = Command("benchmark", asked, out, complete_folder(read_benchmark, "measurement"))
    out.parent.mkdir()
    assert play(command, Place(tmp_path / "place"), chance.uniform(0.5, 3.0), chance).faults == ()


def test_a_bundle_that_is_ended_at_any_moment_is_complete_or_missing(
    benchmarked: Path, converted: Path, reference: Path, tmp_path: Path
) -> None:
    out, chance = tmp_path / "out" / "float32.edgetf", random.Random(3)
    asked = ("bundle", str(benchmarked), "--variant", "float32", "--unproven", "--variants", str(converted))
    command = Command("bundle", (*asked, "--reference", str(reference), "-o", str(out)), out, complete_bundle)
    out.parent.mkdir()
    assert play(command, Place(tmp_path / "place"), chance.uniform(0.3, 1.5), chance).faults == ()


def test_a_tuning_that_is_ended_at_any_moment_is_resumed(small: Small, converted: Path, tmp_path: Path) -> None:
    import keras

    images = np.random.default_rng(1).normal(size=(600, 8, 8, 1)).astype(np.float32)
    labels = np.argmax(keras.models.load_model(small.keras_file).predict(images, verbose=0), axis=1)
    save_samples(tmp_path / "others.npz", make_samples("others", {"image": images}, labels))
    make_reference(small.saved_model, tmp_path / "others.npz", tmp_path / "ref", ReferenceOptions(on=On.CPU), ignore)
    pair = read_conversion(converted)
    kept = tuple(one for one in pair.variants if one.scheme in ("float32", "int8"))
    shutil.copytree(converted, tmp_path / "pair")
    write_document(tmp_path / "pair" / "conversion.json", replace(pair, variants=kept))
    out, chance = tmp_path / "out" / "tuned", random.Random(4)
    asked = ("tune", str(tmp_path / "pair"), "--reference", str(tmp_path / "ref"), "-o", str(out), "--max-drop", "6")
    out.parent.mkdir()
    command = Command("tune", asked, out, complete_tuning)
    assert play(command, Place(tmp_path / "place"), chance.uniform(2.0, 6.0), chance).faults == ()
