"""A phone of the tests, and how a job runs on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgetf.device.devices import find_device
from edgetf.device.phone import PhoneDevice
from edgetf.device.runner.job import Job, Measurement, TimingPlan
from edgetf.events import Event
from tests.conftest import ignore
from tests.device.adb_server import AdbServer

QUICK = TimingPlan(max_warmup_s=0.1, min_runs=25, min_s=0.05, max_s=2.0)
ROWS = 6


@dataclass(frozen=True)
class Phone:
    """A phone: its daemon, its work folder, its devices.toml, and its benchmark_model."""

    server: AdbServer
    folder: Path
    program: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def settings(self, **more: str | bool) -> Path:
        lines: dict[str, str | bool | None] = {
            "kind": "adb",
            "serial": self.server.serial,
            "benchmark_model": str(self.program),
            "work_dir": str(self.work),
            **more,
        }
        text = "\n".join(["[phone]", *(f"{name} = {json.dumps(value)}" for name, value in lines.items())])
        (self.folder / "devices.toml").write_text(text + "\n")
        return self.folder / "devices.toml"

    def device(self, **more: str | bool) -> PhoneDevice:
        device = find_device("phone", self.settings(**more))
        assert isinstance(device, PhoneDevice)
        return device

    def install(self, name: str, script: str) -> None:
        program = self.folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)


def run(device: PhoneDevice, job: Job, out: Path, on_event: Callable[[Event], None] = ignore) -> Measurement:
    """Run a job alone on the phone."""
    with device.reserve():
        return device.run(job, out, on_event)
