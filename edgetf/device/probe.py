"""A device, asked in one go what it is and has. It needs no Python there to answer."""

from __future__ import annotations

import subprocess

from edgetf.device.facts import SYSTEM, Facts, parse
from edgetf.device.phone import PhoneDevice
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.device.ssh import SshDevice
from edgetf.errors import DeviceError


def probe(name: str, settings: DeviceSettings) -> Facts:
    """Ask the device. Raises DeviceError when it cannot be reached."""
    script, arguments = SYSTEM + _ITS_PYTHON, (settings.work_dir, settings.python, _PYTHON)
    if settings.kind is Kind.ADB:
        return PhoneDevice(name, settings).probe()
    if settings.kind is Kind.SSH:
        device = SshDevice(name, settings)
        with device.connected():
            told = device.sh(script, *arguments)
    else:
        ended = subprocess.run(["sh", "-c", script, "edgetf", *arguments], capture_output=True, text=True, check=False)
        told = ended.stdout
    return parse(told)


def runtime_of(name: str, settings: DeviceSettings) -> str:
    """The runtime that jobs on the device use, as "litert==2.3.0". Raises DeviceError where there is none."""
    if settings.kind is Kind.ADB:
        hint = "name the runtime that it was built with, such as --runtime litert==2.3"
        raise DeviceError(f"{name} runs benchmark_model, which does not tell its version", hint)
    facts = probe(name, settings)
    versions = {"litert": facts.litert, "tflite-runtime": facts.tflite_runtime}
    wanted = [settings.runtime] if settings.runtime in versions else list(versions)  # "auto" takes the newer one
    for runtime in wanted:
        if versions[runtime]:
            return f"{runtime}=={versions[runtime]}"
    raise DeviceError(f"{name} has no {' or '.join(wanted)}", f"edgetf devices doctor {name}")


_PYTHON = """
import platform, sys
def tell(name, value):
    print(name + "=" + str(value))
tell("python", platform.python_version())
tell("libc", " ".join(platform.libc_ver()))
from importlib import metadata
for name, package in (("numpy", "numpy"), ("litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime")):
    try:
        tell(name, metadata.version(package))
    except metadata.PackageNotFoundError:
        pass
"""

_ITS_PYTHON = r"""
if answer=$("$2" -c "$3" 2>&1); then echo "$answer"; else echo "python_error=$(echo "$answer" | tail -n 1)"; fi
"""
