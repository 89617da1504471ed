"""The kinds of devices: what differs from one to another is a row here. A new kind is a row and its Device.

Rows name functions that import a Device when one is made: reading `devices.toml` needs none of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgetf.device.facts import Facts
from edgetf.device.lacking import Finding, lacks_micro, lacks_program, lacks_python
from edgetf.device.runner.delegates import MICRO, PROGRAM, RUNTIMES
from edgetf.device.runner.job import Job, Measurement
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.events import OnEvent


class Device(Protocol):
    """A place that can run a Variant."""

    @property
    def name(self) -> str: ...

    @property
    def emulated(self) -> bool:
        """Whether its times are not those of the hardware that it seems to be."""
        ...

    @property
    def store(self) -> str | None:
        """The folder for sent files on the device; None if files are used in place."""
        ...

    def reserve(self, on_event: OnEvent | None = None) -> AbstractContextManager[None]:
        """Reach the device and hold its lock: two runs at once would measure each other. Raises DeviceError.

        While another run holds it, wait, and send notes on that to `on_event`; without that, raise.
        """
        ...

    def probe(self) -> Facts:
        """What the device is and has; it need not be reserved. Raises DeviceError when it cannot be reached."""
        ...

    def examine(self, runtime: str) -> Facts:
        """What the reserved device is and has. Raises DeviceError for what keeps any variant from running there."""
        ...

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        """Do `job` (its paths absolute on this machine) and leave the measurement and its outputs in `out`.

        The failure of a variant is in the measurement. Raises DeviceError when the device itself failed.
        """
        ...


@dataclass(frozen=True)
class DeviceKind:
    """The properties of one kind.

    `make` gives the Device of a name and its settings. `runtimes` are names of `runner.delegates`. `lacks` gives what
    keeps variants from running there; without Facts of the device, it gives what is missing on this machine. `address`
    is what `edgetf devices list` shows. `cpus` is the number of its CPUs, if that is known before it is reached.
    `timed`: whether its times are of interest; without, parity and memory alone are measured.

    Of `devices.toml`: `keys` are those that it has besides COMMON_KEYS, `required` those that must be there, with a
    hint. `paths` and `programs` are keys whose values are paths on this machine; a program may be a bare name. `own`
    are the defaults of keys that differ from those of DeviceSettings.
    """

    make: Callable[[str, DeviceSettings], Device]
    runtimes: Sequence[str]
    lacks: Callable[[Facts | None, DeviceSettings], list[Finding]]
    keys: frozenset[str]
    required: Mapping[str, str] = field(default_factory=dict)
    paths: frozenset[str] = frozenset()
    programs: frozenset[str] = frozenset()
    own: Mapping[str, object] = field(default_factory=dict)
    address: Callable[[DeviceSettings], str] = lambda settings: ""
    cpus: Callable[[], int | None] = lambda: None
    timed: bool = True


def _local(name: str, settings: DeviceSettings) -> Device:
    from edgetf.device.local import LocalDevice

    return LocalDevice(name, settings.python, emulated=settings.emulated, env=settings.env)


def _ssh(name: str, settings: DeviceSettings) -> Device:
    from edgetf.device.ssh import SshDevice

    return SshDevice(name, settings)


def _ssh_address(settings: DeviceSettings) -> str:
    from edgetf.device.ssh_keys import address

    return f"{address(settings)}:{settings.port}"


def _phone(name: str, settings: DeviceSettings) -> Device:
    from edgetf.device.phone import PhoneDevice

    return PhoneDevice(name, settings)


def _micro(name: str, settings: DeviceSettings) -> Device:
    from edgetf.device.micro import MicroDevice

    return MicroDevice(name, settings.python, settings.emulated)


def _lacks_python(facts: Facts | None, settings: DeviceSettings) -> list[Finding]:
    return [] if facts is None else lacks_python(facts, settings.python)


def _lacks_program(facts: Facts | None, settings: DeviceSettings) -> list[Finding]:
    return lacks_program(facts or Facts(), settings.benchmark_model)


def _lacks_micro(facts: Facts | None, settings: DeviceSettings) -> list[Finding]:
    return [] if facts is None else lacks_micro(facts, settings.python)


COMMON_KEYS = frozenset({"kind", "work_dir", "delegate", "delegate_options", "threads", "emulated"})
_OF_PYTHON = frozenset({"python", "env", "runtime"})

KINDS: Mapping[Kind, DeviceKind] = {
    Kind.LOCAL: DeviceKind(
        make=_local,
        runtimes=tuple(RUNTIMES),
        lacks=_lacks_python,
        keys=_OF_PYTHON,
        programs=frozenset({"python"}),
        own={"python": sys.executable},  # the one that runs edgetf has what the runner needs
        cpus=os.cpu_count,
    ),
    Kind.SSH: DeviceKind(
        make=_ssh,
        runtimes=tuple(RUNTIMES),
        lacks=_lacks_python,
        keys=_OF_PYTHON | {"host", "user", "port", "key", "known_hosts"},
        required={"host": 'add host = "raspberrypi.local", or its address'},
        paths=frozenset({"key", "known_hosts"}),
        address=_ssh_address,
    ),
    Kind.ADB: DeviceKind(
        make=_phone,
        runtimes=(PROGRAM,),
        lacks=_lacks_program,
        keys=frozenset({"serial", "adb", "benchmark_model"}),
        paths=frozenset({"benchmark_model"}),
        programs=frozenset({"adb"}),
        address=lambda settings: settings.serial or "",
    ),
    Kind.MICRO: DeviceKind(
        make=_micro,
        runtimes=(MICRO,),
        lacks=_lacks_micro,
        keys=frozenset({"python"}),
        programs=frozenset({"python"}),
        own={"python": sys.executable, "delegate": "none"},
        timed=False,
    ),
}
