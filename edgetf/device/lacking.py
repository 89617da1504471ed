"""What keeps variants from running on a device, and a hint on each.

In: facts of the device. Out: findings. Nothing is changed on the device: that is left to the user.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetf.device import program
from edgetf.device.facts import Facts
from edgetf.device.runner.delegates import AUTO, MICRO, RUNTIMES
from edgetf.errors import Cause, DeviceError


@dataclass(frozen=True)
class Finding:
    """A problem, and a hint on what to do. `blocks`: it keeps a benchmark from running; else times are doubtful, or
    something is not known."""

    blocks: bool
    problem: str
    hint: str


@dataclass(frozen=True)
class _Wheel:
    """What a package has wheels for; `pythons` are minor versions of Python 3."""

    architectures: tuple[str, ...]
    pythons: tuple[int, ...]
    glibc: tuple[int, int]


# the wheels that were on the package index in 2026: tflite-runtime 2.14.0, ai-edge-litert 2.3.0, tflite-micro 0.dev
_TFLITE_RUNTIME = _Wheel(("x86_64", "aarch64", "armv7l"), (8, 9, 10, 11), (2, 34))
_LITERT = _Wheel(("x86_64", "aarch64", "arm64"), (10, 11, 12, 13, 14), (2, 27))
_MICRO = _Wheel(("x86_64",), (10, 11, 12, 13, 14), (2, 28))


def refuse_unready(name: str, findings: Sequence[Finding]) -> None:
    """Raise DeviceError for findings that keep any variant from running on `name`, with their hints."""
    blocking = [finding for finding in findings if finding.blocks]
    if blocking:
        problems = "; ".join(finding.problem for finding in blocking)
        raise DeviceError(
            f"{name} cannot run variants: {problems}", "; ".join(one.hint for one in blocking), Cause.UNFIT
        )


def lacks_python(facts: Facts, python: str, runtime: str = AUTO) -> list[Finding]:
    """What the runner needs and the device's `python` lacks; a runtime other than AUTO must be installed, too."""
    return _lacks_any_runtime(facts, python) or _lacks_runtime(facts, python, runtime)


def _lacks_runtime(facts: Facts, python: str, runtime: str) -> list[Finding]:
    """A finding if the requested runtime is missing although another one is installed."""
    versions = facts.runtimes
    pip = f"{python} -m pip install"
    if runtime in versions and not versions[runtime]:
        other = next(name for name, version in versions.items() if version)
        package = RUNTIMES[runtime].package + (" 'numpy<2'" if runtime == "tflite-runtime" else "")
        hint = f"edgetf benchmark --runtime {other} takes what is there, {versions[other]}; or: {pip} {package}"
        return [Finding(True, f"{runtime} is not installed", hint)]
    if runtime == "tflite-runtime" and _has_numpy_2(facts):
        return [Finding(True, _FOR_NUMPY_1.format(facts.numpy), f"{pip} 'numpy<2'")]
    return []


def _has_numpy_2(facts: Facts) -> bool:
    return facts.numpy.split(".")[0] not in ("", "0", "1")


_FOR_NUMPY_1 = "tflite-runtime is built for numpy 1, and numpy is {}"


def lacks_micro(facts: Facts, python: str) -> list[Finding]:
    """What the interpreter for microcontrollers needs and `python` lacks."""
    if not facts.python:
        return [_no_python(facts, python)]
    if facts.tflite_micro:
        return []
    if reason := _unfit(facts, _minor(facts.python), _MICRO):
        hint = "use a Linux host with x86-64 and Python 3.10 to 3.14"
        return [Finding(True, f"{MICRO} has no wheel for this machine: {reason}", hint)]
    return [Finding(True, f"{MICRO} is not installed", f"{python} -m pip install {MICRO}")]


def _no_python(facts: Facts, python: str) -> Finding:
    reason = facts.python_error or "it is not there"
    return Finding(True, f"{python} does not run: {reason}", f"{_INSTALL}; then set python in devices.toml")


def _lacks_any_runtime(facts: Facts, python: str) -> list[Finding]:
    if not facts.python:
        return [_no_python(facts, python)]
    minor = _minor(facts.python)
    if minor < 9:
        return [
            Finding(
                True, f"Python {facts.python} is too old: the runner needs 3.9", "install a newer one, e.g. with uv"
            )
        ]
    found = []
    if facts.tflite_runtime and _has_numpy_2(facts) and not facts.litert:
        hint = f"{python} -m pip install 'numpy<2'"
        found.append(Finding(True, _FOR_NUMPY_1.format(facts.numpy), hint))
    if not facts.litert and not facts.tflite_runtime:
        found.append(_interpreter(facts, python, minor))
    elif not facts.numpy:
        pin = "'numpy<2'" if facts.tflite_runtime and not facts.litert else "numpy"
        found.append(Finding(True, "numpy is missing", f"{python} -m pip install {pin}"))
    return found


def _interpreter(facts: Facts, python: str, minor: int) -> Finding:
    """No interpreter: the package that has a wheel for this device, or why there is none."""
    pip = f"{python} -m pip install"
    for wheel, command in ((_LITERT, f"{pip} ai-edge-litert"), (_TFLITE_RUNTIME, f"{pip} tflite-runtime 'numpy<2'")):
        if not _unfit(facts, minor, wheel):
            return Finding(True, "there is no TFLite interpreter", command)
    reason = _unfit(facts, minor, _TFLITE_RUNTIME if facts.architecture == "armv7l" else _LITERT)
    pythons = "3.9 to 3.11" if facts.architecture == "armv7l" else "3.10 to 3.14"
    hint = f"use a system with glibc 2.34 (Debian 12) or later and Python {pythons}"
    return Finding(True, f"no interpreter has a wheel for this device: {reason}", hint)


def _unfit(facts: Facts, minor: int, wheel: _Wheel) -> str:
    """Why a wheel does not fit, or an empty text."""
    if facts.architecture not in wheel.architectures:
        return f"none for {facts.architecture}"
    if minor not in wheel.pythons:
        return f"none for Python 3.{minor} on {facts.architecture}"
    version = re.search(r"([0-9]{1,3})\.([0-9]{1,3})\s*$", facts.libc)
    if version and (int(version[1]), int(version[2])) < wheel.glibc:
        return f"its C library, {facts.libc}, is too old"
    return ""


def lacks_program(facts: Facts, benchmark_model: str | None) -> list[Finding]:
    """Whether there is a `benchmark_model` on this machine, and whether it is a program for that phone."""
    if benchmark_model is None:
        return [
            Finding(True, "there is no benchmark_model for it", f"download it ({_NIGHTLY}), and set it in devices.toml")
        ]
    path = Path(benchmark_model).expanduser()
    if not path.is_file():
        return [Finding(True, f"benchmark_model is not at {path}", "download it, or correct devices.toml")]
    problem = program.why_not(path, facts.architecture, facts.abis)
    if problem:
        return [Finding(True, f"{path.name} {problem}", f"download the program, not the app: {_NIGHTLY}")]
    return []


_NIGHTLY = "https://ai.google.dev/edge/litert/models/measurement, android_aarch64 or android_arm"


def _minor(version: str) -> int:
    found = re.match(r"3\.([0-9]{1,3})\b", version)
    return int(found[1]) if found else 0


_INSTALL = "sudo apt install python3-venv && python3 -m venv ~/edgetf"
