"""A microcontroller as a Device, without one: TFLite's interpreter for microcontrollers on this machine.

In: a Job. Out: a Measurement with outputs and the bytes of the arena. The kernels are the portable ones, so that no
time is measured, whatever the job asks for.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from edgetf.device.facts import Facts
from edgetf.device.lacking import lacks_micro, refuse_unready
from edgetf.device.local import LocalDevice
from edgetf.device.runner.delegates import AUTO, MICRO
from edgetf.device.runner.job import Job, Measurement
from edgetf.errors import Cause, DeviceError
from edgetf.events import OnEvent


class MicroDevice:
    """The runner with `tflite-micro` in a separate process, under `python`."""

    def __init__(self, name: str = "micro", python: str = sys.executable, emulated: bool = False) -> None:
        self.name, self.emulated = name, emulated
        self._python, self._host = python, LocalDevice(name, python)

    @property
    def store(self) -> str | None:
        return None

    def reserve(self, on_event: OnEvent | None = None) -> AbstractContextManager[None]:
        """Hold the lock of this machine: to use its CPUs would disturb what another run times."""
        return self._host.reserve(on_event)

    def probe(self) -> Facts:
        return self._host.probe()

    def examine(self, runtime: str) -> Facts:
        if runtime not in (AUTO, MICRO):
            raise DeviceError(f"{self.name} runs {MICRO}, not {runtime}", "leave --runtime out", Cause.UNFIT)
        facts = self.probe()
        refuse_unready(self.name, lacks_micro(facts, self._python))
        return facts

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        asked = replace(
            job, runtime=MICRO, threads=1, affinity=None, nice=0, timing=None, sustained_s=0.0, energy_s=0.0
        )
        return self._host.run(asked, out, on_event)
