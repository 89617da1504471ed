"""What a device is and has: the script that any Linux or Android shell answers, and its answer as Facts."""

from __future__ import annotations

from dataclasses import dataclass

from edgetf.errors import DeviceError


@dataclass(frozen=True)
class Facts:
    """What the device told; an empty text is what it did not tell.

    `free_mib` and `memory_mib` are mebibytes, `throttled` is `vcgencmd get_throttled` of a Raspberry Pi, and the last
    five are those of the Python that `devices.toml` names.
    """

    architecture: str = ""
    system: str = ""
    kernel: str = ""
    libc: str = ""
    model: str = ""
    cpu: str = ""
    cores: str = ""
    memory_mib: str = ""
    swap_used_mib: str = ""
    free_mib: str = ""
    load: str = ""
    governor: str = ""
    frequency_mhz: str = ""
    temperature_c: str = ""
    throttled: str = ""
    python: str = ""
    numpy: str = ""
    litert: str = ""
    tflite_runtime: str = ""
    python_error: str = ""


def parse(told: str) -> Facts:
    """The facts among the lines `name=value`. Raises DeviceError for an answer that has none."""
    known = Facts.__dataclass_fields__
    pairs = (line.partition("=") for line in told.splitlines())
    found = {name: value.strip().strip("\0") for name, equals, value in pairs if equals and name in known}
    if "architecture" not in found:
        raise DeviceError("the device's answer makes no sense", "is its login shell one that prints something else?")
    return Facts(**found)


SYSTEM = r"""
first() { head -n 1 "$1" 2>/dev/null | tr -d '\000'; }
scaled() { v=$(first "$1"); [ -n "$v" ] && echo $((v / 1000)); }
kib() { grep "^$1:" /proc/meminfo 2>/dev/null | tr -s ' ' | cut -d ' ' -f 2; }
echo "architecture=$(uname -m)"
echo "kernel=$(uname -sr)"
echo "system=$(. /etc/os-release 2>/dev/null; echo "$PRETTY_NAME")"
echo "libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)"
echo "model=$(first /sys/firmware/devicetree/base/model)"
echo "cpu=$(grep -m 1 'model name' /proc/cpuinfo 2>/dev/null | cut -d : -f 2)"
echo "cores=$(nproc 2>/dev/null)"
m=$(kib MemTotal); [ -n "$m" ] && echo "memory_mib=$((m / 1024))"
t=$(kib SwapTotal); f=$(kib SwapFree); [ -n "$t" ] && echo "swap_used_mib=$(((t - f) / 1024))"
p=$1; while [ ! -d "$p" ]; do n=$(dirname "$p"); [ "$n" = "$p" ] && break; p=$n; done
k=$(df -Pk "$p" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4); [ -n "$k" ] && echo "free_mib=$((k / 1024))"
echo "load=$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null)"
echo "governor=$(first /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)"
echo "frequency_mhz=$(scaled /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq)"
echo "temperature_c=$(scaled /sys/class/thermal/thermal_zone0/temp)"
command -v vcgencmd >/dev/null 2>&1 && echo "throttled=$(vcgencmd get_throttled 2>/dev/null | cut -d = -f 2)"
"""
