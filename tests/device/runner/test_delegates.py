from __future__ import annotations

import pytest

from edgetf.device.devices import refuse_unfit
from edgetf.device.runner.delegates import DEFAULT_DELEGATE, DELEGATES, PROGRAM, RUNTIMES, delegates_of
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.errors import EdgetfError


@pytest.mark.parametrize("name", DELEGATES)
def test_every_delegate_has_a_runtime_and_a_flag(name: str) -> None:
    row = DELEGATES[name]
    assert row.runtimes
    assert set(row.runtimes) <= {*RUNTIMES, PROGRAM}
    assert row.flag.startswith("--use_")


def test_every_runtime_has_the_default_delegate() -> None:
    assert all(DEFAULT_DELEGATE in delegates_of(runtime) for runtime in (*RUNTIMES, PROGRAM))


def test_a_device_whose_runtimes_lack_the_delegate_refuses_it() -> None:
    for name, row in DELEGATES.items():
        refuse_unfit(DeviceSettings(Kind.ADB), name, ())
        if not set(row.runtimes) & set(RUNTIMES):
            with pytest.raises(EdgetfError, match=f"litert and tflite-runtime cannot use {row.label}") as caught:
                refuse_unfit(DeviceSettings(Kind.SSH), name, ())
            assert caught.value.hint == "take xnnpack or none, or another device"


def test_an_unknown_delegate_is_named() -> None:
    with pytest.raises(EdgetfError, match="unknown delegate 'xnpack'") as caught:
        refuse_unfit(DeviceSettings(Kind.LOCAL), "xnpack", ())
    assert "xnnpack" in caught.value.hint
