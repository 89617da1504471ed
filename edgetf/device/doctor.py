"""What is missing on a device, or makes its times worthless, and the command that mends each."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from edgetf.device.facts import Facts
from edgetf.device.settings import DeviceSettings, Kind

_LEAST_FREE_MIB = 500
_BUSY = 0.5  # load for each core

# bits of `vcgencmd get_throttled`, from the Raspberry Pi documentation
_THROTTLED = {0: "under-voltage now", 1: "frequency capped now", 2: "throttled now", 3: "soft temperature limit now"}


@dataclass(frozen=True)
class Finding:
    """`blocks` is true for what keeps a benchmark from running, false for what makes its times doubtful."""

    blocks: bool
    problem: str
    mend: str


@dataclass(frozen=True)
class _Wheel:
    """What a package has wheels for; `pythons` are minor versions of Python 3."""

    architectures: tuple[str, ...]
    pythons: tuple[int, ...]
    glibc: tuple[int, int]


# the wheels that were on the package index in 2026: tflite-runtime 2.14.0, ai-edge-litert 2.3.0
_TFLITE_RUNTIME = _Wheel(("x86_64", "aarch64", "armv7l"), (8, 9, 10, 11), (2, 34))
_LITERT = _Wheel(("x86_64", "aarch64", "arm64"), (10, 11, 12, 13, 14), (2, 27))


def diagnose(facts: Facts, settings: DeviceSettings) -> tuple[Finding, ...]:
    """All findings, those that block first. Nothing is ever changed on the device: that is for the user to do."""
    needs = _program(facts, settings) if settings.kind is Kind.ADB else _python(facts, settings)
    findings = [*needs, *_space(facts), *disturbances(facts)]
    return tuple(sorted(findings, key=lambda finding: not finding.blocks))


def _python(facts: Facts, settings: DeviceSettings) -> list[Finding]:
    if not facts.python:
        reason = facts.python_error or "it is not there"
        return [
            Finding(True, f"{settings.python} does not run: {reason}", f"{_INSTALL}; then set python in devices.toml")
        ]
    minor = _minor(facts.python)
    if minor < 9:
        return [
            Finding(
                True, f"Python {facts.python} is too old: the runner needs 3.9", "install a newer one, e.g. with uv"
            )
        ]
    found = []
    numpy_2 = facts.numpy.split(".")[0] not in ("", "0", "1")
    if facts.tflite_runtime and numpy_2 and not facts.litert:
        mend = f"{settings.python} -m pip install 'numpy<2'"
        found.append(Finding(True, f"tflite-runtime is built for numpy 1, and numpy is {facts.numpy}", mend))
    if not facts.litert and not facts.tflite_runtime:
        found.append(_interpreter(facts, settings, minor))
    elif not facts.numpy:
        pin = "'numpy<2'" if facts.tflite_runtime and not facts.litert else "numpy"
        found.append(Finding(True, "numpy is missing", f"{settings.python} -m pip install {pin}"))
    return found


def _interpreter(facts: Facts, settings: DeviceSettings, minor: int) -> Finding:
    """No interpreter: the package that has a wheel for this device, or why there is none."""
    pip = f"{settings.python} -m pip install"
    for wheel, command in ((_LITERT, f"{pip} ai-edge-litert"), (_TFLITE_RUNTIME, f"{pip} tflite-runtime 'numpy<2'")):
        if not _unfit(facts, minor, wheel):
            return Finding(True, "there is no TFLite interpreter", command)
    reason = _unfit(facts, minor, _TFLITE_RUNTIME if facts.architecture == "armv7l" else _LITERT)
    pythons = "3.9 to 3.11" if facts.architecture == "armv7l" else "3.10 to 3.14"
    mend = f"use a system with glibc 2.34 (Debian 12) or later and Python {pythons}"
    return Finding(True, f"no interpreter has a wheel for this device: {reason}", mend)


def _unfit(facts: Facts, minor: int, wheel: _Wheel) -> str:
    """Why a wheel does not fit, or an empty text."""
    if facts.architecture not in wheel.architectures:
        return f"none for {facts.architecture}"
    if minor not in wheel.pythons:
        return f"none for Python 3.{minor} on {facts.architecture}"
    version = re.search(r"(\d+)\.(\d+)\s*$", facts.libc)
    if version and (int(version[1]), int(version[2])) < wheel.glibc:
        return f"its C library, {facts.libc}, is too old"
    return ""


def _program(facts: Facts, settings: DeviceSettings) -> list[Finding]:
    """Whether there is a `benchmark_model`, and one for this phone's architecture."""
    if settings.benchmark_model is None:
        return [
            Finding(True, "there is no benchmark_model for it", f"download it ({_NIGHTLY}), and set it in devices.toml")
        ]
    path = Path(settings.benchmark_model).expanduser()
    if not path.is_file():
        return [Finding(True, f"benchmark_model is not at {path}", "download it, or correct devices.toml")]
    with path.open("rb") as file:
        head = file.read(20)
    built_for = _MACHINES.get(int.from_bytes(head[18:20], "little")) if head[:4] == b"\x7fELF" else None
    if built_for is not None and facts.architecture and built_for not in _RUNS[facts.architecture]:
        problem = f"{path.name} is built for {built_for}, the phone is {facts.architecture}"
        return [Finding(True, problem, f"download the one for it: {_NIGHTLY}")]
    return []


