"""The measurement that a device left in a folder, read, or the device's failure."""

from __future__ import annotations

from pathlib import Path

from edgetf.device.runner.job import MEASUREMENT_SCHEMA, Measurement
from edgetf.errors import DeviceError, EdgetfError
from edgetf.files import read_document


def read_measurement(device: str, folder: Path) -> Measurement:
    """Read `measurement.json` in `folder`. Raises DeviceError where the device wrote none, or a broken one."""
    try:
        return read_document(folder / "measurement.json", Measurement, MEASUREMENT_SCHEMA)
    except EdgetfError as error:
        raise DeviceError(f"the answer of {device} cannot be read: {error.message}", "run it again") from error
