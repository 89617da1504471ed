"""Devices by name: places that can run a Variant. In: a Job. Out: a Measurement.

`local` is this machine, `micro` a microcontroller's interpreter on it; `devices.toml` names the others. What has Python
runs the same runner, in a process without TensorFlow; a phone runs TFLite's own `benchmark_model`. The differences
between the kinds are in `kinds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgetf.device.devices_toml import load_settings
from edgetf.device.kinds import KINDS, Device
from edgetf.device.runner.delegates import DELEGATES, PROGRAM, fault_of_options, find_delegate
from edgetf.device.settings import DeviceSettings
from edgetf.errors import EdgetfError, nearest


def find_device(name: str, file: Path | None = None) -> Device:
    """The Device called `name`, of `devices.toml` (see `devices_toml`). Raises EdgetfError naming the known ones."""
    settings = find_settings(name, file)
    return KINDS[settings.kind].make(name, settings)


def find_settings(name: str, file: Path | None) -> DeviceSettings:
    """The settings of the device called `name`. Raises EdgetfError naming the known ones."""
    known = load_settings(file)
    if name not in known:
        raise EdgetfError(f"unknown device {name!r}", f"{nearest(name, known)}; others are named in devices.toml")
    return known[name]


def refuse_unfit(
    settings: DeviceSettings, delegate: str, affinity: tuple[int, ...], options: Mapping[str, str] | None = None
) -> None:
    """Raise EdgetfError for what the device cannot do, as far as that is known before it is reached.

    `options` are those of the delegate.
    """
    try:
        row = find_delegate(delegate)
    except KeyError:
        raise EdgetfError(
            f"unknown delegate {delegate!r}", f"{nearest(delegate, DELEGATES)}; or a library, *.so"
        ) from None
    kind = KINDS[settings.kind]
    known = [name for name, row in DELEGATES.items() if set(kind.runtimes) & set(row.runtimes)]
    if not set(kind.runtimes) & set(row.runtimes):
        hint = f"take {' or '.join(known)}, or another device"
        raise EdgetfError(f"{' and '.join(kind.runtimes)} cannot use {row.label}", hint)
    if fault := fault_of_options(row, options or {}):
        raise EdgetfError(*fault)
    if row.library and PROGRAM in kind.runtimes:
        for text in (one for pair in (options or {}).items() for one in pair if set(one) & set(":;")):
            raise EdgetfError(f"{PROGRAM} takes no option of a delegate with : or ; in it: {text!r}", "leave it out")
    cpus = kind.cpus()
    if cpus is not None and any(cpu >= cpus for cpu in affinity):
        raise EdgetfError(f"there are no CPUs {list(affinity)} here", f"there are {cpus}: 0 to {cpus - 1}")
