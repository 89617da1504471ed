"""The command as a user runs it: help, what it prints, exit codes, broken input, Ctrl-C."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.shell_completion import get_completion_class
from click.testing import CliRunner

from edgetf import __version__
from edgetf.cli import cli
from edgetf.errors import ExitCode
from edgetf.models.zoo import ZOO
from edgetf.results import CONVERSION_SCHEMA, Verdict
from edgetf.schemes import DEFAULT_SCHEMES
from tests.click_tree import COMMANDS, EXECUTABLE
from tests.conftest import Run, Small


@pytest.mark.parametrize("words", [words for words in COMMANDS if words], ids=" ".join)
def test_every_command_has_help_with_an_example_that_names_it(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(cli, [*words, "--help"], prog_name="edgetf")
    assert shown.exit_code == 0
    assert "\n  Example:\n" in shown.output
    assert f"edgetf {' '.join(words)}" in shown.output.split("\n  Example:\n")[1]


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_of_an_example_has_its_own_line(words: tuple[str, ...]) -> None:
    """click joins the lines of a paragraph that does not begin with \\b."""
    printed = CliRunner().invoke(cli, [*words, "--help"], prog_name="edgetf").output
    names = "|".join({words[0] for words in COMMANDS if words})
    for line in printed.splitlines():
        assert len(re.findall(rf"\bedgetf (?:{names})\b(?!`)", line)) < 2, line


@pytest.mark.parametrize("words", list(EXECUTABLE), ids=" ".join)
def test_every_command_prints_json_for_programs(words: tuple[str, ...]) -> None:
    assert any("--json" in option.opts for option in COMMANDS[words].params)


@pytest.mark.parametrize("words", [words for words, one in COMMANDS.items() if isinstance(one, click.Group)])
def test_a_group_lists_every_command(words: tuple[str, ...]) -> None:
    help_text = CliRunner().invoke(cli, [*words, "--help"]).output
    group = COMMANDS[words]
    assert isinstance(group, click.Group)
    for name in group.commands:
        assert re.search(rf"^  {name}\b", help_text, re.MULTILINE)


def test_the_version_names_the_runtimes_and_loads_none() -> None:
    script = "import sys\nfrom edgetf.cli import main\n"
    script += "try: main()\nfinally: print({'tensorflow', 'numpy'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=True)
    version = importlib.metadata.version
    assert ended.stdout.splitlines() == [
        f"edgetf {__version__}",
        f"  litert {version('ai-edge-litert')}",
        f"  tflite-runtime {version('tflite-runtime')}",
        f"  tensorflow {version('tensorflow')}",
        "set()",
    ]


def test_the_version_lists_missing_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    shown = CliRunner().invoke(cli, ["--version"]).output
    assert shown.splitlines()[1:] == [f"  {name} not installed" for name in ("litert", "tflite-runtime", "tensorflow")]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["ben"], {"benchmark"}),
        (["history", "t"], {"trend"}),
        (["bundle", "--unp"], {"--unproven"}),
        (["choose", "--for", "la"], {"latency"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_options_and_values(shell: str, typed: list[str], offered: set[str]) -> None:
    completer = get_completion_class(shell)
    assert completer is not None
    complete = completer(cli, {}, "edgetf", "_EDGETF_COMPLETE")
    assert {one.value for one in complete.get_completions(typed[:-1], typed[-1])} == offered


def test_bash_itself_completes_with_the_script_of_the_installed_command() -> None:
    """As the tab key runs it."""
    lines = [
        'eval "$(_EDGETF_COMPLETE=bash_source edgetf)"',
        "COMP_WORDS=(edgetf history t) COMP_CWORD=2",
        "_edgetf_completion edgetf",
        'echo "${COMPREPLY[@]}"',
    ]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", "\n".join(lines)]
    ended = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert ended.stdout == "trend\n", ended.stderr


def test_commands_that_only_write_files_print_the_paths_as_json(
    benchmarked: Path, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgetf.benchmarks.history.mlflow.export", lambda document, commit, uri: len(document.results))
    history = {"history": "h.sqlite"}
    expected: dict[tuple[object, ...], dict[str, object]] = {
        ("runner", "-o", "r.pyz"): {"runner": "r.pyz"},
        ("samples", "convert", small.samples, "s.npz"): {"samples": "s.npz", "n": 200, "digest": ...},
        ("history", "add", benchmarked, "--history", "h.sqlite", "--commit", "1"): {
            **history,
            "new": len(DEFAULT_SCHEMES),
        },
        ("history", "trend", "--history", "h.sqlite", "-o", "t.svg"): {"trend": "t.svg"},
        ("history", "export", benchmarked, "--mlflow", "http://me:secret@m:5000"): {
            "experiment": "edgetf",
            "mlflow": "http://***@m:5000",
            "runs": len(DEFAULT_SCHEMES),
        },
    }
    for words, document in expected.items():
        ended = CliRunner().invoke(cli, [*map(str, words), "--json"], catch_exceptions=False)
        printed = json.loads(ended.output)
        assert {**printed, **{key: ... for key, value in document.items() if value is ...}} == document
    assert {"r.pyz", "s.npz", "t.svg", "h.sqlite"} <= {path.name for path in tmp_path.iterdir()}


def _error(ended: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The error: one line and one hint, nothing else, no traceback."""
    assert ended.returncode == code, ended.stderr
    lines = [
        line for line in ended.stderr.splitlines() if not re.match(r"(Converting|Measuring|Reference|Training)\b", line)
    ]
    assert len(lines) == 2, ended.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith(" hint: ")
    return lines[0]


