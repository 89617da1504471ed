from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgetf.device.runner import machine, power
from edgetf.device.runner.machine import Neighbours, describe_state

# what `vcgencmd pmic_read_adc` of a Raspberry Pi 5 prints, cut short
RAILS = """3V7_WL_SW_A current(0)=0.10000000A
VDD_CORE_A current(7)=2.50000000A
3V7_WL_SW_V volt(8)=3.70000000V
VDD_CORE_V volt(15)=0.80000000V
EXT5V_V volt(24)=5.13000000V
BATT_V volt(25)=0.00000000V
"""


def _vcgencmd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "rails").write_text(RAILS)
    program = folder / "vcgencmd"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in pmic_read_adc) cat "{folder}/rails";; *) echo "throttled=0x50004";; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_the_power_of_a_pi_is_the_sum_over_the_rails_with_both_values() -> None:
    assert power.read_rails(RAILS) == pytest.approx(0.1 * 3.7 + 2.5 * 0.8)
    assert power.read_rails("VDD_CORE_V=0.8750V\nVDD_CORE_A=1.0A\n") == pytest.approx(0.875)
    assert power.read_rails("") is None
    assert power.read_rails("error: unknown command") is None


def test_power_is_read_idle_and_while_the_variant_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _vcgencmd(tmp_path / "bin", monkeypatch)
    found = power.measure_power(lambda: time.sleep(0.01), 0.6)
    assert found is not None
    assert found.source == "pmic"
    assert found.idle_w == pytest.approx([2.37] * len(found.idle_w))
    assert len(found.idle_w) >= 2
    assert len(found.active_w) >= 2
    assert found.runs == pytest.approx(found.seconds / 0.0101, rel=0.3)


def test_a_battery_reports_power_only_while_it_discharges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supply = tmp_path / "BAT0"
    supply.mkdir()
    for name, value in {
        "type": "Battery",
        "status": "Discharging",
        "current_now": "-1500000",
        "voltage_now": "4000000",
    }.items():
        (supply / name).write_text(f"{value}\n")
    assert power.read_battery(supply) == pytest.approx(6.0)
    monkeypatch.setattr(power, "_SUPPLIES", tmp_path)
    meter = power.find_meter()
    assert meter is not None
    assert meter.name == "battery"
    assert meter.read() == pytest.approx(6.0)
    (supply / "power_now").write_text("7000000\n")
    assert power.read_battery(supply) == pytest.approx(7.0)
    (supply / "status").write_text("Charging\n")
    assert power.read_battery(supply) is None
    assert power.find_meter() is None
    assert power.measure_power(lambda: None, 0.1) is None


def test_the_state_contains_the_throttling_and_power_of_a_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _vcgencmd(tmp_path / "bin", monkeypatch)
    state = describe_state()
    assert (state["throttled"], state["power_meter"]) == ("0x50004", "pmic")


def test_the_load_of_other_programs_excludes_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's clock is imitated: other programs keep one core busy all the time, and this process another."""
    begin, own = time.perf_counter(), time.process_time()
    monkeypatch.setattr(machine, "_busy_s", lambda: time.perf_counter() - begin + time.process_time() - own)
    neighbours = Neighbours()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    assert float(neighbours.cores()) == pytest.approx(1.0, abs=0.02)


def test_the_busy_time_of_the_processors_is_read_from_the_system() -> None:
    before, own = machine._busy_s(), time.process_time()
    while time.process_time() < own + 0.3:
        pass
    after = machine._busy_s()
    assert before is not None
    assert after is not None
    assert after - before > 0.25  # this process alone
