"""What the system tells about itself: the machine, and the state it is in. Linux says most; elsewhere less is known."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

from .power import ask, find_meter

_CPU = Path("/sys/devices/system/cpu")


def describe_machine() -> dict[str, str]:
    """What does not change: model, CPU, cores, architecture, system, memory."""
    facts = {
        "model": _read(Path("/sys/firmware/devicetree/base/model")),
        "cpu": _cpu_model(),
        "cores": str(cores()),
        "architecture": platform.machine(),
        "system": _system(),
        "memory": _memory(),
    }
    return {name: value for name, value in facts.items() if value}


def describe_state() -> dict[str, str]:
    """What changes: governor, frequency, temperature, throttling, swap, load. Only what the system tells.

    `throttled` is `vcgencmd get_throttled` of a Raspberry Pi; `power_meter` is what can tell the power drawn.
    """
    frequency = _scaled(_CPU / "cpu0/cpufreq/scaling_cur_freq", 1000)  # first: it falls as soon as the load is over
    meter = find_meter()
    facts = {
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor"),
        "frequency_mhz": frequency,
        "frequency_max_mhz": _scaled(_CPU / "cpu0/cpufreq/cpuinfo_max_freq", 1000),
        "temperature_c": _temperature(),
        "throttled": ask("vcgencmd", "get_throttled").partition("=")[2],
        "swap_used_mib": _swap_used(),
        "load_1min": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "",
        "power_meter": meter.name if meter else "",
    }
    return {name: value for name, value in facts.items() if value}


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Neighbours:
    """What other programs take of the CPUs, from its creation on, beside this process."""

    def __init__(self) -> None:
        self._begin = (_busy_s(), time.process_time(), time.perf_counter())

    def cores(self) -> str:
        """How many cores the others kept busy on average, such as "0.12"; empty where the system does not tell."""
        (busy, own, begin), now = self._begin, _busy_s()
        if busy is None or now is None:
            return ""
        seconds = time.perf_counter() - begin
        return f"{max(now - busy - (time.process_time() - own), 0.0) / seconds:.2f}"


def _busy_s() -> float | None:
    """Seconds that all CPUs together have been busy since the system started."""
    words = _read(Path("/proc/stat")).partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, words[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def count_threads() -> int | None:
    """Threads of this process, where the system tells."""
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return None


def resident_bytes(peak: bool) -> int | None:
    """Resident memory of this process, now or at its peak.

    From /proc and not from getrusage, whose maximum also remembers the parent that this process was forked from.
    """
    wanted = "VmHWM:" if peak else "VmRSS:"
    for line in _read(Path("/proc/self/status")).splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * 1024
    if peak and sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _cpu_model() -> str:
    lines = _read(Path("/proc/cpuinfo")).splitlines()
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    if "model name" in fields:
        return fields["model name"]
    if "CPU part" in fields:  # 64-bit ARM gives numbers only
        part = fields["CPU part"]
        return _ARM_PARTS.get(part, f"ARM part {part}")
    return platform.processor()


_ARM_PARTS = {  # Arm Ltd.'s part numbers (MIDR_EL1), as in util-linux's lscpu-arm.c
    "0xc07": "Cortex-A7",
    "0xc08": "Cortex-A8",
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0d": "Cortex-A77",
    "0xd41": "Cortex-A78",
}


def _system() -> str:
    for line in _read(Path("/etc/os-release")).splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip('"') + f", kernel {platform.release()}"
    return f"{platform.system()} {platform.release()}"


def _memory() -> str:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            return f"{int(line.split()[1]) / 2**20:.1f} GiB"
    return ""


def _swap_used() -> str:
    lines = (line.split() for line in _read(Path("/proc/meminfo")).splitlines())
    kib = {parts[0]: int(parts[1]) for parts in lines if parts[0] in ("SwapTotal:", "SwapFree:")}
    return f"{(kib['SwapTotal:'] - kib['SwapFree:']) // 1024}" if len(kib) == 2 else ""


def _temperature() -> str:
    """The zone of the CPU where one is named so, else the first."""
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone*"))
    named = [zone for zone in zones if any(word in _read(zone / "type").lower() for word in ("cpu", "pkg", "soc"))]
    return _scaled((named or zones)[0] / "temp", 1000) if zones else ""


def _scaled(path: Path, divisor: int) -> str:
    text = _read(path)
    return f"{int(text) / divisor:.1f}" if text.lstrip("-").isdigit() else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip().strip("\0")
    except OSError:
        return ""
