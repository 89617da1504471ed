"""The script that tries yardsticks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.performance.yardstick import TWIN, VARIANT, YARDSTICKS, Process, estimates, read, sources_of


def _process(random: np.random.Generator, common: float) -> Process:
    """A process whose times all have the factor `common`, and half of the time of other programs."""
    own = {name: common * np.exp(random.normal(0, 0.02, (30, 1))) * np.ones(4) for name in (VARIANT, *YARDSTICKS)}
    return Process({name: 2 * times for name, times in own.items()}, own)


def test_ratios_are_without_what_both_have_in_common_and_the_sources_are_found() -> None:
    random = np.random.default_rng(1)
    sessions = [
        [_process(random, 1e6 * factor * float(np.exp(random.normal(0, 0.05)))) for _ in range(4)]
        for factor in np.exp(random.normal(0, 0.2, 40))
    ]
    found = estimates(sessions)
    assert np.std(np.log(found["median without other programs, ms"])) > 0.15
    assert np.std(np.log(found[f"ratio to {TWIN}"])) < 0.01
    assert found["median by the clock, ms"] == pytest.approx(2 * np.array(found["median without other programs, ms"]))
    sources = sources_of(sessions)
    assert sources["sessions"] == pytest.approx(0.2, rel=0.3)
    assert sources["processes"] == pytest.approx(0.05, rel=0.3)
    assert sources["turns"] == pytest.approx(0.02, rel=0.1)


def test_a_process_measures_the_variant_and_all_yardsticks(converted: Path, tmp_path: Path) -> None:
    variant, out = str(converted / "float32.tflite"), tmp_path / "times.npz"
    module = "tests.performance.yardstick"
    subprocess.run([sys.executable, "-m", module, "--work", variant, variant, "0.01", str(out)], check=True)
    found = read(out)
    assert set(found.own) == {VARIANT, *YARDSTICKS}
    assert all(times.min() > 0 for times in found.own.values())
    assert all((found.own[name] <= found.clock[name]).all() for name in found.own)
