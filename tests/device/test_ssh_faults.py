"""What goes wrong on a device over SSH: kills, full disks, damaged and hostile answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from edgetf.device.measurements import read_measurement
from edgetf.device.runner.job import MEASUREMENT_SCHEMA, Job
from edgetf.device.ssh_keys import private_key
from edgetf.errors import Cause, DeviceError
from edgetf.events import Event, Note, Phase
from edgetf.files import sha256_file
from tests.conftest import SHORT, Run, ignore
from tests.device.failing import failing
from tests.device.ssh_devices import Bench, assert_complete, python_script, run, ssh_device
from tests.device.ssh_server import Server
from tests.special_files import SPECIAL, make_special

# asyncssh's server leaves a coroutine behind when a program's input ends (2.24.1); edgetf uses its client only
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'Queue.join' was never awaited")


def test_names_of_files_never_reach_a_shell_unquoted(
    server: Server, bench: Bench, converted: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "a b'; touch pwned; $(touch pwned) `touch pwned` \"\n*.tflite"
    hostile.write_bytes((converted / "float32.tflite").read_bytes())
    job = Job(str(hostile), bench.job.inputs, timing=SHORT)
    device = ssh_device(server, tmp_path, env='{ "A" = "$(touch pwned); \'touch pwned" }')
    assert_complete(run(device, Bench(job, bench.out, bench.images)), Bench(job, bench.out, bench.images))
    assert not list(tmp_path.rglob("pwned"))


def test_a_runner_that_is_killed_is_reported_with_the_signal(server: Server, bench: Bench, tmp_path: Path) -> None:
    device = ssh_device(server, tmp_path, python=python_script(tmp_path, "kill -KILL $$"))
    with failing(Cause.LOST, match="the runner on pi died of SIGKILL"):
        run(device, bench)
    assert list((server.home / "work" / "jobs").iterdir()) == []


def test_a_device_that_reboots_ends_the_run_with_the_reason(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetf.device.ssh._SILENCE_S", 0.5)
    device = ssh_device(server, tmp_path, python=python_script(tmp_path, "echo kept > out/timings.npz; sleep 60"))

    def reboot() -> None:
        for _ in range(100):
            for kept in (server.home / "work" / "jobs").glob("*/out/timings.npz"):
                if kept.read_text():
                    pid = (kept.parent.parent / "pid").read_text().split()[0]
                    os.killpg(int(pid), signal.SIGKILL)
                    return
            time.sleep(0.1)

    thread = threading.Thread(target=reboot)
    thread.start()
    with failing(Cause.LOST, match="the runner on pi is gone"):
        run(device, bench)
    thread.join()
    assert (bench.out / "timings.npz").read_text() == "kept\n"


def test_a_runner_whose_output_is_slow_is_not_ended(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetf.device.ssh._SILENCE_S", 0.2)
    slow = python_script(tmp_path, f'sleep 2; exec {sys.executable} "$@"')
    assert_complete(run(ssh_device(server, tmp_path, python=slow), bench), bench)


def test_a_runner_without_output_is_ended(server: Server, bench: Bench, tmp_path: Path) -> None:
    device = ssh_device(server, tmp_path, python=python_script(tmp_path, "sleep 60"))
    device._idle_s = 1.0
    with failing(Cause.HUNG, match="hung"):
        run(device, bench)
    assert list((server.home / "work" / "jobs").iterdir()) == []
    for _ in range(100):  # the lock's process ends when it notices the end of the connection
        if subprocess.run(["pgrep", "-f", str(tmp_path / "python")], check=False, capture_output=True).returncode == 1:
            return
        time.sleep(0.1)
    pytest.fail(
        subprocess.run(["pgrep", "-af", str(tmp_path / "python")], capture_output=True, text=True, check=False).stdout
    )


def _first_in_path(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, script: str) -> None:
    """Put a program named `name` first in PATH on the device."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_files_damaged_in_transfer_are_found_and_not_kept(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        _first_in_path(patched, tmp_path / "bin", "tee", 'sed s/TFL3/TFL4/ | /usr/bin/tee "$1"')
        with pytest.raises(DeviceError, match=r"its digest is .*, not "):
            run(ssh_device(server, tmp_path), bench)
    kept = [path.name for path in (server.home / "work" / "store").iterdir() if not path.name.startswith(".")]
    assert sha256_file(Path(bench.job.model)) not in kept
    assert_complete(run(ssh_device(server, tmp_path), bench), bench)
    assert not list((server.home / "work" / "store").glob(".*"))


