"""Full devices: if a device has no free space, that is reported as the reason of any failure on it.

In: an error, and the free KiB on the device. Out: the same error, or one that the device is full, and how much is
left. A write that fails shows as many things: no result, a short output, a job that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgetf.device.runner.job import Measurement, write_json
from edgetf.errors import Cause, DeviceError, UnreachableError
from edgetf.units import human_bytes

_LEAST_KIB = 1024  # below it, what was to be written did not fit: logs alone take more
_SAID = "No space left on device"  # strerror(ENOSPC)
_HINT = "free some space there, or set work_dir in devices.toml to another disk"


def read_kib(answer: str) -> int | None:
    """The number that `scripts.FREE` printed, or None if it printed something else."""
    text = answer.strip()
    return int(text) if text.isdecimal() and len(text) < 20 else None


def explain(error: DeviceError, name: str, place: str, free_kib: int | None) -> DeviceError:
    """The error itself, or an error that the device is full at `place`."""
    if not _is_full(error.message, free_kib):
        return error
    return DeviceError(f"{_no_room(name, place, free_kib)}; {error.message}", _HINT, Cause.UNFIT)


@contextmanager
def about(name: str, place: str, free_kib: Callable[[], int | None]) -> Iterator[None]:
    """Report a failure on a full device as a lack of space; `free_kib` returns the free space."""
    try:
        yield
    except UnreachableError:
        raise
    except DeviceError as error:
        raise explain(error, name, place, free_kib()) from error


def explain_measurement(found: Measurement, name: str, place: str, free_kib: int | None, out: Path) -> Measurement:
    """The measurement; if the device is full at `place`, its error says so, and the file is written again."""
    if found.error is None or not _is_full(found.error, free_kib):
        return found
    explained = replace(found, error=f"{_no_room(name, place, free_kib)}: {_HINT} ({found.error})")
    write_json(out / "measurement.json", explained)
    return explained


def _is_full(reason: str, free_kib: int | None) -> bool:
    return _SAID in reason or (free_kib is not None and free_kib < _LEAST_KIB)


def _no_room(name: str, place: str, free_kib: int | None) -> str:
    free = "" if free_kib is None else f": {human_bytes(free_kib * 1024)} are free"
    return f"there is no free space on {name}{free} in {place}"
