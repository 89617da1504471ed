from __future__ import annotations

import re

import pytest

from edgetf.device.devices import refuse_unfit
from edgetf.device.kinds import KINDS
from edgetf.device.runner.delegates import (
    DEFAULT_DELEGATE,
    DELEGATES,
    MICRO,
    PROGRAM,
    RUNTIMES,
    delegates_of,
    find_delegate,
)
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.errors import EdgetfError


@pytest.mark.parametrize("name", DELEGATES)
def test_every_delegate_has_a_runtime_and_a_flag_if_the_program_has_it(name: str) -> None:
    row = DELEGATES[name]
    assert row.runtimes
    assert set(row.runtimes) <= {*RUNTIMES, PROGRAM, MICRO}
    assert bool(row.flags) is (PROGRAM in row.runtimes)
    flags = [*row.flags, *(flag for values in row.options.values() for flag in values.values() if flag)]
    assert all(re.fullmatch(r"--\w+=\S+", flag) for flag in flags)


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


@pytest.mark.parametrize("name", ["libedgetpu.so.1", "/usr/lib/libvx_delegate.so", "delegates/hexagon", "mac.dylib"])
def test_a_library_is_a_delegate_of_all_that_load_libraries_with_any_options(name: str) -> None:
    assert find_delegate(name).library == name
    refuse_unfit(DeviceSettings(Kind.LOCAL), name, (), {"any": "thing: at; all"})
    with pytest.raises(EdgetfError, match="tflite-micro cannot use"):
        refuse_unfit(DeviceSettings(Kind.MICRO), name, ())
    with pytest.raises(EdgetfError, match="benchmark_model takes no option of a delegate with : or ; in it: 'a;b'"):
        refuse_unfit(DeviceSettings(Kind.ADB), name, (), {"key": "a;b"})


@pytest.mark.parametrize(
    ("delegate", "options", "problem", "hint"),
    [
        ("xnnpack", {"fast": "true"}, "xnnpack has no option 'fast'", "it has: weight_cache"),
        ("none", {"fast": "true"}, "none has no option 'fast'", "it has none"),
        ("xnnpack-fp16", {"weight_cache": "true"}, "xnnpack-fp16 has no option 'weight_cache'", "it has none"),
        ("xnnpack", {"weight_cache": "yes"}, "xnnpack cannot have weight_cache=yes", "give false or true"),
    ],
)
def test_options_that_a_delegate_lacks_are_refused(
    delegate: str, options: dict[str, str], problem: str, hint: str
) -> None:
    with pytest.raises(EdgetfError, match=problem) as caught:
        refuse_unfit(DeviceSettings(Kind.LOCAL), delegate, (), options)
    assert caught.value.hint == hint
