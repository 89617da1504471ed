from __future__ import annotations

import re

import pytest

from edgetf.device.devices import refuse_unfit
from edgetf.device.kinds import KINDS
from edgetf.device.runner.delegates import DEFAULT_DELEGATE, DELEGATES, MICRO, PROGRAM, RUNTIMES, delegates_of
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.errors import EdgetfError


@pytest.mark.parametrize("name", DELEGATES)
def test_every_delegate_has_a_runtime_and_a_flag_if_the_program_has_it(name: str) -> None:
    row = DELEGATES[name]
    assert row.runtimes
    assert set(row.runtimes) <= {*RUNTIMES, PROGRAM, MICRO}
    assert re.fullmatch(r"--\w+=\S+" if PROGRAM in row.runtimes else "", row.flag)


def test_every_runtime_has_the_default_delegate() -> None:
    assert all(DEFAULT_DELEGATE in delegates_of(runtime) for runtime in (*RUNTIMES, PROGRAM))


@pytest.mark.parametrize("kind", list(Kind))
def test_a_device_refuses_the_delegates_that_none_of_its_runtimes_has(kind: Kind) -> None:
    runtimes = KINDS[kind].runtimes
    known = [name for name in DELEGATES if any(name in delegates_of(runtime) for runtime in runtimes)]
    for name, row in DELEGATES.items():
        if name in known:
            refuse_unfit(DeviceSettings(kind), name, ())
            continue
        with pytest.raises(EdgetfError, match=f"{' and '.join(runtimes)} cannot use {row.label}") as caught:
            refuse_unfit(DeviceSettings(kind), name, ())
        assert caught.value.hint == f"take {' or '.join(known)}, or another device"


def test_an_unknown_delegate_is_named() -> None:
    with pytest.raises(EdgetfError, match="unknown delegate 'xnpack'") as caught:
        refuse_unfit(DeviceSettings(Kind.LOCAL), "xnpack", ())
    assert DEFAULT_DELEGATE in caught.value.hint
