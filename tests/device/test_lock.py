"""A run that finds a device busy waits, and names the holder of the lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from edgetf.device import lock
from edgetf.device.local import LocalDevice
from edgetf.device.lock import hold, in_use, this_process
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.events import Event, Note
from tests.conftest import Run
from tests.device.failing import failing

HOLDER = """
import sys, time
from edgetf.device.lock import hold
with hold("local", "local", None):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def _other(seconds: float, *arguments: str) -> subprocess.Popen[str]:
    """Another process that holds this machine."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(seconds), *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_waiting_run_names_the_holder_and_starts_after_it() -> None:
    events: list[Event] = []
    with _other(1.5, "-o", "bench") as other, LocalDevice().reserve(events.append):
        assert other.poll() is not None or other.wait(5) == 0
    note = next(event.text for event in events if isinstance(event, Note))
    assert f"local is in use by another run, process {other.pid} (edgetf 1.5 -o bench), since 20" in note
    assert "--no-wait" in note
    assert len([event for event in events if isinstance(event, Note)]) == 1


def test_a_run_that_does_not_wait_fails_at_once_and_names_the_holder() -> None:
    with _other(30) as other:
        begin = time.monotonic()
        with failing(Cause.BUSY, match=f"in use by another run, process {other.pid} ") as caught:
            LocalDevice().reserve().__enter__()
        other.kill()
    assert time.monotonic() - begin < 10
    assert caught.value.exit_code == 5


def test_the_lock_of_a_killed_process_is_free() -> None:
    with _other(30) as other:
        other.kill()
    with LocalDevice().reserve():
        pass


def test_the_runner_of_a_killed_run_ends_with_it_and_the_device_is_free(tmp_path: Path) -> None:
    python = tmp_path / "python"  # a slow runner
    python.write_text('#!/bin/sh\necho \'{"event": "phase", "phase": "timing"}\'\nsleep 60\n')
    python.chmod(0o755)
    code = f"""
