"""What goes wrong on a phone: cut connections, full storage, programs that fail, hang or lack something."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetf.device.devices_toml import load_settings
from edgetf.device.doctor import diagnose
from edgetf.device.facts import Facts
from edgetf.device.phone import PhoneDevice
from edgetf.device.phone_job import prepare, read_signature
from edgetf.device.runner.job import Job
from edgetf.device.runner.run import run_job
from edgetf.device.settings import DeviceSettings
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.events import Event, Progress
from edgetf.files import sha256_file
from edgetf.flatbuffer import pack, read_contents, unpack
from tests.conftest import ignore
from tests.device.adb_server import AdbServer
from tests.device.failing import failing
from tests.device.phones import QUICK, ROWS, Phone, run

pytestmark = pytest.mark.skipif(shutil.which("adb") is None, reason="adb is not installed")


def test_a_connection_that_is_cut_while_files_are_sent_is_restored(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    def cut_once(received: int) -> None:
        if received > 8_000:
            phone.server.on_bytes = lambda received: None
            phone.server.cut()

    phone.server.on_bytes = cut_once
    measurement = run(phone.device(), job("float32"), tmp_path / "out")
    assert measurement.samples is not None
    assert measurement.samples.n == ROWS


def test_a_connection_that_is_cut_during_the_run_finds_the_run_again(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    def cut_at_sample_3(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 3:
            phone.server.cut()

    measurement = run(phone.device(), job("float32"), tmp_path / "out", cut_at_sample_3)
    assert measurement.samples is not None
    assert measurement.samples.n == ROWS


def test_a_connection_that_is_cut_while_results_are_fetched_is_restored(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    def cut_after_the_last_sample(event: Event) -> None:
        if isinstance(event, Progress) and event.done == ROWS:
            phone.server.on_pull = cut_once

    def cut_once() -> None:
        phone.server.on_pull = lambda: None
        phone.server.cut()

    measurement = run(phone.device(), job("float32"), tmp_path / "out", cut_after_the_last_sample)
    assert measurement.samples is not None
    assert measurement.samples.n == ROWS


def test_every_step_may_run_twice(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to each command, and to each file, is lost once: after it was done, before the host knows it."""
    monkeypatch.setattr("edgetf.device.reconnect.PAUSE_S", 0.01)
    asked = job("float32")
    np.save(asked.inputs["image"], np.load(asked.inputs["image"])[:2])
    seen: list[str] = []

    def lose_once(what: str) -> bool:
        """For the files that are fetched, the answer to the first: one try fetches them all."""
        seen.append("RECV" if what.startswith("RECV") else what)
        return seen.count(seen[-1]) == 1

    phone.server.loses = lose_once
    events: list[Event] = []
    measurement = run(phone.device(), asked, tmp_path / "out", events.append)
    assert measurement.error is None
    assert measurement.samples is not None
    assert measurement.samples.n == 2
    assert all(seen.count(what) > 1 for what in seen)
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2]  # and it ran once
    assert sum(what.startswith("SEND") for what in seen) == 3 * 2
    run_job(asked, tmp_path / "here", ignore)
    ours, here = (np.load(tmp_path / place / "output-0.npy") for place in ("out", "here"))
    np.testing.assert_array_equal(ours, here)
    assert list((phone.work / "jobs").iterdir()) == []
    assert not list((phone.work / "store").glob(".*"))


