"""The doctor of a device: what keeps variants from running there, and what makes its times doubtful.

In: facts of the device, and a trial of its delegate. Out: findings, each with its hint.
"""

from __future__ import annotations

from edgetf.device.facts import Facts
from edgetf.device.kinds import KINDS
from edgetf.device.lacking import Finding
from edgetf.device.probe import probe
from edgetf.device.runner.answers import bits, count, number
from edgetf.device.settings import DeviceSettings
from edgetf.device.trial import try_delegate
from edgetf.errors import DeviceError, EdgetfError

_LEAST_FREE_MIB = 500
_BUSY = 0.5  # load for each core

# bits of `vcgencmd get_throttled`, from the Raspberry Pi documentation
_THROTTLED = {0: "under-voltage now", 1: "frequency capped now", 2: "throttled now", 3: "soft temperature limit now"}


def examine(name: str, settings: DeviceSettings) -> tuple[Finding, ...]:
    """All findings of the device named `name`, including that it cannot be reached."""
    try:
        found = diagnose(probe(name, settings), settings)
    except DeviceError as error:  # what is known without reaching it is reported, too
        return (Finding(True, error.message, error.hint), *diagnose(None, settings))
    if any(finding.blocks for finding in found):
        return found
    try:
        return (*try_delegate(name, settings), *found)
    except EdgetfError as error:
        return (*found, Finding(False, f"its delegate was not tried: {error.message}", error.hint))


def diagnose(facts: Facts | None, settings: DeviceSettings) -> tuple[Finding, ...]:
    """All findings, those that block first; without facts, only what is missing on this machine."""
    findings = KINDS[settings.kind].lacks(facts, settings)
    if facts is not None:
        timed = KINDS[settings.kind].timed
        findings = [*findings, *_space(facts), *(disturbances(facts) if timed else [])]
    return tuple(sorted(findings, key=lambda finding: not finding.blocks))


def _space(facts: Facts) -> list[Finding]:
    free = count(facts.free_mib)
    if free is not None and free < _LEAST_FREE_MIB:
        return [
            Finding(False, f"only {facts.free_mib} MiB are free", "free some space, or set work_dir to another disk")
        ]
    return []


def disturbances(facts: Facts) -> list[Finding]:
    """What disturbs a measurement of time."""
    found = []
    if facts.governor and facts.governor != "performance":
        hint = "as root: echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        found.append(Finding(False, f"the frequency governor is {facts.governor}: times vary with it", hint))
    throttled = bits(facts.throttled) or 0
    for bit, meaning in _THROTTLED.items():
        if throttled & (1 << bit):
            hint = "use the official power supply" if bit == 0 else "cool it: a heat sink, a fan"
            found.append(Finding(False, meaning, hint))
    if count(facts.throttled):  # Android's thermal status
        found.append(
            Finding(False, f"its thermal status is {facts.throttled}, not 0", "let it cool, take off its cover")
        )
    if (count(facts.swap_used_mib) or 0) > 100:
        found.append(Finding(False, f"{facts.swap_used_mib} MiB are swapped out", "end what takes the memory"))
    load, cores = number(facts.load), count(facts.cores)
    if load is not None and cores and load > _BUSY * cores:
        found.append(Finding(False, f"other programs keep it busy: load {facts.load}", "end them: top shows which"))
    return found
