"""Read results of a device: a measurement in a folder, events in lines. They are untrusted input.

Out: plain values whose texts are printable and whose file names are in the folder; or a failure of the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgetf.device.runner.job import MEASUREMENT_SCHEMA, Measurement
from edgetf.errors import DeviceError, EdgetfError, NoRoomError
from edgetf.events import Event, Note, Phase, Progress, from_line
from edgetf.figures import CoverageSource
from edgetf.files import from_plain, read_document, to_plain
from edgetf.system import number_of
from edgetf.texts import all_printable, printable

_FIGURE = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")
_MEGAHERTZ, _CORES = ("frequency_mhz", "frequency_max_mhz"), ("load_1min", "others_cores", "waited_share")
_STATE = {
    **dict.fromkeys((*_MEGAHERTZ, *_CORES, "temperature_c", "swap_used_mib"), _FIGURE),
    "throttled": re.compile(r"0x[0-9a-fA-F]{1,16}|[0-9]{1,3}"),
}
_MOST = 1e18  # nanoseconds in 30 years


def refuse_full(device: str, error: str) -> None:
    """Raise NoRoomError if the output of the runner means that it could not store its measurements."""
    if number_of(OSError(error)) is not None:
        hint = "free some space there, and run the same command again"
        raise NoRoomError(f"the runner on {device} could not store its measurements: {error}", hint)


def read_measurement(device: str, folder: Path) -> Measurement:
    """Read `measurement.json` in `folder`. Raises DeviceError if the file is missing or damaged."""
    path = folder / "measurement.json"
    try:
        plain = all_printable(to_plain(read_document(path, Measurement, MEASUREMENT_SCHEMA, _upgrade)))
    except EdgetfError as error:
        raise DeviceError(f"the answer of {device} cannot be read: {error.message}", "run it again") from error
    for state in (plain["state_before"], plain["state_after"], *(one["state"] for one in plain["sustained"] or ())):
        _keep_sane(state)
    found = from_plain(plain, Measurement)
    for problem in _problems(found):
        raise DeviceError(f"the answer of {device} cannot be read: {problem}", "run it again")
    return found


def _upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """A stored document of an earlier schema as one of this: in 3, `summary` was called `told`; 4 lacked coverage."""
    if plain.get("schema") == 3:
        plain = {"summary" if key == "told" else key: value for key, value in plain.items()} | {"schema": 4}
    return plain | {"schema": MEASUREMENT_SCHEMA} if plain.get("schema") == 4 else plain


def _keep_sane(state: dict[str, str]) -> None:
    """Remove values of the device's state that should be numbers and are not: they only inform."""
    for name in [name for name, text in state.items() if name in _STATE and not _STATE[name].fullmatch(text)]:
        del state[name]


def _problems(found: Measurement) -> Iterator[str]:
    """Descriptions of impossible values in a measurement."""
    counts: list[tuple[str, float]] = [("sustained.runs", window.runs) for window in found.sustained or ()]
    counts += [("summary.n", found.summary.n)] if found.summary else []
    if found.coverage is not None and found.coverage.source not in {source.value for source in CoverageSource}:
        yield f"coverage.source is {found.coverage.source}"
    counts += [("samples.n", found.samples.n), ("samples.seconds", found.samples.seconds)] if found.samples else []
    yield from (f"{name} is {count}" for name, count in counts if not 0 < count < _MOST)
    for name in _files(found):
        if name in ("", ".", "..") or Path(name).name != name:
            yield f"{name} is not a file of its own"


def read_events(lines: str) -> Iterator[Event]:
    """The events in complete lines; anything else than an event that a device may send is ignored."""
    for line in lines.splitlines():
        message = from_line(line)
        if isinstance(message, Phase):
            yield Phase(printable(message.name))
        elif isinstance(message, Note):
            yield Note(printable(message.text))
        elif isinstance(message, Progress):
            yield Progress(message.done, message.of)


def _files(measurement: Measurement) -> Iterator[str]:
    if measurement.timings is not None:
        yield measurement.timings
    for output in measurement.samples.outputs if measurement.samples else ():
        yield output.file
        if output.shapes is not None:
            yield output.shapes