def test_bad_input_is_one_line_a_hint_and_exit_code_1(
    edgetf_here: Run, small: Small, converted: Path, reference: Path, benchmarked: Path, tmp_path: Path
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
        ("convert", model, "-o", "out", "--samples", "text.txt"): "is not an .npz file",
        ("convert", model, "-o", "out", "--samples", "wrong.npz"): "is float32 [2, 9, 9, 1], the model takes",
        ("convert", model, "-o", model / "out"): "is inside of",
        ("convert", model, "-o", "/proc/out"): "cannot use /proc/out",
        ("convert", model, "-o", converted): "already holds conversion.json",
        ("reference", "empty", "--samples", small.samples, "-o", "out"): "is an empty folder",
        ("reference", model, "--samples", "none.npz", "-o", "out"): "there are no samples at none.npz",
        ("benchmark", "cut.tflite", "-o", "out"): "is not a TFLite file, or is damaged",
        ("benchmark", "cut.tflite", "--reference", reference, "-o", "out"): "is not a TFLite file, or is damaged",
        ("benchmark", "empty", "-o", "out"): "there are no variants in empty",
        ("benchmark", converted, "-o", benchmarked): "already holds",
        ("benchmark", converted, "-o", "out", "--device", "pi"): "unknown device 'pi'",
        ("inspect", "cut.tflite"): "is not a TFLite file, or is damaged",
        ("inspect", "text.txt"): "is neither a TFLite file",
        ("check", "empty"): "there is no benchmark.json at empty",
        ("report", benchmarked, "-o", "none/report.html"): "there is no folder none",
        ("models", "train", "cmn", "-o", "out"): "unknown model 'cmn'",
    }
    for arguments, message in cases.items():
        assert message in _error(edgetf_here(*arguments)), arguments
        assert not (tmp_path / "out").exists(), arguments


def test_wrong_usage_is_exit_code_2(edgetf_here: Run) -> None:
    for arguments in (
        ("convert",),
        ("nothing",),
        ("benchmark", "x", "-o", "y", "--runtime", "tpu"),
        ("check", "--nope"),
    ):
        assert edgetf_here(*arguments).returncode == 2


def test_a_value_that_no_option_of_the_kind_has_is_wrong_usage_and_the_message_has_the_nearest(
    edgetf_here: Run,
) -> None:
    convert, train = ("convert", "model", "-o", "out"), ("models", "train", "linear", "-o", "out")
    cases = {
        (*convert, "--scheme", "int4"): "unknown scheme 'int4'; did you mean 'int8'?",
        ("run", "model", "--scheme", "flot16"): "did you mean 'float16'?",
        (*convert, "--calibration", "0"): "0 is not in the range x>=1",
        (*convert, "--percentile", "50"): "50.0 is not in the range 50<x<=100",
        (*convert, "--percentile", "99", "--ranges", "minmax"): "--percentile, --mse and --ranges exclude each other",
        (*convert, "--pixels", "0..x"): "'0..x' is not a map of pixels",
        ("benchmark", "out", "-o", "bench", "--metric", "score"): "'score' does not name a function",
        ("inspect", "out", "--for", "ethos-u55-1024"): "did you mean 'ethos-u85-1024'?",
        ("compile", "out", "-o", "made", "--for", "ethos-u55"): "did you mean 'ethos-u55-",
        (*train, "--prune", "1"): "1.0 is not in the range 0<x<1",
        (*train, "--cluster", "1"): "1 is not in the range 2<=x<=256",
    }
    for arguments, message in cases.items():
        ended = edgetf_here(*arguments)
        assert (ended.returncode, message in ended.stderr) == (2, True), ended.stderr
        assert "Traceback" not in ended.stderr


def test_an_option_that_takes_a_number_names_it_so_and_takes_no_nan() -> None:
    options = [option for command in EXECUTABLE.values() for option in command.params]
    numbers = [option for option in options if isinstance(option.type, (click.IntRange, click.FloatRange))]
    assert numbers
    for option in numbers:
        with pytest.raises(click.BadParameter, match=r"'x' is not a valid (number|integer)\.$"):
            option.type.convert("x", option, None)
        with pytest.raises(click.BadParameter, match=r"'nan' is not a valid (number|integer)\.$"):
            option.type.convert("nan", option, None)


