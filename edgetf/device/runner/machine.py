"""What the system tells about itself: the machine, and the state it is in. Linux says most; elsewhere less is known."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

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
    """What changes: governor, frequency, temperature, load. Only what the system tells."""
    facts = {
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor"),
        "frequency_mhz": _scaled(_CPU / "cpu0/cpufreq/scaling_cur_freq", 1000),
        "frequency_max_mhz": _scaled(_CPU / "cpu0/cpufreq/cpuinfo_max_freq", 1000),
        "temperature_c": _temperature(),
        "load_1min": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "",
    }
    return {name: value for name, value in facts.items() if value}


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_threads() -> int | None:
    """Threads of this process, where the system tells."""
    try:
        return len(os.listdir("/proc/self/task"))
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