def test_a_full_phone_is_reported_with_its_free_space(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    phone.server.full = True
    with pytest.raises(
        DeviceError, match=r"there is no free space on phone: .* are free in .*No space left on device"
    ) as caught:
        run(phone.device(), job("float32"), tmp_path / "out")
    assert "free some space" in caught.value.hint


_DF = "echo Filesystem 1 2 3 4 5; echo /dev/block/dm-5 113000000 112999900 100 100% /data"  # when it is full
FILLS_UP = {
    "an output is cut short": 'for f in "$@"; do case $f in --output_filepath=*) echo x > once;; esac; done',
    "there is no output": "exit 0",
    "the program cannot write": "echo 'ERROR: write: No space left on device' >&2; exit 1",
}


@pytest.mark.parametrize("how", FILLS_UP)
def test_a_phone_that_fills_up_during_the_run_is_reported_as_full(
    how: str, phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    phone.program.write_text(f"#!/bin/sh\n{FILLS_UP[how]}\n")
    phone.install("df", _DF)
    measurement = run(phone.device(), job("float32"), tmp_path / "out")
    assert (measurement.error or "").startswith("there is no free space on phone: 102 kB are free in ")
    assert "set work_dir" in (measurement.error or "")


def test_a_job_over_its_quota_is_reported_as_full(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    """As under a quota: there is space on the disk, but not for the shell."""
    phone.install(
        "cat", 'case "$1" in once) echo "cat: No space left on device" >&2; exit 1;; esac; exec /bin/cat "$@"'
    )
    measurement = run(phone.device(), job("float32"), tmp_path / "out")
    assert (measurement.error or "").startswith("there is no free space on phone: ")


def test_a_job_that_can_write_nothing_is_reported_as_full(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    phone.program.write_text("#!/bin/sh\n: > ../code; : > code\n")  # as if no byte can be written
    phone.install("df", _DF)
    phone.install("mv", 'case "$*" in *code.part*) exit 1;; esac; exec /bin/mv "$@"')
    with pytest.raises(DeviceError, match=r"there is no free space on phone: 102 kB are free in .*; the run on phone "):
        run(phone.device(), job("float32"), tmp_path / "out")


def test_a_phone_that_returns_garbage_is_a_failure_of_the_device(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    device = phone.device()
    phone.install("sh", "head -c 300 /dev/urandom")
    with pytest.raises(DeviceError, match="answer makes no sense"):
        run(device, job("float32"), tmp_path / "out")


def test_a_program_that_dies_is_a_failure_of_the_variant(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETF_TEST_DIES", "1")
    asked = replace(job("float32"), timing=QUICK)
    measurement = run(phone.device(), asked, tmp_path / "out")
    assert measurement.error_phase == "timing"
    assert (measurement.error or "").startswith("benchmark_model died of SIGSEGV")


def test_errors_of_the_program_are_reported_unchanged(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    phone.program.write_text("#!/bin/sh\necho 'ERROR: Node number 57 (BATCH_MATMUL) failed to prepare.'; exit 1\n")
    measurement = run(phone.device(), replace(job("float32"), timing=QUICK), tmp_path / "out")
    assert measurement.error == "Node number 57 (BATCH_MATMUL) failed to prepare."
    phone.program.write_text("#!/bin/sh\necho nothing of use\n")
    asked = replace(job("float32"), timing=QUICK, outputs=False)
    measurement = run(phone.device(), asked, tmp_path / "out2")
    assert measurement.error == "benchmark_model printed no times"


GPU = {
    "works": None,
    "unsupported": "this benchmark_model has no GPU delegate for the phone, and ran the graph on the CPU",
    "though": "the GPU took nothing of the graph: benchmark_model ran it on the CPU",
    "failed": "Failed to apply GPU delegate.",
    "silent": "the GPU took nothing of the graph: benchmark_model ran it on the CPU",
}


@pytest.mark.parametrize("how", GPU)
def test_a_run_that_the_gpu_did_not_accept_is_not_reported_as_a_gpu_run(
    how: str, phone: Phone, job: Callable[[str], Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETF_TEST_GPU", how)
    asked = replace(job("float32"), timing=replace(QUICK, min_runs=3), outputs=False, delegate="gpu")
    measurement = run(phone.device(), asked, tmp_path / "out")
    assert measurement.error == GPU[how]
    assert (measurement.summary is None) == (how == "failed")


LACKS = {
    "output_filepath": "this benchmark_model does not know --output_filepath: download a newer one",
    "input_layer_value_files": "this benchmark_model does not know --input_layer_value_files: download a newer one",
    "report_peak_memory_footprint": None,  # flags that only inform do not matter
}


@pytest.mark.parametrize("flag", LACKS)
def test_a_program_that_ignores_a_necessary_flag_is_refused(
    flag: str, phone: Phone, job: Callable[[str], Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETF_TEST_LACKS", flag)
    asked = job("float32")
    np.save(asked.inputs["image"], np.load(asked.inputs["image"])[:1])
    measurement = run(phone.device(), asked, tmp_path / "out")
    assert measurement.error == LACKS[flag]
    assert (measurement.samples is None) == (measurement.error is not None)


def test_the_message_of_a_program_that_aborts_is_reported(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    """A file of the store that lost its end, as on a failing card: the tool's own check finds it."""
    phone.install("dd", "head -c 5 /dev/zero > in0")
    measurement = run(phone.device(), replace(job("float32"), timing=QUICK, outputs=False), tmp_path / "out")
    assert measurement.error == "The size of in0 is 5 bytes. It should be 256 bytes."
    assert (tmp_path / "out" / "failed").read_text() == "134\n"  # SIGABRT


def test_inputs_that_benchmark_model_cannot_read_are_refused_before_anything_is_sent(
    phone: Phone, converted: Path, job: Callable[[str], Job], tmp_path: Path
) -> None:
    scalar = tmp_path / "scalar.tflite"
    scalar.write_bytes(_changed(converted / "float32.tflite", _make_scalar))
    device = phone.device()
    with device.reserve():
        before = phone.server.received
        with failing(Cause.UNFIT, match=r"'image' takes a single value \(rank 0\)") as caught:
            device.run(replace(job("float32"), model=str(scalar)), tmp_path / "out", ignore)
        assert phone.server.received - before < 100  # the phone was not used
    assert "another device" in caught.value.hint


def test_the_graph_that_runs_is_read_if_there_are_several_signatures(
    phone: Phone, converted: Path, job: Callable[[str], Job], tmp_path: Path
) -> None:
    both = tmp_path / "both.tflite"
    both.write_bytes(_changed(converted / "float32.tflite", _add_first_graph))
    assert [spec.name for spec in read_contents(both).inputs] == ["other"]
    asked = replace(job("float32"), model=str(both), signature="serving_default")
    [spec] = read_signature(asked).inputs
    assert (spec.name, spec.shape) == ("image", (1, 8, 8, 1))
    there = prepare(asked, phone.program, tmp_path)
    assert there.job.signature == "serving_default"  # the tool needs the signature as a flag
    first = prepare(replace(asked, model=str(converted / "float32.tflite")), phone.program, tmp_path)
    assert first.job.signature is None  # tools of any version run the first graph by default
    assert [tensor.shape for tensor in there.outputs] == [(1, 3)]
    with pytest.raises(EdgetfError, match="has no signature 'third'"):
        prepare(replace(asked, signature="third"), phone.program, tmp_path)
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(_changed(both, lambda model: model.signatureDefs.pop(0)))
    only = prepare(replace(asked, model=str(alone), signature=None), phone.program, tmp_path)
    assert (only.job.signature, [tensor.name for tensor in only.tensors]) == ("serving_default", ["image"])


def _changed(file: Path, change: Callable[[Any], None]) -> bytes:
    model, _ = unpack(file.read_bytes())
    change(model)
    return pack(model)


def _make_scalar(model: Any) -> None:
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.inputs[0]]
    tensor.shape, tensor.shapeSignature = [], None


def _add_first_graph(model: Any) -> None:
    """Put a graph with one tensor before the one that is there, and a signature `other` that runs it."""
    first = copy.deepcopy(model.subgraphs[0])
    first.tensors, first.inputs, first.outputs, first.operators = [first.tensors[first.inputs[0]]], [0], [0], []
    signature = copy.deepcopy(model.signatureDefs[0])
    signature.signatureKey, signature.subgraphIndex = b"other", 0
    for one in (*signature.inputs, *signature.outputs):
        one.tensorIndex, one.name = 0, b"other"
    model.signatureDefs[0].subgraphIndex = 1
    model.subgraphs, model.signatureDefs = [first, model.subgraphs[0]], [signature, model.signatureDefs[0]]


def test_a_run_continues_without_a_refused_priority_and_reports_it(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    phone.install("nice", "echo 'nice: Permission denied' >&2; exit 1")
    asked = replace(job("float32"), timing=QUICK, outputs=False, nice=-5)
    measurement = run(phone.device(), asked, tmp_path / "out")
    assert (measurement.error, measurement.nice, measurement.nice_effective) == (None, -5, 0)


def test_a_script_that_did_not_end_is_a_failure(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    phone.install("dd", "kill -9 $PPID")
    with failing(Cause.LOST, match="ended with exit code 137"):
        run(phone.device(), job("float32"), tmp_path / "out")


def test_a_phone_whose_shell_hangs_ends_the_run(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetf.device.adb.COMMAND_S", 0.5)
    monkeypatch.setattr("edgetf.device.adb.sleep", lambda seconds: None)
    device = phone.device()
    device.probe()
    phone.install("sh", "sleep 5")
    with failing(Cause.UNREACHABLE, match="phone cannot be reached: no answer for 0 s"):
        device.probe()


def test_a_phone_that_reboots_or_hangs_ends_the_run(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    def forget(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 2:
            for pid in (phone.work / "jobs").glob("*/pid"):
                number = pid.read_text().split()[0]
                subprocess.run(["kill", "-9", "--", f"-{number}"], check=False)
                pid.write_text(f"{number} another-boot\n")

    with failing(Cause.LOST, match="the run on phone is gone"):
        run(phone.device(), job("float32"), tmp_path / "out", forget)
    assert (tmp_path / "out" / "outputs").stat().st_size >= 2 * 3 * 4  # what arrived until then is kept
    phone.program.write_text("#!/bin/sh\nsleep 60\n")
    device = PhoneDevice("phone", load_settings(phone.settings())["phone"], idle_s=1.0)
    with failing(Cause.HUNG, match="hung: no word for 1 s"):
        run(device, job("float32"), tmp_path / "out2")
    assert list((phone.work / "jobs").iterdir()) == []


def test_files_damaged_on_arrival_are_not_kept(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    phone.install("sha256sum", "echo 0000 $1")
    with pytest.raises(DeviceError, match="its digest is 0000, not "):
        run(phone.device(), job("float32"), tmp_path / "out")
    assert list((phone.work / "store").iterdir()) == []


def test_a_file_that_has_changed_on_the_phone_is_not_run_and_sent_again(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    asked = job("int8")
    model = sha256_file(Path(asked.model))
    assert run(phone.device(), asked, tmp_path / "first").model_sha256 == model
    kept = phone.work / "store" / model
    kept.write_bytes(bytes(kept.stat().st_size))  # of the same length as before
    changed = run(phone.device(), asked, tmp_path / "changed")
    assert "has changed there" in str(changed.error)
    assert changed.samples is None
    assert run(phone.device(), asked, tmp_path / "again").error is None


def test_a_place_that_cannot_be_written_is_reported(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot do what it was asked"):
        run(phone.device(work_dir="/proc/none"), job("float32"), tmp_path / "out")


def test_each_phone_has_one_run_at_a_time_and_is_identified_by_its_serial(phone: Phone) -> None:
    refused = pytest.raises(DeviceError, match="phone is in use by another run")
    with phone.device().reserve(), refused, phone.device().reserve():
        pass
    other = AdbServer()
    subprocess.run(["adb", "connect", other.serial], capture_output=True, check=True)
    settings = replace(load_settings(phone.settings())["phone"], serial=None)
    with failing(Cause.UNFIT, match="several phones are connected: 127") as caught:
        PhoneDevice("phone", settings).probe()
    assert "set serial in devices.toml" in caught.value.hint
    there = PhoneDevice("phone", replace(settings, serial=other.serial, work_dir=str(phone.work)))
    with there.reserve():
        assert there.store == f"{phone.work}/store"
    usual = replace(settings, work_dir=DeviceSettings.work_dir)
    assert PhoneDevice("phone", usual).store == "/data/local/tmp/edgetf/store"
    subprocess.run(["adb", "disconnect", other.serial], capture_output=True, check=False)
    other.close()


def test_an_unauthorized_phone_gives_a_hint_about_its_screen(phone: Phone) -> None:
    unauthorized = AdbServer(authorized=False)
    with failing(Cause.UNREACHABLE, match="does not trust this computer yet") as caught:
        phone.device(serial=unauthorized.serial).probe()
    assert "unlock its screen" in caught.value.hint
    unauthorized.close()


def test_what_is_missing_on_this_side_is_reported(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    with failing(Cause.UNFIT, match="no-such-adb is not installed") as caught:
        phone.device(adb="no-such-adb").probe()
    assert "apt install adb" in caught.value.hint
    with pytest.raises(DeviceError, match="phone cannot be reached"):
        phone.device(serial="127.0.0.1:1").probe()
    with pytest.raises(EdgetfError, match="the benchmark_model of phone is not at"):
        run(phone.device(benchmark_model="/nowhere/benchmark_model"), job("float32"), tmp_path / "out")


def test_the_doctor_reports_what_a_phone_needs(phone: Phone) -> None:
    settings = load_settings(phone.settings())["phone"]
    facts = phone.device().probe()
    assert facts.model == "x Pixel 8"
    assert not any(finding.blocks for finding in diagnose(facts, settings))
    [finding] = diagnose(Facts(architecture="aarch64"), replace(settings, benchmark_model=None))
    assert "no benchmark_model" in finding.problem
    [finding] = diagnose(Facts(architecture="aarch64", throttled="2"), settings)
    assert "thermal status is 2" in finding.problem
