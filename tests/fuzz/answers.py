"""Formats that devices and people write as text: settings, budgets, output of programs on a device."""

from __future__ import annotations

import shlex
from pathlib import Path
from random import Random
from unittest import mock

from tests.device.test_benchmark_model import NEW, OLD
from tests.fuzz.core import Format
from tests.fuzz.mutate import mutate_bytes, mutate_text

DEVICES = b"""
[pi]
kind = "ssh"
host = "raspberrypi.local"
user = "pi"
port = 22
python = "/home/pi/bin/python"
threads = 4
env = { OMP_NUM_THREADS = "1" }
key = "~/.ssh/id"

[phone]
kind = "adb"
benchmark_model = "~/benchmark_model"
serial = "1234"
delegate = "gpu"
emulated = true
"""
BUDGETS = b"""variants = ["int8", "float32"]
[budgets]
max_drop = 1.0
max_metric_drop = 0.01
min_agreement = 0.98
max_bytes = 4000000
max_memory_bytes = 100000000
min_delegated = 0.9
max_partitions = 2
max_latency_ms = { local = 5.0, pi = 7 }
[budgets.of.int8]
max_drop = 2
"""
FACTS = b"""architecture=aarch64
kernel=Linux 6.1.0
system=Debian GNU/Linux 12 (bookworm)
libc=glibc 2.36
model=Raspberry Pi 5 Model B Rev 1.0
cpu=Cortex-A76
cores=4
memory_mib=8062
swap_used_mib=0
free_mib=20000
load=0.10
governor=ondemand
frequency_mhz=1500
temperature_c=48
throttled=0x50000
python=3.11.2
numpy=1.26.4
litert=2.3.0
tflite_runtime=2.14.0
"""
STATE = b"""governor=schedutil
frequency_khz=1804800
frequency_max_khz=2841600
load_1min=3.10
power_meter=battery
Thermal Status: 0
Cached temperatures:
Current temperatures from HAL:
\tTemperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=31.0, mType=2, mName=battery, mStatus=0}
Current cooling devices from HAL:
"""
VELA = b"""Warning (supported operators) operator: QUANTIZE, ofm: 'tfl.quantize'
Reason: Operation has tensor with unsupported DataType Float32 (serving_default_image:0)
Feature-map dataTypes must be one of {"INT16", "INT8"}

core_clock,system_config,memory_mode,inference_time,sram_memory_used,dram_memory_used,on_chip_flash_memory_used,off_chip_flash_memory_used
500000000.0,Ethos_U55_High_End_Embedded,Shared_Sram,0.00050316,35.203125,0.0,0.0,204.03125
"""
PROFILE = b"""Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 1.5, 1.25, 50%, 50%, 0, 1, [conv]:0
Convolution (NHWC, F32) IGEMM, 1.0, 1.25, 50%, 100%, 0, 1, Delegate/Convolution:0
============================== Top by Computation Time ==============================
"""
RAILS = b"""   VDD_CORE_A current(7)=1.25000000A
   VDD_CORE_V volt(15)=0.72000000V
   3V3_SYS_A current(1)=0.10000000A
   3V3_SYS_V volt(9)=3.31000000V
"""
PROC = b"""cpu  1000 200 300 4000 50 6 7 8 0 0
cpu0 1000 200 300 4000 50 6 7 8 0 0
MemTotal:        8062000 kB
SwapTotal:        100000 kB
SwapFree:          90000 kB
VmHWM:\t  123456 kB
VmRSS:\t   98765 kB
model name\t: Cortex-A76
CPU part\t: 0xd0b
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
1500000
"""


def formats() -> list[Format]:
    """Those of this module."""
    return [
        Format("answers of probe", (FACTS,), mutate_text, _use_facts),
        Format("answers of a phone", (STATE,), mutate_text, _use_state),
        Format("benchmark_model", (NEW.encode(), OLD.encode()), mutate_text, _use_log),
        Format("vela", (VELA,), mutate_text, _use_vela),
        Format("profile", (PROFILE,), mutate_text, _use_profile),
        Format("vcgencmd", (RAILS,), mutate_text, _use_rails),
        Format("/proc", (PROC,), mutate_text, _use_proc),
        Format("bytes of local", (FACTS,), _mutate_printed, _use_local),
        Format("bytes over SSH", (FACTS,), _mutate_printed, _use_ssh, slow=True),
    ]


