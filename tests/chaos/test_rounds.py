"""A few rounds of random kills, on commands that need no TensorFlow; `make chaos` plays many, on all commands."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edgetf.results import read_benchmark
from tests.chaos.rounds import Command, Place, complete_bundle, complete_folder, play


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
