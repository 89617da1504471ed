"""The facts of a device, by one request. It does not need Python on the device."""

from __future__ import annotations

from edgetf.device.facts import Facts
from edgetf.device.kinds import KINDS
from edgetf.device.runner.delegates import MICRO, PROGRAM
from edgetf.device.settings import DeviceSettings
from edgetf.errors import Cause, DeviceError, EdgetfError


def probe(name: str, settings: DeviceSettings) -> Facts:
    """Ask the device. Raises DeviceError when it cannot be reached."""
    return KINDS[settings.kind].make(name, settings).probe()


def runtime_of(name: str, settings: DeviceSettings) -> str:
    """The runtime that jobs on the device use, as "litert==2.3.0". Raises DeviceError if there is none.

    Raises EdgetfError for a runtime that conversions cannot be made for.
    """
    if PROGRAM in KINDS[settings.kind].runtimes:
        hint = "name the runtime that it was built with, such as --runtime litert==2.3"
        raise DeviceError(f"{name} runs benchmark_model, which does not report its version", hint, Cause.UNFIT)
    if MICRO in KINDS[settings.kind].runtimes:
        hint = f"convert for any runtime, then see what runs there: edgetf inspect OUT --for {settings.kind.value}"
        raise EdgetfError(f"which operations {MICRO} has is in no table that conversions keep to", hint)
    versions = probe(name, settings).runtimes
    wanted = [settings.runtime] if settings.runtime in versions else list(versions)  # "auto" takes the newer one
    for runtime in wanted:
        if versions[runtime]:
            return f"{runtime}=={versions[runtime]}"
    raise DeviceError(f"{name} has no {' or '.join(wanted)}", f"edgetf devices doctor {name}", Cause.UNFIT)
