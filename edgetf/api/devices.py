"""`edgetf.devices`: the devices in `devices.toml`, by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgetf.device.devices_toml import load_settings
from edgetf.device.doctor import examine
from edgetf.device.facts import Facts
from edgetf.device.lacking import Finding
from edgetf.device.probe import probe
from edgetf.device.settings import DeviceSettings


@dataclass(frozen=True)
class NamedDevice:
    """One device: how it is reached, its facts, and what it lacks."""

    name: str
    settings: DeviceSettings

    def probe(self) -> Facts:
        """Return the device's facts. Raises DeviceError if it does not answer."""
        return probe(self.name, self.settings)

    def doctor(self) -> tuple[Finding, ...]:
        """Return the findings on what the device lacks, each with a hint; one may be that it does not answer."""
        return examine(self.name, self.settings)


def devices(file: str | os.PathLike[str] | None = None) -> Mapping[str, NamedDevice]:
    """The devices of `edgetf devices list`, without connecting to them.

    Parameters
    ----------
    file
        The file that defines them; by default `devices.toml` in the current folder, or the user's.

    Returns
    -------
    dict of str to NamedDevice
        `["pi"].probe()` and `.doctor()` connect to the device.

    Raises
    ------
    EdgetfError
        If the file is not valid.

    Examples
    --------
    >>> list(edgetf.devices())
    ['local', 'micro']
    """
    known = load_settings(None if file is None else Path(file))
    return {name: NamedDevice(name, settings) for name, settings in known.items()}
