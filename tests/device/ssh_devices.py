"""A device over SSH and a job for it, for the tests of both."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgetf.device.devices import find_device
from edgetf.device.runner.job import Job, Measurement
from edgetf.device.ssh import SshDevice
from tests.conftest import ignore
from tests.device.ssh_server import Server


@dataclass(frozen=True)
class Bench:
    """A job for the small network, and what it needs."""

    job: Job
    out: Path
    images: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def ssh_device(server: Server, tmp_path: Path, python: str = sys.executable, **more: str) -> SshDevice:
    """The device `pi`, whose server is this `server`."""
    (tmp_path / "devices.toml").write_text(server.settings(python, **more))
    device = find_device("pi", tmp_path / "devices.toml")
    assert isinstance(device, SshDevice)
    return device


def run(device: SshDevice, bench: Bench, on_event: object = ignore) -> Measurement:
    """Run the job of `bench` alone on the device."""
    with device.reserve():
        return device.run(bench.job, bench.out, on_event)  # type: ignore[arg-type]


def assert_complete(measurement: Measurement, bench: Bench) -> None:
    """The measurement has everything, and its outputs are those of this machine's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    assert measurement.error is None
    assert measurement.samples is not None
    assert measurement.samples.n == len(bench.images)
    ours = np.load(bench.out / measurement.samples.outputs[0].file)
    runner = Interpreter(model_path=bench.job.model).get_signature_runner()
    expected = [next(iter(runner(image=image[None]).values()))[0] for image in bench.images]
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def python_script(tmp_path: Path, body: str) -> str:
    """A Python that takes the lock like the real one, and runs `body` instead of the runner."""
    return write_program(tmp_path / "python", f'if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\n{body}')


def write_program(place: Path, body: str) -> str:
    """Write a shell script; returns its path."""
    place.write_text(f"#!/bin/sh\n{body}\n")
    place.chmod(0o755)
    return str(place)
