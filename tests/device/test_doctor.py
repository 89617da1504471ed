from __future__ import annotations

from dataclasses import replace

import pytest

from edgetf.device.doctor import diagnose
from edgetf.device.facts import Facts, parse
from edgetf.device.probe import probe
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.errors import DeviceError

SETTINGS = DeviceSettings(Kind.SSH, "pi.local", python="venv/bin/python")
GOOD = Facts(
    architecture="aarch64",
    libc="glibc 2.36",
    cores="4",
    free_mib="9000",
    load="0.10",
    governor="performance",
    throttled="0x0",
    swap_used_mib="0",
    python="3.11.2",
    numpy="2.1.0",
    litert="2.3.0",
)


def test_a_complete_and_idle_device_has_no_findings() -> None:
    assert diagnose(GOOD, SETTINGS) == ()


@pytest.mark.parametrize(
    ("change", "problem", "hint"),
    [
        ({"python": "", "python_error": "not found"}, "does not run: not found", "python3 -m venv"),
        ({"python": "3.8.10"}, "too old: the runner needs 3.9", "newer"),
        ({"litert": ""}, "no TFLite interpreter", "venv/bin/python -m pip install ai-edge-litert"),
        ({"litert": "", "python": "3.9.2"}, "no TFLite interpreter", "tflite-runtime 'numpy<2'"),
        ({"litert": "", "architecture": "armv7l"}, "no TFLite interpreter", "tflite-runtime 'numpy<2'"),
        ({"litert": "", "architecture": "armv7l", "python": "3.13.1"}, "none for Python 3.13 on armv7l", "3.9 to 3.11"),
        ({"litert": "", "architecture": "riscv64"}, "none for riscv64", "glibc"),
        ({"litert": "", "libc": "glibc 2.24"}, "glibc 2.24, is too old", "Debian 12"),
        ({"litert": "", "tflite_runtime": "2.14.0"}, "built for numpy 1, and numpy is 2.1.0", "pip install 'numpy<2'"),
        ({"numpy": ""}, "numpy is missing", "pip install numpy"),
    ],
)
def test_what_prevents_the_runner_from_running_is_reported_with_a_hint(
    change: dict[str, str], problem: str, hint: str
) -> None:
    (finding,) = diagnose(replace(GOOD, **change), SETTINGS)
    assert finding.blocks
    assert problem in finding.problem
    assert hint in finding.hint


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"governor": "ondemand"}, "governor is ondemand"),
        ({"throttled": "0x50005"}, "under-voltage now"),
        ({"load": "3.90"}, "load 3.90"),
        ({"swap_used_mib": "800"}, "800 MiB are swapped out"),
        ({"free_mib": "12"}, "only 12 MiB"),
    ],
)
def test_what_makes_times_doubtful_does_not_block(change: dict[str, str], problem: str) -> None:
    findings = diagnose(replace(GOOD, **change), SETTINGS)
    assert findings
    assert not any(finding.blocks for finding in findings)
    assert any(problem in finding.problem for finding in findings)


def test_this_machine_can_be_probed() -> None:
    facts = probe("local", DeviceSettings(Kind.LOCAL))
    assert facts.architecture
    assert int(facts.cores) > 0
    assert int(facts.free_mib) > 0


def test_an_answer_without_facts_is_a_failure_of_the_device() -> None:
    with pytest.raises(DeviceError, match="makes no sense"):
        parse("Welcome!\nhello=world\n")
    assert parse("motd\narchitecture=aarch64\nnumpy=1.26.4\n").numpy == "1.26.4"
