"""A complete Raspberry Pi: arm64 Debian under qemu behind a real sshd, both runtimes. Times are emulated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetf.plans.record import read_run
from edgetf.recipes import TUNED, Ending, read_tuning
from edgetf.results import Verdict, read_benchmark
from tests.conftest import Run, Small
from tests.device.phones import Phone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCRIPT = Path(__file__).parent / "emulated_pi.sh"
PI = Path(os.environ.get("PI_DIR", Path.home() / ".cache" / "edgetf" / "emulated-pi"))
PORT = os.environ.get("PI_PORT", "2222")


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A devices.toml with the emulated Pi, which is started if possible."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("the emulated Pi needs Debian's packages, and root to mount and to chroot")
    started = subprocess.run(["bash", str(SCRIPT), "up"], capture_output=True, text=True, timeout=300, check=False)
    if started.returncode != 0:
        pytest.skip(f"the emulated Pi did not start: {started.stdout[-300:]} {started.stderr[-300:]}")
    file = tmp_path_factory.mktemp("pi") / "devices.toml"
    common = f"""
kind = "ssh"
host = "127.0.0.1"
port = {PORT}
user = "pi"
key = "{PI}/id_ed25519"
known_hosts = "{PI}/known_hosts"
emulated = true
"""
    file.write_text(f'[pi]\npython = "/home/pi/venv/bin/python"\n{common}\n[bare]\npython = "python3"\n{common}')
    yield file
    subprocess.run(["bash", str(SCRIPT), "down"], capture_output=True, timeout=60, check=False)


def test_probe_reports_the_device(devices: Path, edgetf: Run) -> None:
    ended = edgetf("devices", "probe", "pi", "--devices", devices, "--json")
    assert ended.returncode == 0, ended.stderr
    facts = json.loads(ended.stdout)
    assert facts["architecture"] == "aarch64"
    assert facts["model"].startswith("Raspberry Pi 4")
    assert facts["litert"]
    assert facts["tflite_runtime"]
    assert facts["governor"] == "ondemand"
    assert int(facts["free_mib"]) > 0


def test_doctor_reports_what_is_missing_and_the_command_that_installs_it(devices: Path, edgetf: Run) -> None:
    ended = edgetf("devices", "doctor", "bare", "--devices", devices)
    assert ended.returncode == 1
    assert "there is no TFLite interpreter" in ended.stdout
    assert "python3 -m pip install ai-edge-litert" in ended.stdout
    assert edgetf("devices", "doctor", "pi", "--devices", devices).returncode == 0


@pytest.mark.parametrize(
    ("runtime", "schemes"), [("litert", ("float32", "int8", "int16x8")), ("tflite-runtime", ("int8",))]
)
def test_every_variant_is_as_far_from_tensorflow_on_the_pi_as_it_is_here(
    runtime: str,
    schemes: tuple[str, ...],
    devices: Path,
    converted: Path,
    reference: Path,
    benchmarked: Path,
    edgetf: Run,
) -> None:
    here = {result.variant: result for result in read_benchmark(benchmarked).results}
    variants = [converted / f"{scheme}.tflite" for scheme in schemes]
    options = ("--reference", reference, "--devices", devices, "--device", "pi", "--runtime", runtime, "--blocks", 2)
    ended = edgetf("benchmark", *variants, *options, "-o", "bench", "--json", timeout=500)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["machine"]["architecture"] == "aarch64"
    for result in document["results"]:
        assert result["emulated"]
        assert result["runtime"].startswith(runtime)
        assert [block["governor"] for block in result["blocks"]] == ["ondemand"] * 2
        local = here[result["variant"]].parity
        assert local is not None
        assert result["parity"]["verdict"] == local.verdict
        coverage = result["coverage"]
        assert (coverage["accelerator"], coverage["source"]) == ("XNNPACK", "nodes")
        assert len(result["ops"]) == coverage["operations"]
        assert sum(one["share"] for one in result["ops"]) == pytest.approx(1)
        if result["variant"] == "float32":
            assert (coverage["delegated"], coverage["partitions"]) == (coverage["operations"], 1)
        if result["variant"] == "int16x8" or runtime == "tflite-runtime":
            assert coverage["delegated"] == 0
        step = 1e-5 if result["variant"] == "float32" else 1 / 256  # a probability's, in int8
        assert abs(result["parity"]["outputs"][0]["max_abs"] - local.outputs[0].max_abs) <= step
    assert any("governor is ondemand" in warning for warning in document["warnings"])
    checked = edgetf("check", "bench", "--max-latency-ms", 10_000)
    assert checked.returncode == 4  # no verdict on the latency of an emulated device
    assert "emulated" in checked.stdout


def test_a_tuned_variant_is_proven_on_the_pi_and_answers_as_it_does_here(
    devices: Path, converted: Path, unseen: Path, small: Small, edgetf: Run, tmp_path: Path
) -> None:
    options = ("--samples", small.samples, "--reference", unseen, "--max-drop", 6, "--keep-float", "conv2d")
    ended = edgetf("tune", converted, *options, "--devices", devices, "--device", "pi", "-o", "tuned", timeout=550)
    assert ended.returncode == 0, ended.stderr
    proven = read_benchmark(tmp_path / "tuned" / "bench")
    assert proven.machine["architecture"] == "aarch64"
    [there] = [result for result in proven.results if result.variant == TUNED]
    assert there.emulated
    assert read_tuning(tmp_path / "tuned").ending is Ending.TUNED
    ended = edgetf("benchmark", "tuned/tuned.tflite", "--reference", "tuned/proof", "--blocks", 2, "-o", "here")
    assert ended.returncode == 0, ended.stderr
    [here] = read_benchmark(tmp_path / "here").results
    assert here.parity is not None
    assert there.parity is not None
    assert there.parity.verdict is here.parity.verdict is not Verdict.FAIL  # both by the default budget
    assert there.parity.outputs[0].accuracy == here.parity.outputs[0].accuracy
    assert abs(there.parity.outputs[0].max_abs - here.parity.outputs[0].max_abs) <= 1 / 256


def test_a_plan_ships_a_file_for_the_pi_and_one_for_a_phone(
    devices: Path, phone: Phone, small: Small, unseen: Path, edgetf: Run, tmp_path: Path
) -> None:
    both = tmp_path / "both.toml"
    both.write_text(devices.read_text() + phone.settings(emulated=True).read_text())
    (tmp_path / "edgetf.toml").write_text(
        f"""
