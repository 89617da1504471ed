"""A phone: the real adb client and server, a daemon on the loopback, a stand-in for benchmark_model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.device import android
from edgetf.device.runner.job import Job
from edgetf.device.runner.run import run_job
from edgetf.events import Event, Progress
from edgetf.files import to_plain
from edgetf.results import read_benchmark
from tests.conftest import Run, Small, ignore
from tests.device.phones import QUICK, ROWS, Phone, run

pytestmark = pytest.mark.skipif(shutil.which("adb") is None, reason="adb is not installed")


def test_a_block_has_what_benchmark_model_reported_and_the_state_of_the_phone(
    phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    asked = replace(job("int8"), timing=QUICK, outputs=False, operations=True, threads=2)
    measurement = run(phone.device(), asked, tmp_path / "out")
    assert measurement.error is None
    assert measurement.summary is not None
    assert measurement.summary.n >= QUICK.min_runs
    assert measurement.summary.median_ns is not None
    assert measurement.summary.min_ns <= measurement.summary.median_ns <= measurement.summary.max_ns
    assert measurement.runtime == "benchmark_model"
    assert (measurement.added_rss_bytes, measurement.peak_rss_bytes) == (int(6.25 * 2**20), int(12.5 * 2**20))
    assert (measurement.threads, measurement.delegate_partitions) == (2, 1)
    assert measurement.coverage is not None
    assert (measurement.coverage.operations, measurement.coverage.delegated) == (67, 66)
    [left] = measurement.coverage.left
    assert (left.kind, left.count) == ("QUANTIZE", 1)
    assert left.time_share == pytest.approx(0.1)
    assert measurement.unknown == {}
    assert measurement.ops is not None
    assert [(op.kind, op.delegated) for op in measurement.ops] == [
        ("Convolution (NHWC, QC8) IGEMM", True),
        ("Fully Connected (NC, QS8) GEMM", True),
        ("QUANTIZE", False),
    ]
    assert measurement.ops[0].mean_ms == pytest.approx(1.0)  # called twice
    assert sum(op.share for op in measurement.ops) == pytest.approx(1)
    assert measurement.load_ns
    assert measurement.first_ns
    assert measurement.machine["model"] == "x Pixel 8"
    assert measurement.machine["system"].startswith("Android 14")
    assert (measurement.state_after["temperature_c"], measurement.state_after["throttled"]) == ("43.0", "0")
    flags = (tmp_path / "out" / "timing.log").read_text()
    assert "Graph: [" in flags


@pytest.mark.parametrize("scheme", ["float32", "int8-io"])
def test_outputs_are_those_of_the_runner_on_this_machine(
    scheme: str, phone: Phone, job: Callable[[str], Job], tmp_path: Path
) -> None:
    """int8-io: quantized before they are sent, dequantized when they are back."""
    events: list[Event] = []
    measurement = run(phone.device(), job(scheme), tmp_path / "out", events.append)
    assert measurement.error is None
    assert measurement.samples is not None
    assert measurement.samples.n == ROWS
    assert [event.done for event in events if isinstance(event, Progress)] == list(range(1, ROWS + 1))
    run_job(job(scheme), tmp_path / "here", ignore)
    ours, here = (np.load(tmp_path / place / "output-0.npy") for place in ("out", "here"))
    np.testing.assert_array_equal(ours, here)
    assert list((phone.work / "jobs").iterdir()) == []


def test_sustained_load_and_energy_come_back(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    asked = replace(job("float32"), outputs=False, sustained_s=1.5, energy_s=2.0)
    measurement = run(phone.device(), asked, tmp_path / "out")
    assert measurement.sustained is not None
    [window] = measurement.sustained
    assert window.runs > 10
    assert (window.at_s, window.state["temperature_c"]) == (1.5, "43.0")
    assert window.runs * window.median_ns < 2e9
    assert measurement.power is None  # this machine has no battery that reports its power


def test_power_is_read_only_while_the_battery_discharges() -> None:
    reported = android.read_power("-300000 4000000\n-310000 4000000\n", "1250000 4000000\n", 100, 2.0)
    assert reported is not None
    assert reported.idle_w == pytest.approx([1.2, 1.24])
    assert reported.active_w == pytest.approx([5.0])
    assert android.read_power("", "", 100, 2.0) is None


def test_files_on_the_phone_are_not_sent_again(phone: Phone, job: Callable[[str], Job], tmp_path: Path) -> None:
    received = []
    for name in ("first", "second"):
        before = phone.server.received
        asked = replace(job("float32"), timing=QUICK, outputs=False)
        run(phone.device(), asked, tmp_path / name)
        received.append(phone.server.received - before)
    files = (phone.program, Path(asked.model))
    samples = ROWS * 8 * 8 * 4
    assert received[0] - received[1] >= sum(path.stat().st_size for path in files) + samples
    assert len(list((phone.work / "store").iterdir())) == 3


@pytest.mark.slow
def test_the_whole_benchmark_runs_on_a_phone(
    phone: Phone, converted: Path, small: Small, edgetf: Run, tmp_path: Path
) -> None:
    with np.load(small.samples) as whole:
        np.savez(tmp_path / "few.npz", **{name: values[:ROWS] for name, values in whole.items()})
    reference = tmp_path / "ref"
    make_reference(small.saved_model, tmp_path / "few.npz", reference, ReferenceOptions(on=Place.CPU), ignore)
    options = ("--devices", phone.settings(emulated=True), "--device", "phone", "--blocks", "2", "-o", "bench")
    ended = edgetf(
        "benchmark", converted / "float32.tflite", converted / "int8.tflite", *options, "--reference", reference
    )
    assert ended.returncode == 0, ended.stderr
    document = read_benchmark(tmp_path / "bench")
    for result in document.results:
        assert result.parity is not None
        assert result.parity.n == ROWS
        assert result.latency_ms is not None
        assert result.latency_ms.p99 is None
        assert len(result.blocks) == 2
        assert result.peak_rss_bytes == int(12.5 * 2**20)
        assert result.emulated
    assert document.results[0].parity is not None
    assert document.results[0].parity.outputs[0].max_abs < 1e-5
    assert edgetf("report", "bench", "-o", "report.html").returncode == 0
    report = (tmp_path / "report.html").read_text()
    assert "Convolution (NHWC, QC8) IGEMM" in report


HOSTILE = r"printf 'Pixel\033[2J\033]0;title\007 8\r\n::error::x\nthrottled=1\xe2\x80\xae\n'"


def test_the_output_of_a_phone_cannot_control_the_terminal(
    phone: Phone, job: Callable[[str], Job], edgetf: Run, tmp_path: Path
) -> None:
    phone.install("getprop", HOSTILE)
    phone.program.write_text(f"#!/bin/sh\n{HOSTILE}\n{HOSTILE} | sed 's/^/ERROR: /' >&2; exit 1\n")
    events: list[Event] = []
    measurement = run(phone.device(), replace(job("float32"), timing=QUICK), tmp_path / "out", events.append)
    reported = json.dumps(
        [measurement.machine, measurement.error, measurement.state_before, to_plain(events)], ensure_ascii=False
    )
    assert "Pixel" in reported
    assert reported.isprintable()
    assert "\\u" not in json.dumps([measurement.machine, measurement.error])
    ended = edgetf("devices", "probe", "phone", "--devices", phone.settings())
    assert ended.returncode == 0, ended.stderr
    assert "Pixel" in ended.stdout
    assert all(line.isprintable() and not line.startswith("::") for line in ended.stdout.split("\n"))