def test_a_full_disk_is_reported_with_its_free_space(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _first_in_path(monkeypatch, tmp_path / "bin", "tee", "exec /usr/bin/tee /dev/full")
    with pytest.raises(
        DeviceError, match=r"there is no free space on pi: .* are free in .*No space left on device"
    ) as caught:
        run(ssh_device(server, tmp_path), bench)
    assert "free some space" in caught.value.hint


FULL = "echo Filesystem 1 2 3 4 5; echo /dev/mmcblk0p2 29000000 28999900 100 100% /"  # what df prints
FILLS_UP = {
    "the answer is cut short": "echo '{' > out/measurement.json",
    "there is no answer": "exit 1",
    "the code is not written": "kill -KILL $PPID",
    "the runner reports it": "echo 'OSError: [Errno 28] No space left on device' >&2; exit 1",
}


@pytest.mark.parametrize("how", FILLS_UP)
def test_a_device_that_fills_up_during_the_run_is_reported_as_full(
    how: str, server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetf.device.ssh._SILENCE_S", 0.3)
    device = ssh_device(server, tmp_path, python=python_script(tmp_path, FILLS_UP[how]))
    with device.reserve():
        _first_in_path(monkeypatch, tmp_path / "bin", "df", FULL)
        with pytest.raises(DeviceError, match=r"there is no free space on pi: 102 kB are free in .*/work; ") as caught:
            device.run(bench.job, bench.out, ignore)
    assert "set work_dir" in caught.value.hint


def test_an_error_of_the_variant_on_a_full_device_has_the_reason(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\ndef full(*_):\n    raise OSError(28, 'No space left on device')\nos.posix_fallocate = full\n"
    )
    device = ssh_device(server, tmp_path, env=f'{{ PYTHONPATH = "{tmp_path}" }}')
    measurement = run(device, bench)
    assert measurement.error is not None
    assert measurement.error.startswith("there is no free space on pi: ")
    assert "No space left on device" in measurement.error
    assert measurement.timings is not None  # earlier measurements are kept
    assert read_measurement("pi", bench.out) == measurement


def test_a_device_that_returns_garbage_is_a_failure_of_the_device(server: Server, bench: Bench, tmp_path: Path) -> None:
    garbage = python_script(
        tmp_path, "echo '{\"event\"'; echo nonsense; mkdir -p out; echo '[1' > out/measurement.json"
    )
    with pytest.raises(DeviceError, match="the answer of pi cannot be read"):
        run(ssh_device(server, tmp_path, python=garbage), bench)


def test_a_variant_whose_lock_was_lost_is_not_measured(server: Server, bench: Bench, tmp_path: Path) -> None:
    """After "in use", the next variant connects again, and does not run without the lock."""
    with ssh_device(server, tmp_path).reserve():
        second = ssh_device(server, tmp_path)
        second._host._locked = True
        with second._host.opened():
            for _ in range(2):
                with failing(Cause.BUSY, match="in use by another run"):
                    second.run(bench.job, bench.out, ignore)


def test_the_lock_is_taken_again_when_the_device_has_not_noticed_the_loss(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetf.device.ssh_connection._HOLD_S", 3.0)
    device = ssh_device(server, tmp_path)
    with device.reserve():
        server.link.forget()  # the way to the device is cut; the device keeps its end open
        assert_complete(device.run(bench.job, bench.out, ignore), bench)


def test_two_inputs_with_the_same_bytes_are_sent_once(server: Server, bench: Bench, tmp_path: Path) -> None:
    same = {"image": bench.job.inputs["image"], "other": str(tmp_path / "other.npy")}
    Path(same["other"]).write_bytes(Path(same["image"]).read_bytes())
    with (device := ssh_device(server, tmp_path)).reserve():
        there = device.push(Job(bench.job.model, same))
    assert there.inputs["image"] == there.inputs["other"]


def test_a_key_that_cannot_be_read_is_reported(server: Server, bench: Bench, tmp_path: Path) -> None:
    server.key.write_text("no key")
    with failing(Cause.UNFIT, match="the key or configuration for pi cannot be used"):
        run(ssh_device(server, tmp_path), bench)


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_key_that_is_no_plain_file_is_reported(kind: str, tmp_path: Path) -> None:
    with failing(Cause.UNFIT, match=r"which devices\.toml names for pi"):
        private_key("pi", make_special(tmp_path / "key", kind))


def test_the_next_run_removes_the_files_of_a_killed_run(server: Server, bench: Bench, tmp_path: Path) -> None:
    left = server.home / "work" / "jobs" / "left"
    left.mkdir(parents=True)
    (left / "job.json").write_text("{}")
    run(ssh_device(server, tmp_path), bench)
    assert not left.exists()


HOSTILE = r"Pi\x1b[2J\x1b]0;title\x07 5\r\n::error::x\u202e"
_HOSTILE_RUNNER = f"""
import json, pathlib, sys
evil = "{HOSTILE}"
for event in ({{"event": "phase", "phase": evil}}, {{"event": "note", "note": evil}}, {{"event": "rm", "x": evil}},
              {{"event": "progress", "done": "1", "of": evil}}, {{"event": ["phase"]}}, [1], {{"event": "phase"}}):
    print(json.dumps(event))
print("[" * 5000)
out = pathlib.Path("out")
(out / "elsewhere").symlink_to("/etc/passwd")
(out / "folder").mkdir()
state = {{"governor": evil, "temperature_c": "nan", "throttled": "0xz", "load_1min": "0.5"}}
(out / "measurement.json").write_text(json.dumps(dict(
    schema={MEASUREMENT_SCHEMA}, runtime=evil, runtime_version="1", python="3", numpy="1", machine={{evil: evil}},
    state_before=state, state_after=state, threads=1, error=evil, error_phase=evil, timings=TIMINGS)))
"""


def test_a_device_cannot_control_the_terminal_or_leave_its_folder(server: Server, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "hostile.py").write_text(_HOSTILE_RUNNER.replace("TIMINGS", "None"))
    device = ssh_device(
        server, tmp_path, python=python_script(tmp_path, f"exec {sys.executable} {tmp_path}/hostile.py")
    )
    events: list[Event] = []
    measurement = run(device, bench, events.append)
    reported = json.dumps(
        [*map(vars, events), measurement.machine, measurement.error, measurement.runtime], ensure_ascii=False
    )
    assert reported.isprintable()
    assert "Pi" in (measurement.error or "")
    assert {type(event) for event in events} == {Phase, Note}
    assert measurement.state_before == {"governor": measurement.state_before["governor"], "load_1min": "0.5"}
    assert {path.name for path in bench.out.iterdir()} == {"measurement.json", "errors"}


def test_files_of_other_folders_that_a_server_lists_are_not_fetched(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, asked = asyncssh.SFTPServer.scandir, list[bytes]()

    async def scandir(self: Any, path: bytes) -> AsyncIterator[Any]:
        async for name in listed(self, path):
            yield name
            yield asyncssh.SFTPName(b"../../../evil", attrs=name.attrs)
            yield asyncssh.SFTPName(b"..", attrs=name.attrs)
            asked.append(path)

    monkeypatch.setattr(asyncssh.SFTPServer, "scandir", scandir)
    assert_complete(run(ssh_device(server, tmp_path), bench), bench)
    assert asked
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/b"])
def test_a_device_that_names_files_outside_its_folder_is_refused(
    name: str, server: Server, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "hostile.py").write_text(_HOSTILE_RUNNER.replace("TIMINGS", repr(name)))
    device = ssh_device(
        server, tmp_path, python=python_script(tmp_path, f"exec {sys.executable} {tmp_path}/hostile.py")
    )
    with failing(Cause.LOST, match=r"the answer of pi cannot be read: .* is not a file of its own"):
        run(device, bench)


def test_the_benchmark_command_measures_on_the_device(
    server: Server, converted: Path, reference: Path, edgetf: Run, tmp_path: Path
) -> None:
    (tmp_path / "devices.toml").write_text(server.settings(sys.executable, emulated="true"))
    options: tuple[object, ...] = ("--device", "pi", "--reference", reference, "--blocks", 2, "-o", "bench", "--json")
    ended = edgetf("benchmark", converted, *options)
    assert ended.returncode == 0, ended.stderr
    results = json.loads(ended.stdout)["results"]
    assert {result["device"] for result in results} == {"pi"}
    assert all(result["emulated"] for result in results)
    checked = edgetf("check", "bench", "--variant", "int8", "--max-latency-ms", "100000")
    assert checked.returncode == 4
    assert "emulated" in checked.stdout
