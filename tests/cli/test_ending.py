"""How the command ends: signals, closed pipes, and errors of the system."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edgetf.cli import cli, ending
from edgetf.errors import EdgetfError, KeptInterrupt
from tests.conftest import Small
from tests.limits import limited

WORKS = """
import sys, time
from pathlib import Path
from edgetf import files
from edgetf.cli.ending import run

def command():
    with files.staged(Path("out"), ["done.json"], False) as staging:
        (staging / "data").write_text("half")
        print("ready", flush=True)
        try:
            time.sleep(60)
        finally:
            time.sleep(0.3)

sys.exit(run(command))
"""


def _start(code: str, folder: Path, ignored: int | None = None) -> subprocess.Popen[str]:
    def ignore() -> None:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN if one == ignored else signal.SIG_DFL)
        if ignored != signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignore,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("names", ["INT", "HUP", "INT INT", "TERM INT", "HUP TERM INT HUP"])
def test_any_number_of_signals_leaves_nothing_and_prints_one_error(tmp_path: Path, names: str) -> None:
    process = _start(WORKS, tmp_path)
    for name in names.split():
        process.send_signal(signal.Signals[f"SIG{name}"])
        time.sleep(0.02)
    _, reported = process.communicate(timeout=20)
    assert process.returncode == 1
    assert reported.splitlines() == [
        "error: interrupted: nothing was left half-written",
        " hint: run the same command again: it resumes if it can, otherwise it starts over",
    ]
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    process = _start(WORKS, tmp_path, signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 1


IMPORTS = """
import sys, time
from edgetf.cli.ending import run

def command():
    import slow
    time.sleep(60)

sys.path.insert(0, "")
sys.exit(run(command))
"""


def test_an_import_is_not_cut_off(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nprint('ready', flush=True)\ntime.sleep(0.6)\nopen('whole', 'w').close()\n"
    )
    process = _start(IMPORTS, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1
    assert (tmp_path / "whole").exists()


LOSES = r"""
import os, sys, time
from edgetf.cli.ending import run

class Loses:
    def __del__(self):
        os.write(1, b"ready\n")
        time.sleep(60)  # what is raised here is lost

def command():
    Loses()
    os.write(1, b"on\n")
    time.sleep(60)

sys.exit(run(command))
"""


def test_an_interruption_that_a_library_lost_can_be_repeated(tmp_path: Path) -> None:
    process = _start(LOSES, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1


def _raise(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (KeptInterrupt("2 turns kept in x", "go on"), "error: interrupted, with 2 turns kept in x\n hint: go on\n"),
        (EdgetfError("no", "yes"), "error: no\n hint: yes\n"),
        (
            PermissionError(13, "Permission denied", "/a"),
            "error: cannot use /a: Permission denied\n hint: you do",
        ),
    ],
)
def test_an_error_is_a_line_and_a_hint(
    error: BaseException, reported: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "_BEGAN", [])
    assert ending._run(_raise(error)) == 1
    assert capsys.readouterr().err.startswith(reported)


def test_an_error_that_a_library_raises_for_an_interruption_is_an_interruption(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "_BEGAN", [1.0])
    assert ending._run(_raise(ImportError("numpy.core.multiarray failed to import"))) == 1
    assert "interrupted" in capsys.readouterr().err
    monkeypatch.setattr(ending, "_BEGAN", [])
    with pytest.raises(ImportError):
        ending._run(_raise(ImportError("a bug")))


COMMANDS = [["models", "list"], ["--help"], ["check", "nowhere", "--json"]]
PRINTING = [*COMMANDS[:2], ["devices", "list"], ["devices", "probe", "local", "--json"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_closed_pipe_is_not_an_error(command: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    run = [sys.executable, "-m", "edgetf", *command]
    ended = subprocess.run(run, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    if "nowhere" in command:
        assert ended.returncode == 1
        assert ended.stderr.startswith("error: there is no benchmark.json at nowhere\n hint: ")
    else:
        assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_output_that_cannot_be_printed_is_an_error(command: list[str]) -> None:
    run = [sys.executable, "-m", "edgetf", *command]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(run, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: cannot use standard output: No space left on device\n hint: ")


@pytest.fixture
def made(benchmarked: Path, converted: Path, reference: Path, small: Small) -> dict[str, Path]:
    """What commands take, by the names in the commands of the tests that follow."""
    results = {"bench": benchmarked, "variants": converted, "ref": reference}
    return {**results, "model": small.saved_model, "samples": small.samples}


@pytest.mark.parametrize(
    "command",
    [
        "report {bench} -o {place}",
        "gate {budget} {bench} --junit /dev/full",
        "gate {budget} {bench} --summary /dev/full",
        "bundle {bench} --variant float32 --unproven --variants {variants} --reference {ref} -o /dev/full --force",
        "runner -o {place}",
        "history add {bench} --history {place}",
        "samples convert {samples} {place}.npz",
    ],
    ids=lambda command: " ".join(command.split()[:2]),
)
def test_results_that_cannot_be_written_are_an_error_and_leave_nothing(
    command: str, made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget, place = tmp_path / "budget.toml", tmp_path / "place"
    budget.write_text("[budgets]\nmax_drop = 1.0\n")
    arguments = [one.format(**made, budget=budget, place=place) for one in command.split()]
    usual = resource.RLIM_INFINITY if "/dev/full" in command else 4096
    with limited(resource.RLIMIT_FSIZE, usual):
        assert ending._run(partial(cli.main, arguments, standalone_mode=False)) == 1
    reported = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert "/dev/full" in reported or str(tmp_path) in reported
    assert [path for path in tmp_path.iterdir() if path.name not in ("budget.toml", "place")] == []


FULL = {  # and what is kept, because the same command resumes from it
    "convert {model} --samples {samples} --scheme float32 --scheme int8 -o {place}": set(),
    "explain {bench} --variant int8 --variants {variants} --reference {ref}": set(),
    "models train linear -o {place}": {"place/checkpoints", "place/logs"},
    "demo --model linear -o {place}": set(),
}


@pytest.mark.usefixtures("own_start")  # the limit is that of edgetf's own children
@pytest.mark.parametrize("command", FULL, ids=lambda command: " ".join(command.split()[:2]))
def test_a_disk_that_is_full_from_the_start_is_an_error_in_one_line_and_nothing_is_left(
    command: str,
    made: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (temporary := tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = sorted(made["bench"].rglob("*"))
    arguments = [one.format(**made, place=tmp_path / "place") for one in command.split()]
    with limited(resource.RLIMIT_FSIZE, 4096):
        assert ending._run(partial(cli.main, arguments, standalone_mode=False)) == 1
    reported = capsys.readouterr().err
    assert reported.count("error: ") == 1, reported
    assert "File too large" in reported
    assert "Traceback" not in reported
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("place/*")} == FULL[command]
    assert list(temporary.iterdir()) == []
    assert sorted(made["bench"].rglob("*")) == before
