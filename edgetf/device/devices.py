"""Devices: places that can run a Variant. What they are asked is a Job, what they bring back a Measurement.

`local` is this machine; `devices.toml` names the others. What has Python runs the same runner, in a process without
TensorFlow; a phone runs TFLite's own `benchmark_model`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from edgetf.device.lock import hold
from edgetf.device.measurements import read_measurement
from edgetf.device.phone import PhoneDevice
from edgetf.device.runner.job import Job, Measurement, write_json
from edgetf.device.settings import DeviceSettings, Kind, load_settings
from edgetf.device.ssh import SshDevice
from edgetf.device.zipapp import build_runner
from edgetf.errors import DeviceError, EdgetfError, nearest
from edgetf.process import HungError, OnEvent, run_child


class Device(Protocol):
    """A place that can run a Variant."""

    @property
    def name(self) -> str: ...

    @property
    def emulated(self) -> bool:
        """Whether its times are not those of the hardware that it seems to be."""
        ...

    def reserve(self) -> AbstractContextManager[None]:
        """Reach the device and hold its lock: two runs at once would measure each other. Raises DeviceError."""
        ...

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        """Do `job` (its paths absolute on this machine) and leave the measurement and its outputs in `out`.

        A variant that fails is told in the measurement. Raises DeviceError when the device itself failed.
        """
        ...


@dataclass(frozen=True)
class LocalDevice:
    """This machine: the runner in a process of its own, under `python`."""

    name: str = "local"
    python: str = sys.executable
    idle_s: float = 600.0
    emulated: bool = False

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Hold the lock of this machine, which all its users share."""
        with hold(self.name, "local"):
            yield

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        with tempfile.TemporaryDirectory(prefix="edgetf-job-") as folder:
            runner, job_file = Path(folder, "edgetf-runner.pyz"), Path(folder, "job.json")
            runner.write_bytes(build_runner())
            write_json(job_file, job)
            try:
                ended = run_child([self.python, str(runner), str(job_file), str(out)], on_event, idle_s=self.idle_s)
            except HungError as error:
                raise DeviceError(f"the runner on {self.name} hung: {error}", "try again with fewer samples") from error
        if ended.code:
            hint = ended.last_line or "it said nothing"
            raise DeviceError(f"the runner on {self.name} {ended.how}", hint)
        return read_measurement(self.name, out)


def find_device(name: str, file: Path | None = None) -> Device:
    """The Device called `name`, of `devices.toml` (see `settings`). Raises EdgetfError naming the known ones."""
    settings = find_settings(name, file)
    if settings.kind is Kind.SSH:
        return SshDevice(name, settings)
    if settings.kind is Kind.ADB:
        return PhoneDevice(name, settings)
    return LocalDevice(name, settings.python, emulated=settings.emulated)


def refuse_unfit(settings: DeviceSettings, delegate: str, affinity: tuple[int, ...]) -> None:
    """Raise EdgetfError for what the device cannot do, as far as that is known before it is reached."""
    if delegate == "gpu" and settings.kind is not Kind.ADB:
        raise EdgetfError("the Python runtimes have no GPU delegate", "take xnnpack or none, or a phone over adb")
    cpus = os.cpu_count() or 1
    if settings.kind is Kind.LOCAL and any(cpu >= cpus for cpu in affinity):
        raise EdgetfError(f"there are no CPUs {list(affinity)} here", f"there are {cpus}: 0 to {cpus - 1}")


def find_settings(name: str, file: Path | None) -> DeviceSettings:
    """The settings of the device called `name`. Raises EdgetfError naming the known ones."""
    known = load_settings(file)
    if name not in known:
        raise EdgetfError(f"unknown device {name!r}", f"{nearest(name, known)}; others are named in devices.toml")
    settings = known[name]
    if settings.kind is Kind.LOCAL and settings.python == DeviceSettings.python:
        return replace(settings, python=sys.executable)  # the one that runs edgetf has what the runner needs
    return settings
