"""Facts about the machine and its state, as reported by the system. Linux reports most of them."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

from .answers import count, line, number
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
    return {name: line(value) for name, value in facts.items() if line(value)}


def describe_state() -> dict[str, str]:
    """What changes: governor, frequency, temperature, throttling, swap, load. Only values that the system reports.

    `throttled` is `vcgencmd get_throttled` of a Raspberry Pi; `power_meter` names the meter that reports the power.
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
    return {name: line(value) for name, value in facts.items() if line(value)}


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Neighbours:
    """The load of the CPUs by other programs since its creation."""

    def __init__(self) -> None:
        self._begin = (_busy_s(), time.process_time(), time.perf_counter())

    def cores(self) -> str:
        """The number of cores that other programs used on average, such as "0.12"; empty if unknown."""
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
    ticks = [count(word) for word in words[1:9]]
    busy = [ticks[k] for k in (0, 1, 2, 5, 6, 7)]  # without idle and iowait
    return None if None in busy else sum(filter(None, busy)) / os.sysconf("SC_CLK_TCK")


def count_threads() -> int | None:
    """The number of threads of this process, if the system reports it."""
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return None


def resident_bytes(peak: bool) -> int | None:
    """Resident memory of this process, now or at its peak.

    From /proc and not from getrusage, whose maximum also remembers the parent that this process was forked from.
    """
    wanted = "VmHWM:" if peak else "VmRSS:"
    kib = _kib("/proc/self/status", wanted)
    if kib is not None:
        return kib * 1024
    if peak and sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _cpu_model() -> str:
    fields: dict[str, str] = {}
    for text in _read(Path("/proc/cpuinfo")).splitlines():
        name, _, value = text.partition(":")
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
    for text in _read(Path("/etc/os-release")).splitlines():
        if text.startswith("PRETTY_NAME="):
            return text.split("=", 1)[1].strip('"') + f", kernel {platform.release()}"
    return f"{platform.system()} {platform.release()}"


def _memory() -> str:
    kib = _kib("/proc/meminfo", "MemTotal:")
    return "" if kib is None else f"{kib / 2**20:.1f} GiB"


def _swap_used() -> str:
    total, free = (_kib("/proc/meminfo", name) for name in ("SwapTotal:", "SwapFree:"))
    return "" if total is None or free is None else f"{max(total - free, 0) // 1024}"


def _kib(file: str, name: str) -> int | None:
    """The number behind a name at the beginning of a line of /proc, which gives KiB."""
    for text in _read(Path(file)).splitlines():
        words = text.split()
        if words[:1] == [name]:
            return count(words[1]) if len(words) > 1 else None
    return None


def _temperature() -> str:
    """The thermal zone that is named after the CPU, otherwise the first one."""
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone*"))
    named = [zone for zone in zones if any(word in _read(zone / "type").lower() for word in ("cpu", "pkg", "soc"))]
    return _scaled((named or zones)[0] / "temp", 1000) if zones else ""


def _scaled(path: Path, divisor: int) -> str:
    found = number(_read(path))
    return "" if found is None else f"{found / divisor:.1f}"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip().strip("\0")
    except OSError:
        return ""
