"""The command as a user runs it: help, what it prints, exit codes, broken input, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgetf.models.zoo import ZOO
from tests.conftest import Run, Small

COMMANDS = [
    ("demo",),
    ("convert",),
    ("reference",),
    ("benchmark",),
    ("check",),
    ("report",),
    ("inspect",),
    ("models",),
    ("models", "list"),
    ("models", "train"),
    ("models", "export"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_that_names_it(edgetf: Run, command: tuple[str, ...]) -> None:
    ended = edgetf(*command, "--help")
    assert ended.returncode == 0
    assert "Example:" in ended.stdout
    example = "edgetf models train" if command == ("models",) else f"edgetf {' '.join(command)}"
    assert example in ended.stdout.split("Example:")[1]


def test_the_group_lists_every_command(edgetf: Run) -> None:
    help_text = edgetf("--help").stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command[0]}\b", help_text, re.MULTILINE)


def _error(ended: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The error as one line and one hint; nothing else, and no traceback."""
    assert ended.returncode == code, ended.stderr
    lines = [
        line for line in ended.stderr.splitlines() if not re.match(r"(Converting|Measuring|Reference|Training)\b", line)
    ]
    assert len(lines) == 2, ended.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith(" hint: ")
    return lines[0]


def test_bad_input_is_one_line_a_hint_and_exit_code_1(
    edgetf: Run, small: Small, converted: Path, reference: Path, benchmarked: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("x")
    np.savez(tmp_path / "wrong.npz", image=np.zeros((2, 9, 9, 1), np.float32))
    whole = (converted / "int8.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[: len(whole) // 2])
    model = small.saved_model
    cases = {
        ("convert", "empty", "-o", "out"): "is an empty folder",
        ("convert", "text.txt", "-o", "out"): "is not a SavedModel",
        ("convert", model, "-o", "out", "--scheme", "int9"): "unknown scheme 'int9'",
        ("convert", model, "-o", "out", "--samples", "text.txt"): "is not an .npz file",
        ("convert", model, "-o", "out", "--samples", "wrong.npz"): "is float32 [2, 9, 9, 1], the model takes",
        ("convert", model, "-o", model / "out"): "lies inside of",
        ("convert", model, "-o", "/proc/out"): "cannot write to /proc/out",
        ("convert", model, "-o", converted): "already holds conversion.json",
        ("reference", "empty", "--samples", small.samples, "-o", "out"): "is an empty folder",
        ("reference", model, "--samples", "none.npz", "-o", "out"): "there are no samples at none.npz",
        ("benchmark", "cut.tflite", "-o", "out"): "is damaged or cut short",
        ("benchmark", "cut.tflite", "--reference", reference, "-o", "out"): "is damaged or cut short",
        ("benchmark", "empty", "-o", "out"): "there are no variants in empty",
        ("benchmark", converted, "-o", benchmarked): "already holds",
        ("benchmark", converted, "-o", "out", "--device", "pi"): "unknown device 'pi'",
        ("inspect", "cut.tflite"): "is damaged or cut short",
        ("inspect", "text.txt"): "is not a TFLite file",
        ("check", "empty"): "there is no benchmark.json at empty",
        ("report", benchmarked, "-o", "none/report.html"): "there is no folder none",
        ("models", "train", "cmn", "-o", "out"): "unknown model 'cmn'",
    }
    for arguments, message in cases.items():
        assert message in _error(edgetf(*arguments)), arguments
        assert not (tmp_path / "out").exists(), arguments


def test_wrong_usage_is_exit_code_2(edgetf: Run) -> None:
    for arguments in (
        ("convert",),
        ("nothing",),
        ("benchmark", "x", "-o", "y", "--runtime", "tpu"),
        ("check", "--nope"),
    ):
        assert edgetf(*arguments).returncode == 2


def test_an_error_is_json_too_where_json_was_asked_for(edgetf: Run) -> None:
    ended = edgetf("inspect", "missing.tflite", "--json")
    assert json.loads(ended.stdout)["error"]["message"].startswith("cannot read missing.tflite")


def test_convert_prints_a_table_and_json_and_tells_of_failures(edgetf: Run, small: Small, tmp_path: Path) -> None:
    asked = ("convert", small.saved_model, "--scheme", "float32", "--scheme", "int8")
    ended = edgetf(*asked, "-o", "a")
    assert ended.returncode == 1
    assert "int8 needs samples to calibrate on" in ended.stdout
    assert edgetf(*asked, "-o", "b", "--keep-going").returncode == 0
    ended = edgetf("convert", small.saved_model, "-o", "c", "--json")
    assert ended.returncode == 0
    document = json.loads(ended.stdout)
    assert document["schema"] == 1
    assert [variant["scheme"] for variant in document["variants"]] == ["float32", "float16", "dynamic"]
    assert set(document["variants"][0]) >= {"scheme", "status", "path", "bytes", "sha256", "seconds", "ops", "error"}
    assert "\x1b" not in ended.stdout + ended.stderr


def test_check_says_pass_fail_and_not_enough_data_with_its_exit_code(edgetf: Run, benchmarked: Path) -> None:
    ended = edgetf("check", benchmarked, "--variant", "float16", "--max-drop", "5")
    assert (ended.returncode, "PASS" in ended.stdout) == (0, True)
    ended = edgetf("check", benchmarked, "--variant", "float16", "--max-bytes", "10")
    assert (ended.returncode, "FAIL" in ended.stdout) == (3, True)
    ended = edgetf("check", benchmarked, "--variant", "float16", "--max-drop", "0.01")
    assert (ended.returncode, "NOT ENOUGH DATA" in ended.stdout) == (4, True)
    ended = edgetf("check", benchmarked, "--variant", "float16", "--max-drop", "5", "--json")
    assert json.loads(ended.stdout)["exit_code"] == 0


def test_a_failed_run_is_exit_code_5_and_keeps_the_others(edgetf: Run, converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    paths = (converted / "dynamic.tflite", converted / "int8.tflite")
    ended = edgetf("benchmark", *paths, "-o", out, "--runtime", "tflite-runtime")
    assert ended.returncode == 5
    assert "FULLY_CONNECTED" in ended.stdout
    results = json.loads((out / "benchmark.json").read_text())["results"]
    assert [result["status"] for result in results] == ["failed", "ok"]
    assert edgetf("check", out, "--max-bytes", 10**9).returncode == 5


def test_inspect_shows_names_shapes_and_quantization(edgetf: Run, converted: Path) -> None:
    text = edgetf("inspect", converted / "int8-io.tflite").stdout
    for word in ("image", "output_0", "[1, 8, 8, 1]", "zero point -128", "CONV_2D", "serving_default"):
        assert word in text
    assert json.loads(edgetf("inspect", converted / "int8.tflite", "--json").stdout)["signatures"] == [
        "serving_default"
    ]


def test_inspect_tells_how_to_save_samples_for_a_saved_model(edgetf: Run, small: Small) -> None:
    text = edgetf("inspect", small.saved_model).stdout
    assert "float32 [any, 8, 8, 1]" in text
    assert "np.savez('samples.npz', image=array.astype('float32'), labels=labels)" in text
    assert json.loads(edgetf("inspect", small.saved_model, "--json").stdout)["signature"] == "serving_default"


def test_a_narrow_terminal_breaks_no_number(edgetf: Run, benchmarked: Path, converted: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgetf", "benchmark", str(converted / "int8.tflite"), "-o", "b"]
    env = {**os.environ, "COLUMNS": "80"}
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env, check=True)
    median = json.loads((tmp_path / "b" / "benchmark.json").read_text())["results"][0]["latency_ms"]["median"]
    assert f"{median:.3g}" in ended.stdout
    assert "accuracy" not in ended.stdout  # a column without any entry


def test_models_are_listed(edgetf: Run) -> None:
    assert "cnn" in edgetf("models", "list").stdout
    assert [model["name"] for model in json.loads(edgetf("models", "list", "--json").stdout)] == list(ZOO)


def _children_of(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listing.stdout.split()]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_conversion_leaves_nothing_half_written(
    small: Small, tmp_path: Path, sent: signal.Signals
) -> None:
    command = [
        sys.executable,
        "-m",
        "edgetf",
        "convert",
        str(small.saved_model),
        "-o",
        "out",
        "--samples",
        str(small.samples),
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "float16" in line:
                break
        [worker] = _children_of(process.pid)
        process.send_signal(sent)
        rest = process.stderr.read()
        assert process.wait(timeout=20) == 1
    assert "interrupted: nothing was left half-written" in rest
    assert not (tmp_path / "out").exists()
    time.sleep(0.2)
    assert not Path(f"/proc/{worker}").exists()


def test_an_interrupted_benchmark_leaves_nothing_half_written(converted: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgetf", "benchmark", str(converted), "-o", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "turn 2" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 1
    assert not (tmp_path / "out").exists()


def test_a_killed_conversion_is_swept_up_by_the_next(small: Small, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgetf", "convert", str(small.saved_model), "-o", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "float16" in line:
                break
        workers = _children_of(process.pid)
        process.kill()
        process.wait()
    for worker in workers:  # an orphan would go on for a moment; what it leaves must not matter
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    assert not (tmp_path / "out" / "conversion.json").exists()
    subprocess.run([*command, "--scheme", "float32"], cwd=tmp_path, check=True, capture_output=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["conversion.json", "float32.tflite"]


def test_output_that_is_no_folder_is_an_error(edgetf: Run, small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "file is a file, and results need a folder" in _error(edgetf("convert", small.saved_model, "-o", "file"))
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.slow
def test_the_demo_takes_digits_all_the_way_to_a_report(edgetf: Run, tmp_path: Path) -> None:
    ended = edgetf("demo", "-o", "demo")
    assert ended.returncode == 0, ended.stderr
    left = {path.name for path in (tmp_path / "demo").iterdir()}
    documents = {"conversion.json", "reference.json", "benchmark.json", "report.html", "saved_model"}
    variants = {f"{scheme}.tflite" for scheme in ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")}
    assert documents | variants <= left
    benchmark = json.loads((tmp_path / "demo" / "benchmark.json").read_text())
    assert [result["parity"]["verdict"] for result in benchmark["results"]] == ["pass"] * 6
    float32 = benchmark["results"][0]["parity"]["outputs"][0]
    assert float32["max_abs"] < 1e-5
    assert float32["accuracy"]["reference"] >= 0.97
    again = edgetf("demo", "-o", "demo")
    assert "already holds" in _error(again)
    shutil.rmtree(tmp_path / "demo")


@pytest.mark.slow
def test_a_devices_own_runtime_is_what_must_load_the_variants(small: Small, edgetf: Run, tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text('[old]\nkind = "local"\nruntime = "tflite-runtime"\n')
    ended = edgetf("convert", small.saved_model, "-o", "out", "--scheme", "dynamic", "--runtime", "old")
    assert ended.returncode == 0, ended.stderr
    assert "dense layers are quantized per tensor, because tflite-runtime 2.14.0 has FULLY_CONNECTED" in ended.stdout
    ended = edgetf("convert", small.saved_model, "-o", "out2", "--runtime", "odl")
    assert ended.returncode == 1
    assert "unknown device 'odl'" in ended.stderr
