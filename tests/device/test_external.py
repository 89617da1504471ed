"""Delegates that are libraries, with one that is made here: on this machine, over SSH, and on a phone."""

from __future__ import annotations

import ctypes.util
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgetf.cli.benchmark import benchmark as command
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import DELEGATE_PHASE, Job, Measurement
from edgetf.device.runner.run import run_job
from edgetf.files import sha256_file
from edgetf.results import read_benchmark
from tests.attacks.kit import BRIEF, NONE, WEIGHTS, answers, inputs, write_model, write_reference, write_samples
from tests.conftest import Run, ignore
from tests.device.phones import QUICK, Phone
from tests.device.phones import run as run_on_phone
from tests.device.ssh_devices import ssh_device
from tests.device.ssh_server import Server

COMPILER = shutil.which("cc")
SOURCE = Path(__file__).parent / "native" / "fake_delegate.c"
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc): the delegate of the tests is not built"),
    pytest.mark.filterwarnings("ignore:coroutine 'Queue.join' was never awaited"),  # see test_ssh.py
]


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A delegate that takes softmax, and multiplies its outputs by its option `factor`."""
    library = tmp_path_factory.mktemp("fake") / "libfake.so"
    command = [str(COMPILER), "-shared", "-fPIC", "-O1", str(SOURCE), "-o", str(library), "-lm"]
    subprocess.run(command, check=True)
    return library


@pytest.fixture
def job(tmp_path: Path) -> Job:
    model = write_model(tmp_path / "mine.tflite", WEIGHTS, NONE)
    np.save(tmp_path / "x.npy", inputs(4))
    return Job(str(model), {"x": str(tmp_path / "x.npy")}, timing=BRIEF)


def _assert_ran(measurement: Measurement, out: Path, fake: Path, factor: float) -> None:
    """That the delegate took softmax, with its options, and which file it was."""
    assert measurement.error is None
    assert measurement.delegate == str(fake)
    assert measurement.delegate_options["factor"] == f"{factor}"
    assert measurement.delegate_sha256 == sha256_file(fake)
    coverage = measurement.coverage
    assert coverage is not None
    assert (coverage.operations, coverage.delegated, coverage.partitions) == (2, 1, 1)
    assert coverage.accelerator == "libfake.so"
    sums = np.load(out / "output-0.npy").sum(axis=-1)
    np.testing.assert_allclose(sums, factor, rtol=1e-5)


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_its_pieces_are_told_from_those_of_xnnpack_which_takes_the_rest(
    runtime: str, job: Job, fake: Path, tmp_path: Path
) -> None:
    asked = replace(
        job, runtime=runtime, delegate=str(fake), delegate_options={"factor": "1.5"}, operations=True, workers=4
    )
    measurement = LocalDevice().run(asked, tmp_path / "out", ignore)  # two runtimes in one process crash
    _assert_ran(measurement, tmp_path / "out", fake, 1.5)
    assert measurement.coverage is not None
    [left] = measurement.coverage.left
    assert (left.kind, left.count) == ("FULLY_CONNECTED", 1)
    assert {op.kind: op.delegated for op in measurement.ops or []} == {"FULLY_CONNECTED": False, "SOFTMAX": True}
    assert measurement.samples is not None
    assert measurement.samples.workers == 1  # another process may be refused by the hardware


def test_a_runtime_that_does_not_list_its_nodes_costs_the_coverage_alone(
    job: Job, fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("ai_edge_litert.interpreter.Interpreter._get_ops_details")
    measurement = run_job(replace(job, runtime="litert", delegate=str(fake)), tmp_path / "out", ignore)
    assert measurement.error is None
    assert measurement.samples is not None
    assert "does not list the nodes" in measurement.unknown["coverage"]


def test_a_job_over_ssh_uses_the_library_that_is_there(server: Server, job: Job, fake: Path, tmp_path: Path) -> None:
    device = ssh_device(server, tmp_path)
    asked = replace(job, delegate=str(fake), delegate_options={"factor": "3.0"})
    with device.reserve():
        _assert_ran(device.run(asked, tmp_path / "out", ignore), tmp_path / "out", fake, 3.0)


def test_a_phone_gets_the_path_and_the_options_as_flags(phone: Phone, job: Job, fake: Path, tmp_path: Path) -> None:
    asked = replace(job, timing=QUICK, delegate=str(fake), delegate_options={"factor": "2.0", "code": "25"})
    measurement = run_on_phone(phone.device(), asked, tmp_path / "out")
    _assert_ran(measurement, tmp_path / "out", fake, 2.0)
    assert measurement.coverage is not None
    assert measurement.coverage.source == "log"


def test_a_phone_without_the_library_or_its_hardware_gives_no_result(
    phone: Phone, job: Job, fake: Path, tmp_path: Path
) -> None:
    device = phone.device()
    missing = run_on_phone(device, replace(job, timing=QUICK, delegate="/data/none.so"), tmp_path / "a")
    assert missing.error == "there is no such delegate on the phone: adb push it, and give its path there"
    assert missing.error_phase == DELEGATE_PHASE
    other = Path(__file__)  # anything that is no library: the program continues without it
    refused = run_on_phone(device, replace(job, timing=QUICK, delegate=str(other)), tmp_path / "b")
    assert refused.error is not None
    assert refused.error.startswith("benchmark_model made no delegate of test_external.py")


def test_the_weight_cache_of_a_phone_is_filled_before_it_is_timed(phone: Phone, job: Job, tmp_path: Path) -> None:
    options = {"weight_cache": "true"}
    asked = replace(job, timing=QUICK, outputs=False, delegate_options=options)
    measurement = run_on_phone(phone.device(), asked, tmp_path / "out")
    assert measurement.error is None
    assert "weight cache built" in (tmp_path / "out" / "cache.log").read_text()
    assert "weight cache loaded" in (tmp_path / "out" / "timing.log").read_text()


def _of_another_machine(fake: Path, folder: Path) -> Path:
    content = bytearray(fake.read_bytes())
    content[18] = 0xB7 if content[18] != 0xB7 else 0x3E  # e_machine
    return _written(folder / "other.so", bytes(content))


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("library", "options", "reason"),
    [
        ("/none/libx.so", {}, "there is no /none/libx.so on this device: give the delegate's path there"),
        ("libnone.so.1", {}, "the delegate cannot be loaded: libnone.so.1: .*; give its path, or install it"),
        ("other", {}, r"other.so is built for \w+, Python here is \w+: get the library for \w+$"),
        ("text", {}, r"text.so is not a library \(ELF\)"),
        ("part", {}, r"part.so is cut off: it has 4,000 of at least \d\d,\d\d\d bytes; copy it again$"),
        ("another", {}, "is not a delegate of TFLite: it lacks tflite_plugin_create_delegate"),
        ("fake", {"fail": "no device"}, r"made no delegate: no device \(--delegate-option: fail=no device\)"),
        ("fake", {"fail": ""}, "made no delegate: it gave no reason; is its hardware there"),
    ],
)
def test_what_is_wrong_with_a_library_is_one_line(
    library: str, options: Mapping[str, str], reason: str, job: Job, fake: Path, tmp_path: Path
) -> None:
    """The last ones: Python would have the library destroy what it did not make, which crashes."""
    files = {
        "other": lambda: _of_another_machine(fake, tmp_path),
        "text": lambda: _written(tmp_path / "text.so", b"INPUT(libfake.so.1)" * 9),
        "part": lambda: _written(tmp_path / "part.so", fake.read_bytes()[:4000]),
        "another": lambda: Path(ctypes.util.find_library("m") or ""),
        "fake": lambda: fake,
    }
    named = str(files[library]()) if library in files else library
    found = run_job(replace(job, delegate=named, delegate_options=dict(options)), tmp_path / "out", ignore)
    assert found.error_phase == DELEGATE_PHASE  # no variant can run
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.error)


def test_a_user_measures_a_delegate_with_its_options(fake: Path, edgetf: Run, tmp_path: Path) -> None:
    model, x = write_model(tmp_path / "mine.tflite", WEIGHTS, NONE), inputs(200)
    outputs = answers(x, WEIGHTS, NONE)
    samples = write_samples(tmp_path / "samples.npz", x, outputs.argmax(axis=1))
    reference = write_reference(tmp_path / "ref", samples, outputs)
    log = tmp_path / "options"
    given = ("--delegate", fake, "--delegate-option", "factor=1.5", "--delegate-option", f"log={log}")
    ended = edgetf("benchmark", model, "--reference", reference, "-o", "bench", "--blocks", "2", *given)
    assert ended.returncode == 0, ended.stderr
    assert "libfake.so took 1 of 2 operations in one piece; 1 FULLY_CONNECTED stays on the CPU" in ended.stdout
    assert log.read_text().splitlines()[:2] == ["factor=1.5", f"log={log}"]
    assert read_benchmark(tmp_path / "bench").results[0].delegate_sha256 == sha256_file(fake)


def test_a_library_that_is_missing_is_one_line_and_no_result(edgetf_here: Run, tmp_path: Path) -> None:
    model = write_model(tmp_path / "mine.tflite", WEIGHTS, NONE)
    other = shutil.copy(model, tmp_path / "other.tflite")
    for _ in range(2):  # the failure is not kept for the next run: the library may be there then
        ended = edgetf_here("benchmark", model, other, "-o", tmp_path / "b", "--delegate", "libnone.so.1")
        assert (ended.returncode, ended.stdout) == (1, "")
        [error] = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
        assert error.startswith("error: local: the delegate cannot be loaded: libnone.so.1: ")
        assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--delegate-option", "device", "'device' is not KEY=VALUE, such as device=usb"),
        ("--delegate", "xnnpak", "'xnnpak' is unknown: did you mean 'xnnpack'"),
        ("--delegate-option", "device=pci", "'device' is given twice"),
    ],
)
def test_a_slip_on_the_command_line_is_named(option: str, value: str, reason: str) -> None:
    given = ["--delegate-option", "device=usb", option, value]
    ended = CliRunner().invoke(command, ["mine.tflite", "-o", "b", *given])
    assert ended.exit_code == 2
    assert reason in ended.stderr
