"""The power that the machine draws, in watts, where something in it can tell; and what an inference takes of it.

A Raspberry Pi 5 has a power controller that `vcgencmd pmic_read_adc` reads: volts and amperes of each rail. The sum
leaves out what the controller itself and the 5 V rail lose, so that only differences of it say much. Elsewhere a
battery may tell, while it is not being charged.
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

from .job import Power

_SUPPLIES = Path("/sys/class/power_supply")
_RAIL = re.compile(r"(\w+)_([AV])\b.*?=\s*([\d.]+)")
_PAUSE_S = 0.25


@dataclass(frozen=True)
class Meter:
    """Something that tells the power drawn now; `read` gives watts, or None when it does not answer."""

    name: str
    read: Callable[[], float | None]


def find_meter() -> Meter | None:
    """What can tell the power of this machine, or None."""
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
    """Reads a meter again and again, beside what is measured."""

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


def read_rails(told: str) -> float | None:
    """The sum over the rails of volts times amperes in what `vcgencmd pmic_read_adc` printed; None where it has none.

    It has lines such as `VDD_CORE_A current(7)=1.25A` and `VDD_CORE_V volt(15)=0.72V`.
    """
    rails: dict[str, dict[str, float]] = {}
    for name, unit, value in _RAIL.findall(told):
        rails.setdefault(name, {})[unit] = float(value)
    pairs = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
    return sum(pairs) if pairs else None


def read_battery(supply: Path) -> float | None:
    """Watts that leave a battery (a folder of /sys/class/power_supply); None while it is charged, or does not tell."""
    if _text(supply / "type") != "Battery" or _text(supply / "status") != "Discharging":
        return None
    power, current, voltage = (_micro(supply / name) for name in ("power_now", "current_now", "voltage_now"))
    if power is not None:
        return power
    return current * voltage if current is not None and voltage is not None else None


def ask(*command: str) -> str:
    """What a small program of the system prints; nothing where it is not there or does not answer."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ended.stdout.decode(errors="replace").strip()


def _micro(path: Path) -> float | None:
    """A number of millionths; batteries give the current of a discharge with either sign."""
    text = _text(path)
    return abs(int(text)) / 1e6 if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
