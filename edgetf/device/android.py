"""Facts about a phone: scripts for Android's shell, and the parser of their output.

The shell has toybox's programs and no Python. Its state is printed as `name=value` lines, followed by the
output of `dumpsys thermalservice` (Android 10 and later).
"""

from __future__ import annotations

import re

from edgetf.device.runner.answers import count, line, number
from edgetf.device.runner.job import Power

# lines for the state of the phone; the fastest core stands for all
STATE = r"""
state() {
  best=0; core=
  for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
    max=$(cat "$cpu/cpufreq/cpuinfo_max_freq" 2>/dev/null) || continue
    [ "$max" -gt "$best" ] && best=$max && core=$cpu
  done
  if [ -n "$core" ]; then
    echo "governor=$(cat "$core/cpufreq/scaling_governor" 2>/dev/null)"
    echo "frequency_khz=$(cat "$core/cpufreq/scaling_cur_freq" 2>/dev/null)"
    echo "frequency_max_khz=$best"
  fi
  echo "load_1min=$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null)"
  battery=$(power); [ -n "$battery" ] && echo "power_meter=battery"
  dumpsys thermalservice 2>/dev/null
}
# microamperes and microvolts, while the battery is the only source
power() {
  supply=/sys/class/power_supply/battery
  [ "$(cat "$supply/status" 2>/dev/null)" = Discharging ] || return 0
  current=$(cat "$supply/current_now" 2>/dev/null) && voltage=$(cat "$supply/voltage_now" 2>/dev/null) || return 0
  echo "$current $voltage"
}
"""

# what a phone is, over what `probe` asks any system
PROBE = r"""
echo "system=Android $(getprop ro.build.version.release), $(getprop ro.build.id)"
echo "model=$(getprop ro.product.manufacturer) $(getprop ro.product.model)"
echo "cpu=$(getprop ro.soc.model)"
echo "abis=$(getprop ro.product.cpu.abilist)"
echo "throttled=$(dumpsys thermalservice 2>/dev/null | grep -m 1 'Thermal Status' | tr -dc 0-9)"
"""

_CPU, _BATTERY = "0", "2"  # types of android.hardware.thermal


def read_state(output: str) -> dict[str, str]:
    """The facts in what `state` printed, with the names that the runner gives them; `throttled` is Android's status.

    The temperature is the hottest CPU's, or the battery's if no CPU reports one.
    """
    found = re.findall(r"^(\w+)=(.*)$", output, re.MULTILINE | re.ASCII)
    state = {name: line(value) for name, value in found if line(value)}
    for name in ("frequency", "frequency_max"):
        khz = state.pop(f"{name}_khz", "")
        if (frequency := count(khz)) is not None:
            state[f"{name}_mhz"] = f"{frequency / 1000:.1f}"
    status = re.search(r"Thermal Status: ([0-9]{1,3})\b", output)
    if status:
        state["throttled"] = status[1]
    now = output.rpartition("Current temperatures from HAL")[2].partition("Current cooling")[0]
    heat: dict[str, list[float]] = {}
    for value, kind in re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=(-?\d+)", now):
        if (degrees := number(value)) is not None:
            heat.setdefault(kind, []).append(degrees)
    hottest = heat.get(_CPU) or heat.get(_BATTERY)
    if hottest:
        state["temperature_c"] = f"{max(hottest):.1f}"
    return state


def read_power(idle: str, active: str, runs: int, seconds: float) -> Power | None:
    """Lines of `power` (current and voltage, integers) before and during the load; None if there are none."""
    watts = [[_watts(pair) for pair in output.splitlines() if _PAIR.fullmatch(pair)] for output in (idle, active)]
    return Power("battery", watts[0], watts[1], runs, seconds) if all(watts) else None


_PAIR = re.compile(r"-?[0-9]{1,15} -?[0-9]{1,15}")


def _watts(pair: str) -> float:
    current, voltage = (abs(int(word)) / 1e6 for word in pair.split())
    return current * voltage
