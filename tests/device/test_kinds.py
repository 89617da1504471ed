from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from edgetf.device.devices import refuse_unfit
from edgetf.device.devices_toml import BOUNDS, TYPES, load_settings
from edgetf.device.doctor import examine
from edgetf.device.kinds import COMMON_KEYS, KINDS
from edgetf.device.local import LocalDevice
from edgetf.device.runner.delegates import MICRO, PROGRAM, RUNTIMES
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.errors import EdgetfError

SOUND: dict[type, str] = {str: '"auto"', int: "1", bool: "true", dict: "{}"}  # a value of each type


def test_every_kind_is_a_row_and_makes_a_device_with_its_name() -> None:
    assert set(KINDS) == set(Kind)
    for kind, row in KINDS.items():
        required: dict[str, Any] = dict.fromkeys(row.required, "pi.local")
        device = row.make("that one", DeviceSettings(kind, **required))
        assert device.name == "that one"
        assert device.emulated is False


def test_every_key_of_the_settings_belongs_to_all_kinds_or_to_some() -> None:
    keys = {field.name for field in fields(DeviceSettings)}
    assert COMMON_KEYS.union(*(row.keys for row in KINDS.values())) == keys
    for row in KINDS.values():
        assert row.paths | row.programs | set(row.required) <= row.keys
        assert set(row.own) <= row.keys | COMMON_KEYS
        assert set(row.runtimes) <= {*RUNTIMES, PROGRAM, MICRO}


def test_every_whole_number_of_the_settings_has_bounds() -> None:
    assert set(BOUNDS) == {key for key, kind in TYPES.items() if kind is int}
    assert all(bounds.least <= getattr(DeviceSettings, key) <= bounds.most for key, bounds in BOUNDS.items())


@pytest.mark.parametrize("kind", list(Kind))
def test_a_key_of_another_kind_is_refused(kind: Kind, tmp_path: Path) -> None:
    row, file = KINDS[kind], tmp_path / "devices.toml"
    foreign = sorted(frozenset().union(*(other.keys for other in KINDS.values())) - row.keys)
    needed = "".join(f"{key} = {SOUND[TYPES[key]]}\n" for key in row.required)
    for key in foreign:
        file.write_text(f'[d]\nkind = "{kind.value}"\n{needed}{key} = {SOUND[TYPES[key]]}\n')
        with pytest.raises(EdgetfError, match=f"{key} means nothing for kind = '{kind.value}'"):
            load_settings(file)


def test_only_cpus_of_this_machine_are_known_before_it_is_reached() -> None:
    refuse_unfit(DeviceSettings(Kind.SSH), "xnnpack", (4000,))
    with pytest.raises(EdgetfError, match=r"there are no CPUs \[4000\] here"):
        refuse_unfit(DeviceSettings(Kind.LOCAL), "xnnpack", (4000,))


def test_a_phone_that_cannot_be_reached_still_lacks_its_program(tmp_path: Path) -> None:
    settings = DeviceSettings(Kind.ADB, adb=str(tmp_path / "no-adb"))
    unreachable, lacking = examine("phone", settings)
    assert "no-adb is not installed" in unreachable.problem
    assert lacking.problem == "there is no benchmark_model for it"


def test_the_environment_of_a_local_device_reaches_the_runner(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text('[here]\nkind = "local"\nenv = { OMP_NUM_THREADS = "1" }\n')
    settings = load_settings(tmp_path / "devices.toml")["here"]
    device = KINDS[settings.kind].make("here", settings)
    assert isinstance(device, LocalDevice)
    assert device.env == {"OMP_NUM_THREADS": "1"}
