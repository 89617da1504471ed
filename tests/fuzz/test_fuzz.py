"""Damaged input for every reader: a minute here on each run, and with EDGETF_FUZZ_SECONDS (`make fuzz`) for long.

All formats share the minute; a format whose part is over ends after a few cases. In CI the cases and their order are
the same each time, and a fast machine gets further.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic
from unittest import SkipTest

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetf.samples.formats import SAMPLE_FILES
from tests.conftest import Small
from tests.fuzz.core import Format, Made, is_accepted, reduced, run_case
from tests.fuzz.formats import BY_A_CHILD, NAMES, all_formats
from tests.fuzz.guided import Decisions
from tests.fuzz.loop import fuzz
from tests.fuzz.models import use_child

_SECONDS = float(os.environ.get("EDGETF_FUZZ_SECONDS", "0"))
_BUDGET_S = 60.0  # of a normal run, for all formats together
_SHARE_S = _BUDGET_S / len(NAMES)
_LEAST, _MOST = 5, 200  # cases of a format on each run
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
    assert sorted(formats) == sorted(NAMES)
    assert {name for name in BY_A_CHILD if not formats[name].in_child} == set()
    assert {suffix.split(".")[1] for suffix in SAMPLE_FILES} <= set(formats)


_CHOOSING = ("variables", "images", "benchmark.json", "npy", "tfrecord", "bytes over SSH")  # their use is partly random


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_file_is_accepted(name: str, formats: dict[str, Format], tmp_path: Path) -> None:
    for k, seed in enumerate(formats[name].seeds):
        (folder := tmp_path / str(k)).mkdir()
        if name not in _CHOOSING:
            assert is_accepted(formats[name], Random(0), folder, seed)


class Share:
    """Runs the cases of a format until its part of the time is over: at least _LEAST, and all that a fault needs.

    The last one raises SkipTest, which hypothesis passes on, and ends.
    """

    def __init__(self, one: Format, seconds: float) -> None:
        self.cases = 0
        self._format, self._end, self._failed = one, monotonic() + seconds, False

    def run(self, chance: Random) -> None:
        self.cases += 1
        try:
            run_case(self._format, chance)
        except BaseException:
            self._failed = True  # hypothesis looks for the smallest damage that does this
            raise
        if self.cases >= _LEAST and not self._failed and monotonic() > self._end:
            raise SkipTest("the time is over")


@pytest.mark.filterwarnings("ignore:coroutine 'Queue.join' was never awaited")  # of the SSH server, which is closed
@pytest.mark.parametrize("name", [one for one in NAMES if one not in BY_A_CHILD])
def test_a_damaged_file_is_refused_in_one_line_or_used_without_a_fault(name: str, formats: dict[str, Format]) -> None:
    share = Share(formats[name], _SHARE_S)

    @settings(max_examples=_MOST, suppress_health_check=list(HealthCheck), database=None)
    @given(st.randoms(use_true_random=False))
    def try_one(chance: object) -> None:
        share.run(chance)  # type: ignore[arg-type]  # hypothesis's Random

    with suppress(SkipTest):
        try_one()
    assert share.cases >= _LEAST


def test_a_format_whose_time_is_over_gets_a_few_cases_and_a_fault_all_that_it_needs() -> None:
    def use(chance: Random, folder: Path, content: bytes) -> None:
        assert content != b"bad"

    sound, bad = (Format("x", (one,), lambda chance, content: content, use) for one in (b"good", b"bad"))
    share = Share(sound, 0.0)
    for _ in range(_LEAST - 1):
        share.run(Random(0))
    with pytest.raises(SkipTest):
        share.run(Random(0))
    share = Share(bad, 0.0)
    for _ in range(99):
        with pytest.raises(AssertionError):
            share.run(Random(0))


@pytest.mark.parametrize("name", BY_A_CHILD)
def test_a_case_that_hangs_or_crashes_ends_with_its_process(name: str, formats: dict[str, Format]) -> None:
    figures = fuzz(formats[name], _FIRST, _SHARE_S, _MOST)
    assert figures.cases > 0
    assert not figures.faults


@pytest.mark.parametrize("name", BY_A_CHILD)
def test_a_damaged_keras_file_is_refused_in_one_line_by_the_child_that_reads_it(
    name: str, formats: dict[str, Format]
) -> None:
    read = replace(formats[name], use=partial(use_child, f".{name}"))
    for number in range(3):
        run_case(read, Random(number))


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