from pathlib import Path
from edgetf.device import lock
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job
device = LocalDevice(python={str(python)!r})
with device.reserve():
    device.run(Job("m", {{"x": "x"}}), Path("out"), lambda event: print("begun", flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        other.kill()
        other.wait()
        begin = time.monotonic()
        with LocalDevice().reserve(lambda event: None):
            assert time.monotonic() - begin < 20


def test_a_process_that_outlives_a_killed_run_keeps_the_lock() -> None:
    code = """
import os, time
from edgetf.device.lock import hold
with hold("local", "local", None):
    if os.fork() == 0:
        print("held", flush=True)
        time.sleep(1.5)
    os._exit(9)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert other.wait() == 9
        with pytest.raises(DeviceError, match="it has ended, what it started still runs"):
            LocalDevice().reserve().__enter__()
        with LocalDevice().reserve(lambda event: None):
            pass


# without EDGETF_LOCKS ---------------------------------------------------------------------------------------------


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The key of a lock that no other test uses; its file is below `tmp_path`."""
    monkeypatch.delenv("EDGETF_LOCKS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    return f"test{time.time_ns()}"


def _hold_elsewhere(key: str, runtime: Path, seconds: float = 30) -> subprocess.Popen[str]:
    """A process that shares no folder with this one and holds the lock."""
    runtime.mkdir()
    code = HOLDER.replace('"local", "local"', f'"phone", "{key}"')
    env = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(runtime)}
    process = subprocess.Popen([sys.executable, "-c", code, str(seconds)], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_folder_of_locks_is_the_users_own(key: str, tmp_path: Path) -> None:
    with hold("phone", key, None):
        folder = tmp_path / "run" / "edgetf"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [path.name for path in folder.iterdir()] == [f"edgetf-{key}.lock"]
    assert not folder.exists()


def test_a_lock_whose_holder_was_killed_leaves_no_file_after_the_next(key: str, tmp_path: Path) -> None:
    (tmp_path / "run" / "edgetf").mkdir(mode=0o700)
    (tmp_path / "run" / "edgetf" / f"edgetf-{key}.lock").write_text("{}")
    (tmp_path / "run" / "edgetf" / "edgetf-other.lock").write_text("{}")
    with hold("phone", key, None):
        pass
    assert [path.name for path in (tmp_path / "run" / "edgetf").iterdir()] == ["edgetf-other.lock"]


def test_two_processes_without_a_shared_folder_exclude_each_other(key: str, tmp_path: Path) -> None:
    with _hold_elsewhere(key, tmp_path / "other") as other:
        with pytest.raises(DeviceError, match=f"in use by another run, process {other.pid} of user "):
            hold("phone", key, None).__enter__()
        other.kill()
        other.wait()
        with hold("phone", key, lambda event: None):
            pass


@pytest.mark.parametrize("kind", ["link", "folder", "file", "open to others"])
def test_an_obstacle_at_the_path_of_a_lock_does_not_prevent_a_run(key: str, tmp_path: Path, kind: str) -> None:
    (tmp_path / "run" / "edgetf").mkdir()
    way = tmp_path / "run" / "edgetf" / f"edgetf-{key}.lock"
    if kind == "link":
        way.symlink_to(tmp_path / "victim")
    elif kind == "folder":
        way.mkdir()
    elif kind == "file":
        (tmp_path / "run" / "edgetf").rmdir()
        (tmp_path / "run" / "edgetf").write_text("")
    else:
        (tmp_path / "run" / "edgetf").chmod(0o777)
    with hold("phone", key, None), pytest.raises(DeviceError, match="in use by another run"):
        hold("phone", key, None).__enter__()
    assert not (tmp_path / "victim").exists()


def test_without_names_of_sockets_the_file_is_the_lock(
    key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lock, "_ABSTRACT", False)
    with hold("phone", key, None), pytest.raises(DeviceError, match=f"process {os.getpid()} "):
        hold("phone", key, None).__enter__()
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc")
    with pytest.raises(EdgetfError, match="no folder for locks") as caught:
        hold("phone", key, None).__enter__()
    assert "EDGETF_LOCKS" in caught.value.hint


def test_a_lock_folder_that_cannot_be_used_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGETF_LOCKS", str(tmp_path))
    (tmp_path / "edgetf-local.lock").symlink_to("nowhere")
    with pytest.raises(EdgetfError, match=r"cannot use .*edgetf-local.lock: Too many levels of symbolic links"):
        LocalDevice().reserve().__enter__()
    monkeypatch.setenv("EDGETF_LOCKS", str(tmp_path / "gone"))
    with pytest.raises(EdgetfError, match="No such file or directory"):
        LocalDevice().reserve().__enter__()


def test_a_password_on_the_command_line_is_told_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "http://ann:s3cret" + "x" * 200 + "@host:5000"  # longer than what is kept of a command
    monkeypatch.setattr(sys, "argv", ["edgetf", "benchmark", "out", "--mlflow", secret, "-o", "bench"])
    assert "benchmark out --mlflow 'http://***@host:5000' -o bench" in this_process()
    monkeypatch.setenv("EDGETF_LOCKS", str(tmp_path))
    with hold("local", "local", None):
        [file] = tmp_path.iterdir()
        assert "s3cret" not in file.read_text()
        with pytest.raises(DeviceError, match="in use by another run") as caught, hold("local", "local", None):
            pass
    assert "s3cret" not in caught.value.message


def test_a_password_in_the_lock_file_of_another_is_hidden() -> None:
    held_by = json.dumps({"host": "h", "pid": 1, "command": "edgetf --mlflow http://ann:s3cret@m", "since": "now"})
    assert (
        in_use("pi", held_by) == "pi is in use by another run, process 1 on h (edgetf --mlflow http://***@m), since now"
    )


def test_a_lock_file_of_an_older_edgetf_names_no_holder() -> None:
    assert in_use("pi", "") == "pi is in use by another run"
    assert in_use("pi", '{"pid": 1}') == "pi is in use by another run"


def test_a_released_lock_leaves_no_name() -> None:
    with hold("phone", "adb none", None):
        pass
    events: list[Event] = []
    with hold("phone", "adb none", events.append):
        pass
    assert events == []


def test_the_command_waits_and_ctrl_c_ends_the_wait(edgetf: Run, converted: Path, tmp_path: Path) -> None:
    asked = ["benchmark", str(converted / "int8.tflite"), "-o", "out"]
    with _other(120) as other:
        ended = edgetf(*asked, "--no-wait")
        assert ended.returncode == 5
        assert f"local is in use by another run, process {other.pid}" in ended.stderr
        command = [sys.executable, "-m", "edgetf", *asked]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "waiting until it is done" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert "interrupted" in process.stderr.read()
            assert process.wait(20) == 1
        other.kill()
    assert not (tmp_path / "out").exists()
