"""Devices: places that can run a Variant. What they are asked is a Job, what they bring back a Measurement.

`local` is this machine. Every Device runs the same runner, in a process that holds no TensorFlow.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgetf.device.runner.job import MEASUREMENT_SCHEMA, Job, Measurement, write_json
from edgetf.device.zipapp import build_runner
from edgetf.errors import DeviceError, EdgetfError, nearest
from edgetf.files import read_document
from edgetf.process import HungError, OnEvent, run_child


class Device(Protocol):
    """A place that can run a Variant."""

    @property
    def name(self) -> str: ...

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

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        with tempfile.TemporaryDirectory(prefix="edgetf-job-") as folder:
            runner, job_file = Path(folder, "edgetf-runner.pyz"), Path(folder, "job.json")
            runner.write_bytes(build_runner())
            write_json(job_file, job)
            try:
                ended = run_child(
                    [self.python, str(runner), str(job_file), str(out)], on_event, idle_s=self.idle_s
                )
            except HungError as error:
                raise DeviceError(f"the runner on {self.name} hung: {error}", "try again with fewer samples") from error
        if ended.code:
            hint = ended.last_line or "it said nothing"
            raise DeviceError(f"the runner on {self.name} {ended.how}", hint)
        return read_document(out / "measurement.json", Measurement, MEASUREMENT_SCHEMA)


def find_device(name: str) -> Device:
    """The Device called `name`. Raises EdgetfError naming the known ones."""
    if name != "local":
        raise EdgetfError(f"unknown device {name!r}", nearest(name, ["local"]))
    return LocalDevice()
