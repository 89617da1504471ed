"""What a device is and has: scripts for any Linux or Android shell, and their output as Facts."""

from __future__ import annotations

from dataclasses import dataclass

from edgetf.errors import Cause, DeviceError
from edgetf.texts import printable


@dataclass(frozen=True)
class Facts:
    """What the device reported; what it did not report is an empty text.

    `free_mib` and `memory_mib` are mebibytes, `throttled` is `vcgencmd get_throttled` of a Raspberry Pi, and those
    from `python` on are of the Python that `devices.toml` names; `benchmark_model` is a phone's, by its SHA-256, and
    `abis` are the kinds of programs that a phone runs.
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
    tflite_micro: str = ""
    python_error: str = ""
    benchmark_model: str = ""
    abis: str = ""

    @property
    def runtimes(self) -> dict[str, str]:
        """The versions of the runtimes, by the names that `runner.delegates` gives them, the newer one first."""
        return {"litert": self.litert, "tflite-runtime": self.tflite_runtime}


def parse(output: str) -> Facts:
    """The facts among the lines `name=value`. Raises DeviceError for an answer that has none."""
    known = Facts.__dataclass_fields__
    pairs = (line.partition("=") for line in output.splitlines())
    found = {name: printable(value) for name, equals, value in pairs if equals and name in known}
    if "architecture" not in found:
        raise DeviceError(
            "the device's answer makes no sense", "is its login shell one that prints something else?", Cause.UNFIT
        )
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

ASK_PYTHON = """
import platform, sys
def report(name, value):
    print(name + "=" + str(value))
report("python", platform.python_version())
report("libc", " ".join(platform.libc_ver()))
from importlib import metadata
for package in ("numpy", "ai-edge-litert", "tflite-runtime", "tflite-micro"):
    try:
        report(package.replace("ai-edge-", "").replace("-", "_"), metadata.version(package))
    except metadata.PackageNotFoundError:
        pass
"""

# the arguments are work_dir, python and ASK_PYTHON
EVERYTHING = (
    SYSTEM
    + r"""
if answer=$("$2" -c "$3" 2>&1); then echo "$answer"; else echo "python_error=$(echo "$answer" | tail -n 1)"; fi
"""
)