def _mutate_printed(chance: Random, content: bytes) -> bytes:
    """What a program prints need not be text."""
    return mutate_bytes(chance, mutate_text(chance, content) if chance.random() < 0.5 else content)


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def _use_facts(chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.device.doctor import diagnose
    from edgetf.device.facts import parse
    from edgetf.device.settings import DeviceSettings, Kind

    facts = parse(_text(content))
    _refuse_unprintable(*vars(facts).values())
    for kind in Kind:
        for finding in diagnose(facts, DeviceSettings(kind)):
            _refuse_unprintable(finding.problem, finding.hint)


def _use_state(chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.device.android import read_power, read_state

    state = read_state(_text(content))
    _refuse_unprintable(*state, *state.values())
    read_power("-100 4000\n" + _text(content), "-300 3900", 5, 1.0)


def _use_log(chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.benchmarks.timing.times import merge_summaries
    from edgetf.device.benchmark_model import read_coverage, read_facts, read_failure, read_timing
    from edgetf.device.runner.delegates import DELEGATES
    from edgetf.limits import find_fault

    log = _text(content)
    reported = read_timing(log)
    assert not find_fault(reported)
    if reported is not None:
        merge_summaries([reported, reported])
    for value in read_facts(log).values():
        assert 0 <= value <= 1 << 53
    assert not find_fault(read_coverage(log, DELEGATES["xnnpack"]))
    _refuse_unprintable(read_failure(log, chance.choice([0, 1, 134, 139, 999])))


def _use_vela(chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.limits import find_fault
    from edgetf.targets.fits import Fit
    from edgetf.targets.vela import read_reasons, read_summary, with_figures

    printed, _, summary = content.rpartition(b"\n\n")
    for why in read_reasons(_text(printed)).values():
        _refuse_unprintable(why)
    (folder / "summary.csv").write_bytes(summary)
    fit = with_figures(
        Fit("it", "", 1, "ethos-u55-128", "Vela", fits=False), 3, (), read_summary(folder / "summary.csv")
    )
    assert not find_fault(fit), fit
    _refuse_unprintable(fit.assumed)


def _use_profile(chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.device.benchmark_model import read_coverage, read_ops
    from edgetf.device.runner.delegates import DELEGATES
    from edgetf.limits import find_fault

    csv = _text(content)
    for op in read_ops(csv):
        assert not find_fault(op), op
        _refuse_unprintable(op.kind, op.name)
    coverage = read_coverage(NEW.replace("2136 out of 2168", "1 out of 2"), DELEGATES["xnnpack"], csv)
    assert coverage is not None
    assert not find_fault(coverage), coverage


def _use_rails(chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.device.runner.power import read_battery, read_rails

    watts = read_rails(_text(content))
    assert watts is None or 0 <= watts < 1e100
    for name, text in (("type", "Battery"), ("status", "Discharging"), ("current_now", "1"), ("voltage_now", "2")):
        (folder / name).write_text(text)
    (folder / chance.choice(["type", "status", "power_now", "current_now", "voltage_now"])).write_bytes(content[-12:])
    watts = read_battery(folder)
    assert watts is None or 0 <= watts < 1e100


def _use_proc(chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.device.runner import machine

    with mock.patch.object(machine, "_read", return_value=_text(content).strip().strip("\0")):
        neighbours = machine.Neighbours()
        neighbours.cores()
        machine.resident_bytes(peak=True)
        for facts in (machine.describe_machine(), machine.describe_state()):
            _refuse_unprintable(*facts.values())


def _use_local(chance: Random, folder: Path, content: bytes) -> None:
    """A shell on this machine that prints it, and a runner that does."""
    from edgetf.device import local
    from edgetf.process import run_child

    (folder / "printed").write_bytes(content)
    with mock.patch.object(local, "EVERYTHING", _printing(chance, folder)):
        _refuse_unprintable(*vars(local.LocalDevice().probe()).values())
    if chance.random() < 0.3:
        run_child(["cat", str(folder / "printed")], lambda event: None, idle_s=60)


def _use_ssh(chance: Random, folder: Path, content: bytes) -> None:
    """A shell on another machine that prints it, through the client and server of SSH."""
    from edgetf.device import ssh_connection
    from edgetf.device.devices import find_device
    from tests.device.ssh_server import Server

    (folder / "printed").write_bytes(content)
    server = Server(folder / "server")
    try:
        (folder / "devices.toml").write_text(server.settings("python3"))
        device = find_device("pi", folder / "devices.toml")
        with mock.patch.object(ssh_connection, "EVERYTHING", _printing(chance, folder)):
            _refuse_unprintable(*vars(device.probe()).values())
    finally:
        server.close()


def _printing(chance: Random, folder: Path) -> str:
    """A script that prints the content, or fails with it."""
    printed = f"cat {shlex.quote(str(folder / 'printed'))}"
    return chance.choice([printed, printed, f"{printed} >&2; exit 1"])


def _refuse_unprintable(*texts: str) -> None:
    for text in texts:
        assert text.isprintable(), text