# e_machine of the ELF format, and what each architecture runs
_MACHINES = {0x28: "arm", 0x3E: "x86_64", 0xB7: "aarch64"}
_RUNS = defaultdict(
    lambda: ("arm", "x86_64", "aarch64"), {"aarch64": ("aarch64", "arm"), "armv7l": ("arm",), "x86_64": ("x86_64",)}
)
_NIGHTLY = "https://ai.google.dev/edge/litert/models/measurement, android_aarch64 or android_arm"


def _space(facts: Facts) -> list[Finding]:
    if facts.free_mib.isdigit() and int(facts.free_mib) < _LEAST_FREE_MIB:
        return [Finding(False, f"only {facts.free_mib} MiB are free", "make room, or set work_dir to another disk")]
    return []


def disturbances(facts: Facts) -> list[Finding]:
    """What disturbs a measurement of time."""
    found = []
    if facts.governor and facts.governor != "performance":
        mend = "as root: echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        found.append(Finding(False, f"the frequency governor is {facts.governor}: times vary with it", mend))
    bits = int(facts.throttled, 16) if re.fullmatch(r"0x[0-9a-fA-F]+", facts.throttled) else 0
    for bit, meaning in _THROTTLED.items():
        if bits & (1 << bit):
            mend = "use the official power supply" if bit == 0 else "cool it: a heat sink, a fan"
            found.append(Finding(False, meaning, mend))
    if facts.throttled.isdigit() and int(facts.throttled):  # Android's thermal status
        found.append(
            Finding(False, f"its thermal status is {facts.throttled}, not 0", "let it cool, take off its cover")
        )
    if facts.swap_used_mib.isdigit() and int(facts.swap_used_mib) > 100:
        found.append(Finding(False, f"{facts.swap_used_mib} MiB are swapped out", "end what takes the memory"))
    with_load = re.fullmatch(r"\d+\.\d+", facts.load) and facts.cores.isdigit()
    if with_load and float(facts.load) > _BUSY * int(facts.cores):
        found.append(Finding(False, f"other programs keep it busy: load {facts.load}", "end them: top shows which"))
    return found


def _minor(version: str) -> int:
    major, minor, *_ = version.split(".")
    return int(minor) if major == "3" and minor.isdigit() else 0


_INSTALL = "sudo apt install python3-venv && python3 -m venv ~/edgetf"
