"""Whether the delegate of a device runs anything there, which the doctor tries."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from edgetf.device.devices import find_settings
from edgetf.device.doctor import examine
from edgetf.device.local import LocalDevice
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.device.trial import try_delegate
from tests.device.phones import Phone

HERE = DeviceSettings(Kind.LOCAL, python=sys.executable)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (replace(HERE, delegate_options={"weight_cache": "true"}), ""),
        (
            replace(HERE, delegate="libnone.so.1"),
            "delegate libnone.so.1: the delegate cannot be loaded: libnone.so.1: ",
        ),
        (
            replace(HERE, delegate="gpu", env={"VK_ICD_FILENAMES": "/none", "VK_DRIVER_FILES": "/none"}),
            "delegate gpu: it does not run on the GPU: ",
        ),
        (
            replace(HERE, delegate="xnnpack-fp16", runtime="tflite-runtime"),
            "delegate xnnpack-fp16: tflite-runtime has ",
        ),
    ],
)
def test_a_delegate_that_runs_nothing_is_found_before_a_benchmark(settings: DeviceSettings, problem: str) -> None:
    found = try_delegate("mine", settings)
    assert len(found) == (1 if problem else 0)
    assert all(one.blocks and one.problem.startswith(problem) for one in found)


def test_a_phone_is_tried_too(phone: Phone) -> None:
    missing = find_settings("phone", phone.settings(delegate="/data/none.so"))
    [found] = try_delegate("phone", missing)
    assert found.problem.endswith("there is no such delegate on the phone: adb push it, and give its path there")
    assert try_delegate("phone", find_settings("phone", phone.settings(delegate="xnnpack-fp16"))) == []


def test_a_device_that_another_run_holds_is_examined_without_a_trial() -> None:
    with LocalDevice().reserve():
        found = examine("mine", replace(HERE, delegate="libnone.so.1"))
    assert not any(one.blocks for one in found)
    assert any(one.problem.startswith("its delegate was not tried: ") for one in found)