def test_an_error_is_json_with_the_json_option(edgetf_here: Run) -> None:
    ended = edgetf_here("inspect", "missing.tflite", "--json")
    assert json.loads(ended.stdout)["error"]["message"].startswith("cannot read missing.tflite")


def test_convert_prints_a_table_json_and_failures(edgetf: Run, small: Small, tmp_path: Path) -> None:
    asked = ("convert", small.saved_model, "--scheme", "float32", "--scheme", "int8")
    ended = edgetf(*asked, "-o", "a")
    assert ended.returncode == 1
    assert "int8 needs samples to calibrate on" in ended.stdout
    assert edgetf(*asked, "-o", "b", "--keep-going").returncode == 0
    ended = edgetf("convert", small.saved_model, "-o", "c", "--json")
    assert ended.returncode == 0
    document = json.loads(ended.stdout)
    assert document["schema"] == CONVERSION_SCHEMA
    made = [variant["scheme"] for variant in document["variants"]]
    assert made == [name for name, scheme in DEFAULT_SCHEMES.items() if not scheme.needs_samples]
    assert set(document["variants"][0]) >= {"scheme", "status", "path", "bytes", "sha256", "seconds", "ops", "error"}
    assert "\x1b" not in ended.stdout + ended.stderr


def test_the_help_of_edgetf_names_the_verdict_of_exit_code_4(edgetf_here: Run) -> None:
    """The help that imports no table of verdicts has its words once more."""
    printed = " ".join(edgetf_here("--help").stdout.split())
    assert f"{ExitCode.NOT_ENOUGH_DATA.value} {Verdict.INCONCLUSIVE.words} to decide" in printed


def test_check_prints_pass_fail_or_not_enough_data_and_returns_its_exit_code(
    edgetf_here: Run, benchmarked: Path
) -> None:
    ended = edgetf_here("check", benchmarked, "--variant", "float16", "--max-drop", "5")
    assert (ended.returncode, Verdict.PASS.label in ended.stdout) == (0, True)
    ended = edgetf_here("check", benchmarked, "--variant", "float16", "--max-bytes", "10")
    assert (ended.returncode, Verdict.FAIL.label in ended.stdout) == (3, True)
    ended = edgetf_here("check", benchmarked, "--variant", "float16", "--max-drop", "0.01")
    assert (ended.returncode, Verdict.INCONCLUSIVE.label in ended.stdout) == (4, True)
    ended = edgetf_here("check", benchmarked, "--variant", "float16", "--max-drop", "5", "--json")
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


def test_inspect_prints_how_to_save_samples_for_a_saved_model(edgetf: Run, small: Small) -> None:
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


@pytest.mark.usefixtures("own_start")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_conversion_leaves_no_partial_files(small: Small, tmp_path: Path, sent: signal.Signals) -> None:
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
        workers = _children_of(process.pid)
        process.send_signal(sent)
        rest = process.stderr.read()
        assert process.wait(timeout=20) == 1
    assert "interrupted: nothing was left half-written" in rest
    assert not (tmp_path / "out").exists()
    time.sleep(0.2)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def test_an_interrupted_benchmark_leaves_complete_turns_and_no_result(converted: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgetf", "benchmark", str(converted), "-o", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "turn 2" in line:
                break
        process.send_signal(signal.SIGINT)
        assert "turns kept in" in process.stderr.read()
        assert process.wait(timeout=20) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".edgetf-partial-benchmark"]


@pytest.mark.usefixtures("own_start")
def test_the_next_conversion_removes_the_files_of_a_killed_one(small: Small, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgetf", "convert", str(small.saved_model), "-o", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "float16" in line:
                break
        workers = _children_of(process.pid)
        process.kill()
        process.wait()
    for worker in workers:  # an orphan would run on for a moment; its files must not matter
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    assert not (tmp_path / "out" / "conversion.json").exists()
    subprocess.run([*command, "--scheme", "float32"], cwd=tmp_path, check=True, capture_output=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["conversion.json", "float32.tflite"]


def test_an_output_that_is_not_a_folder_is_an_error(edgetf: Run, small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "file is a file, and results need a folder" in _error(edgetf("convert", small.saved_model, "-o", "file"))
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.slow
def test_the_runtime_of_the_device_must_load_the_variants(small: Small, edgetf: Run, tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text('[old]\nkind = "local"\nruntime = "tflite-runtime"\n')
    ended = edgetf("convert", small.saved_model, "-o", "out", "--scheme", "dynamic", "--runtime", "old")
    assert ended.returncode == 0, ended.stderr
    assert "dense layers are quantized per tensor, because tflite-runtime 2.14.0 has FULLY_CONNECTED" in ended.stdout
    ended = edgetf("convert", small.saved_model, "-o", "out2", "--runtime", "odl")
    assert ended.returncode == 1
    assert "unknown device 'odl'" in ended.stderr
