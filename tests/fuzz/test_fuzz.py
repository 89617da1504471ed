"""Damaged input for every reader: a little here on each run, and with EDGETF_FUZZ_SECONDS (`make fuzz`) for long."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Small
from tests.fuzz.core import Format, Made, is_accepted, reduced, run_case
from tests.fuzz.formats import FAST, WITH_TENSORFLOW, all_formats
from tests.fuzz.guided import Decisions
from tests.fuzz.loop import fuzz

_SECONDS = float(os.environ.get("EDGETF_FUZZ_SECONDS", "0"))
_FEW, _FEWER = 50, 15  # cases of a format on each run
_FIRST = 1_000_000  # the number of the first case, the same on each run


@pytest.fixture(scope="session")
def made(
    small: Small, converted: Path, reference: Path, benchmarked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    whole = Made(small.saved_model, small.keras_file, small.samples, converted, reference, benchmarked)
    return reduced(whole, tmp_path_factory.mktemp("reduced"))


@pytest.fixture(scope="session")
def formats(made: Made) -> dict[str, Format]:
    return all_formats(made)


def test_the_formats_match_the_lists(formats: dict[str, Format]) -> None:
    assert list(formats) == [name for name in formats if name in (*FAST, *WITH_TENSORFLOW)]
    assert len(formats) == len(FAST) + len(WITH_TENSORFLOW)


@pytest.mark.parametrize("name", [*FAST, *WITH_TENSORFLOW])
def test_a_sound_file_is_accepted(name: str, formats: dict[str, Format], tmp_path: Path) -> None:
    for k, seed in enumerate(formats[name].seeds):
        (folder := tmp_path / str(k)).mkdir()
        if name not in ("variables", "images", "benchmark.json", "npy", "tfrecord"):  # their use is partly random
            assert is_accepted(formats[name], Random(0), folder, seed)


@pytest.mark.parametrize("name", [one for one in (*FAST, *WITH_TENSORFLOW) if one not in ("keras", "h5")])
def test_a_damaged_file_is_refused_in_one_line_or_used_without_a_fault(name: str, formats: dict[str, Format]) -> None:
    @settings(max_examples=_FEWER if name in _DEAR else _FEW, suppress_health_check=list(HealthCheck), database=None)
    @given(st.randoms(use_true_random=False))
    def try_one(chance: object) -> None:
        run_case(formats[name], chance)  # type: ignore[arg-type]  # hypothesis's Random

    try_one()


_DEAR = ("benchmark.json", "ladder", "history", "bundle", "measurement.json", "budgets.toml", "tfrecord", "images")


@pytest.mark.parametrize("name", ["keras", "h5"])
def test_a_case_that_hangs_or_crashes_ends_with_its_process(name: str, formats: dict[str, Format]) -> None:
    figures = fuzz(formats[name], _FIRST, 2.0, _FEW)
    assert figures.cases > 0
    assert not figures.faults


@pytest.mark.skipif(not _SECONDS, reason="it takes an hour: make fuzz")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("module", ["tests.fuzz", "tests.fuzz.guided"])
def test_for_long(made: Made, module: str) -> None:
    folders = [str(getattr(made, field.name)) for field in fields(made)]
    command = [sys.executable, "-m", module, str(_SECONDS / 2), *folders]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_decisions_from_bytes_are_chance_and_stay_the_same() -> None:
    """atheris changes the bytes of a case: the same bytes must be the same damage, and other bytes another."""
    data = bytes(range(256))
    one, same, other = Decisions(data), Decisions(data), Decisions(data[::-1])
    drawn = [one.randrange(1000) for _ in range(300)]  # more than there are bytes
    assert drawn == [same.randrange(1000) for _ in range(300)]
    assert drawn != [other.randrange(1000) for _ in range(300)]
    assert len(set(drawn[-50:])) > 25
    assert 0 <= one.random() < 1