devices = ["shelf", "phone"]
devices_file = "{both}"
schemes = ["int8"]
[models.net]
path = "{small.saved_model}"
samples = "{small.samples}"
test = "{unseen.parent / "samples.npz"}"
[classes]
shelf = ["pi"]
[budgets]
max_drop = 6.0
[tuning]
when = "never"
[options]
blocks = 2
on = "cpu"
"""
    )
    ended = edgetf("run", timeout=500)
    assert ended.returncode == 0, ended.stderr
    there, held = read_run(tmp_path / "ship").answers
    assert (there.device, there.ran_on, held.device) == ("shelf", "pi", "phone")
    assert there.verdict is held.verdict is Verdict.PASS
    assert there.variant == held.variant == "int8"
    assert edgetf("verify", there.bundle).returncode == 0
    again = edgetf("run", timeout=60)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("unchanged") == 8


def test_a_second_run_reuses_files_and_leaves_no_job(
    devices: Path, converted: Path, reference: Path, edgetf: Run
) -> None:
    options = ("--reference", reference, "--devices", devices, "--device", "pi", "--blocks", 2)
    for name in ("first", "second"):
        ended = edgetf("benchmark", converted / "int8.tflite", *options, "-o", name, timeout=500)
        assert ended.returncode == 0, ended.stderr
    work = PI / "root" / "home" / "pi" / ".cache" / "edgetf"
    assert list((work / "jobs").iterdir()) == []
    assert all(len(path.name) == 64 for path in (work / "store").iterdir())
