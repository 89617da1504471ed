"""The times that a device returned, as they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.timing.rounds import load_timings
from edgetf.device.runner.job import MEASUREMENT_SCHEMA, Measurement
from edgetf.errors import EdgetfError

_MEASURED = Measurement(MEASUREMENT_SCHEMA, "litert", "", "", "", {}, {}, {}, 1, timings="timings.npz")


def _write(folder: Path, **arrays: list[int]) -> None:
    times = {"invoke_ns": [10, 20, 30], "end_to_end_ns": [11, 21, 31], **arrays}
    np.savez(folder / "timings.npz", **{name: np.array(values, np.int64) for name, values in times.items()})


def test_what_other_programs_took_of_a_run_is_not_its_time(tmp_path: Path) -> None:
    _write(tmp_path, invoke_waited_ns=[0, 12, 5], end_to_end_waited_ns=[0, 0, 1])
    times = load_timings(_MEASURED, tmp_path)
    assert times is not None
    assert [times[name].tolist() for name in ("invoke_ns", "end_to_end_ns")] == [[10, 8, 25], [11, 21, 30]]


def test_times_are_read_as_they_are_if_the_device_does_not_count_waits(tmp_path: Path) -> None:
    _write(tmp_path)
    times = load_timings(_MEASURED, tmp_path)
    assert times is not None
    assert times["invoke_ns"].tolist() == [10, 20, 30]


@pytest.mark.parametrize("waited", [[0, 20, 0], [0, -1, 0], [0, 0], [-(2**63)] * 3])
def test_impossible_waits_are_refused(waited: list[int], tmp_path: Path) -> None:
    _write(tmp_path, invoke_waited_ns=waited)
    with pytest.raises(EdgetfError, match="the times of a run"):
        load_timings(_MEASURED, tmp_path)
