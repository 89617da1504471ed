"""The power consumption of the machine in watts, if it has a meter, and that of inferences.

A Raspberry Pi 5 has a power controller that `vcgencmd pmic_read_adc` reads: volts and amperes of each rail. The sum
leaves out the losses of the controller itself and of the 5 V rail, so that only differences are meaningful. On other
machines a battery may report the power while it discharges.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter_ns, sleep
from typing import Callable

from .answers import number
from .job import Power

_SUPPLIES = Path("/sys/class/power_supply")
_RAIL = re.compile(r"^[ \t]*(\w+)_([AV])\b.*?=[ \t]*([\d.]+)", re.MULTILINE)  # unanchored, it is quadratic
_PAUSE_S = 0.25


@dataclass(frozen=True)
class Meter:
    """A power meter; `read` returns watts, or None if it does not answer."""

    name: str
    read: Callable[[], float | None]


def find_meter() -> Meter | None:
    """The power meter of this machine, or None."""
    if read_rails(ask("vcgencmd", "pmic_read_adc")):
        return Meter("pmic", lambda: read_rails(ask("vcgencmd", "pmic_read_adc")))
    for supply in sorted(_SUPPLIES.glob("*")):
        if read_battery(supply) is not None:
            return Meter("battery", partial(read_battery, supply))
    return None


def measure_power(run: Callable[[], None], seconds: float) -> Power | None:
    """Read the power for `seconds` without load and then for as long while `run` repeats; None without a meter."""
    meter = find_meter()
    if meter is None:
        return None
    idle = _Reader(meter, seconds)
    idle.join()
    active = _Reader(meter, seconds)
    runs, begin = 0, perf_counter_ns()
    while active.is_alive():
        run()
        runs += 1
    return Power(meter.name, idle.watts, active.watts, runs, (perf_counter_ns() - begin) / 1e9)


class _Reader(threading.Thread):
    """Reads a meter repeatedly while something else is measured."""

    def __init__(self, meter: Meter, seconds: float) -> None:
        super().__init__(daemon=True)
        self.watts: list[float] = []
        self._meter, self._end_ns = meter, perf_counter_ns() + int(seconds * 1e9)
        self.start()

    def run(self) -> None:
        while perf_counter_ns() < self._end_ns:
            watts = self._meter.read()
            if watts is not None:
                self.watts.append(watts)
            sleep(_PAUSE_S)


def read_rails(output: str) -> float | None:
    """The sum over the rails of volts times amperes in the output of `vcgencmd pmic_read_adc`; None if it has none.

    It has lines such as `VDD_CORE_A current(7)=1.25A` and `VDD_CORE_V volt(15)=0.72V`.
    """
    rails: dict[str, dict[str, float]] = {}
    for name, unit, value in _RAIL.findall(output):
        found = number(value)
        if found is not None and found >= 0:
            rails.setdefault(name, {})[unit] = found
    pairs = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
    return sum(pairs) if pairs else None


def read_battery(supply: Path) -> float | None:
    """The output of a battery in watts (a folder of /sys/class/power_supply); None while it charges, or if unknown."""
    if _text(supply / "type") != "Battery" or _text(supply / "status") != "Discharging":
        return None
    power, current, voltage = (_micro(supply / name) for name in ("power_now", "current_now", "voltage_now"))
    if power is not None:
        return power
    return current * voltage if current is not None and voltage is not None else None


def ask(*command: str) -> str:
    """The output of a small program of the system; empty if it is missing or does not answer."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ended.stdout.decode(errors="replace").strip()


def _micro(path: Path) -> float | None:
    """A number of millionths; batteries give the current of a discharge with either sign."""
    found = number(_text(path))
    return None if found is None else abs(found) / 1e6


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
