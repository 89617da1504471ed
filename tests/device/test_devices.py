from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetf.device.devices import find_device
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job
from edgetf.errors import DeviceError, EdgetfError
from tests.conftest import SHORT, Small, ignore


def test_this_machine_is_a_device_called_local() -> None:
    assert find_device("local") == LocalDevice(name="local", python=sys.executable)
    with pytest.raises(EdgetfError, match="unknown device 'pi'") as caught:
        find_device("pi")
    assert "local" in caught.value.hint


def test_two_runs_on_this_machine_never_measure_each_other() -> None:
    refused = pytest.raises(DeviceError, match="in use by another run")
    with LocalDevice().reserve(), refused, LocalDevice().reserve():
        pass
    with LocalDevice().reserve():
        pass


def test_a_missing_runtime_is_reported_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    device = LocalDevice()
    facts = replace(device.probe(), tflite_runtime="")
    monkeypatch.setattr(LocalDevice, "probe", lambda self: facts)
    assert device.examine("auto") == facts
    with pytest.raises(DeviceError, match="local cannot run variants: tflite-runtime is not installed") as caught:
        device.examine("tflite-runtime")
    assert caught.value.hint.startswith(f"edgetf benchmark --runtime litert takes what is there, {facts.litert}")


def test_the_local_device_brings_back_a_measurement(converted: Path, small: Small, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.load(small.samples)["image"])
    job = Job(str(converted / "float32.tflite"), {"image": str(tmp_path / "image.npy")}, timing=SHORT)
    measurement = LocalDevice().run(job, tmp_path / "out", ignore)
    assert measurement.error is None
    assert measurement.samples is not None
    assert (tmp_path / "out" / measurement.samples.outputs[0].file).exists()


def test_a_python_that_cannot_run_the_runner_is_a_failure_of_the_device(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no numpy here >&2\nexit 7\n")
    broken.chmod(0o755)
    job = Job("m.tflite", {"x": "x.npy"})
    with pytest.raises(DeviceError, match="the runner on local ended with exit code 7") as caught:
        LocalDevice(python=str(broken)).run(job, tmp_path / "out", ignore)
    assert caught.value.hint == "no numpy here"
    assert caught.value.exit_code == 5


def _python(folder: Path, script: str) -> str:
    """A stand-in for the Python of a device."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return str(python)


def test_a_python_whose_answer_is_not_utf_8_is_probed(tmp_path: Path) -> None:
    python = _python(tmp_path, r"printf 'python=3.1\3771\nlibc=\300\n'")
    facts = LocalDevice(python=python).probe()
    assert facts.python == "3.1\ufffd1"
    assert facts.architecture


def test_a_python_that_does_not_answer_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = _python(tmp_path, "sleep 60")
    monkeypatch.setattr("edgetf.device.local.COMMAND_S", 0.5)
    with pytest.raises(DeviceError, match=r"^local: no answer for 0 s$") as caught:
        LocalDevice(python=python).probe()
    assert caught.value.hint == f"does this end? {python} -c pass"


def test_a_runner_that_hangs_is_ended(tmp_path: Path) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nsleep 60\n")
    hanging.chmod(0o755)
    with pytest.raises(DeviceError, match="hung"):
        LocalDevice(python=str(hanging), idle_s=0.3).run(Job("m", {"x": "x"}), tmp_path / "out", ignore)
