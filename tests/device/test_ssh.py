from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import numpy as np
import pytest

from edgetf.device.devices import find_device
from edgetf.device.measurements import read_measurement
from edgetf.device.runner.job import MEASUREMENT_SCHEMA, Job, Measurement
from edgetf.device.ssh import SshDevice
from edgetf.device.ssh_keys import private_key
from edgetf.errors import DeviceError, UnreachableError
from edgetf.events import Event, Note, Phase, Progress
from edgetf.files import sha256_file
from tests.conftest import SHORT, Run, Small, ignore
from tests.device.ssh_server import Server
from tests.special_files import SPECIAL, make_special

# asyncssh's server leaves a coroutine behind when a program's input ends (2.24.1); edgetf uses its client only
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'Queue.join' was never awaited")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    yield server
    server.close()


@dataclass(frozen=True)
class Bench:
    """A job for the small network, and what it needs."""

    job: Job
    out: Path
    images: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@pytest.fixture
def bench(converted: Path, small: Small, tmp_path: Path) -> Bench:
    images = np.load(small.samples)["image"]
    np.save(tmp_path / "image.npy", images)
    job = Job(str(converted / "float32.tflite"), {"image": str(tmp_path / "image.npy")}, timing=SHORT)
    return Bench(job, tmp_path / "out", images)


def _device(server: Server, tmp_path: Path, python: str = sys.executable, **more: str) -> SshDevice:
    (tmp_path / "devices.toml").write_text(server.settings(python, **more))
    device = find_device("pi", tmp_path / "devices.toml")
    assert isinstance(device, SshDevice)
    return device


def _run(device: SshDevice, bench: Bench, on_event: object = ignore) -> Measurement:
    with device.reserve():
        return device.run(bench.job, bench.out, on_event)  # type: ignore[arg-type]


def _assert_complete(measurement: Measurement, bench: Bench) -> None:
    """The measurement has everything, and its outputs are those of this machine's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    assert measurement.error is None
    assert measurement.samples is not None
    assert measurement.samples.n == len(bench.images)
    ours = np.load(bench.out / measurement.samples.outputs[0].file)
    runner = Interpreter(model_path=bench.job.model).get_signature_runner()
    expected = [next(iter(runner(image=image[None]).values()))[0] for image in bench.images]
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_job_runs_over_ssh_and_leaves_no_files(server: Server, bench: Bench, tmp_path: Path) -> None:
    events: list[Event] = []
    device = _device(server, tmp_path)
    _assert_complete(_run(device, bench, events.append), bench)
    assert {type(event) for event in events} >= {Phase, Progress}
    assert device.store == str(server.home / "work" / "store")
    assert list((server.home / "work" / "jobs").iterdir()) == []
    assert len(list((server.home / "work" / "store").iterdir())) == 3  # the runner, the model, the samples


def test_a_second_run_sends_nothing_but_the_job(server: Server, bench: Bench, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((5000, 8, 8, 1), np.float32))
    device = _device(server, tmp_path)
    _run(device, bench)
    first = server.link.sent
    _run(_device(server, tmp_path), bench)
    second = server.link.sent - first
    assert first > 1_280_000
    assert second < 60_000  # handshakes, requests, job.json, and asking for news


@pytest.mark.parametrize("after", [200_000, 900_000])
def test_a_connection_that_is_cut_while_files_are_sent_is_made_again(
    server: Server, bench: Bench, tmp_path: Path, after: int
) -> None:
    images = np.repeat(bench.images, 40, axis=0)
    np.save(tmp_path / "image.npy", images)
    server.link.cut_when_sent(after)
    _assert_complete(
        _run(_device(server, tmp_path), Bench(bench.job, bench.out, images)), Bench(bench.job, bench.out, images)
    )
    assert server.link.cut_at is None  # it was cut


def test_a_connection_that_is_cut_while_the_runner_works_loses_nothing(
    server: Server, bench: Bench, tmp_path: Path
) -> None:
    phases: list[str] = []

    def cut_once(event: Event) -> None:
        if isinstance(event, Phase):
            phases.append(event.name)
            if event.name == "timing" and phases.count("timing") == 1:
                server.link.cut()

    _assert_complete(_run(_device(server, tmp_path), bench, cut_once), bench)
    assert phases.count("timing") == 1  # the runner was not started again


def test_a_connection_that_is_cut_while_results_come_back_is_made_again(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = _device(server, tmp_path)
    fetch, cuts = device._fetch, list[str]()

    async def cut_then_fetch(identity: str, out: Path) -> None:
        if not cuts:
            cuts.append(identity)
            server.link.cut()
        await fetch(identity, out)

    monkeypatch.setattr(device, "_fetch", cut_then_fetch)
    _assert_complete(_run(device, bench), bench)
    assert cuts


def test_every_step_may_run_twice(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to each command is lost once: after it was done, before the host knows it."""
    monkeypatch.setattr("edgetf.device.reconnect.PAUSE_S", 0.01)
    monkeypatch.setattr("edgetf.device.reconnect.ATTEMPTS", 10)  # files go at once: one try may lose several answers
    seen: list[str] = []

    def lose_once(command: str) -> bool:
        if "fcntl" in command:  # the process that holds the lock, which lives as long as the connection
            return False
        seen.append(command)
        return seen.count(command) == 1

    events: list[Event] = []
    with (device := _device(server, tmp_path)).reserve():
        server.loses = lose_once
        _assert_complete(device.run(bench.job, bench.out, events.append), bench)
    repeated = {command for command in seen if seen.count(command) > 1}
    assert len(repeated) >= 4  # prepare, sweep, what is missing, start; a file that was stored is not sent again
    assert [event.name for event in events if isinstance(event, Phase)].count("timing") == 1
    assert list((server.home / "work" / "jobs").iterdir()) == []
    assert not list((server.home / "work" / "store").glob(".*"))


def test_two_runs_never_measure_each_other(server: Server, bench: Bench, tmp_path: Path) -> None:
    with _device(server, tmp_path).reserve(), pytest.raises(DeviceError, match="pi is in use by another run"):
        _run(_device(server, tmp_path), bench)
    _assert_complete(_run(_device(server, tmp_path), bench), bench)  # the lock is free again


def test_a_run_that_waits_for_a_device_names_the_holder_without_disturbing_it(
    server: Server, bench: Bench, tmp_path: Path
) -> None:
    first, second = _device(server, tmp_path), _device(server, tmp_path)
    notes: list[str] = []
    waiting = threading.Event()

    def note(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)
            waiting.set()

    def wait() -> None:
        with second.reserve(note):
            notes.append("held")

    with first.reserve():
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(20)
        time.sleep(1.5)
        assert len(notes) == 1
    thread.join(20)
    assert f"pi is in use by another run, process {os.getpid()} (" in notes[0]
    assert notes[1:] == ["held"]


def test_an_unknown_host_key_is_shown_with_the_command_that_accepts_it(
    server: Server, bench: Bench, tmp_path: Path
) -> None:
    server.known_hosts.write_text("")
    with pytest.raises(DeviceError, match=r"the host key of pi .*is not known in") as caught:
        _run(_device(server, tmp_path), bench)
    assert server.host_key.get_fingerprint() in caught.value.message
    assert "ssh -p" in caught.value.hint
    server.known_hosts.unlink()
    with pytest.raises(DeviceError, match=r"the host key of pi .*is not known in"):
        _run(_device(server, tmp_path), bench)
    assert not (server.home / "work").exists()


def test_a_changed_host_key_is_a_warning_that_does_not_offer_to_accept_it(
    server: Server, bench: Bench, tmp_path: Path
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    server.trust(other)
    with pytest.raises(DeviceError, match=r"THE HOST KEY OF pi .* HAS CHANGED") as caught:
        _run(_device(server, tmp_path), bench)
    for key in (other, server.host_key):
        assert key.get_fingerprint() in caught.value.message
    assert "ssh -p" not in caught.value.hint
    command = caught.value.hint.partition("remove the old key: ")[2]
    assert subprocess.run(shlex.split(command), check=True, capture_output=True).returncode == 0  # the hint works
    with pytest.raises(DeviceError, match="is not known in"):
        _run(_device(server, tmp_path), bench)


def test_a_missing_or_public_key_is_named(server: Server, bench: Bench, tmp_path: Path) -> None:
    public = server.key.with_suffix(".pub")
    public.write_bytes(asyncssh.read_private_key(server.key).export_public_key())
    settings = server.settings(sys.executable)
    for key, problem in (("nowhere", "there is no key at"), (str(public), "is a public key")):
        (tmp_path / "devices.toml").write_text(settings.replace(str(server.key), key))
        with pytest.raises(DeviceError, match=problem) as caught:
            _run(find_device("pi", tmp_path / "devices.toml"), bench)  # type: ignore[arg-type]
        assert "leave key out of devices.toml" in caught.value.hint
    assert f"give the private one, {server.key}" in caught.value.hint
    (tmp_path / "devices.toml").write_text(settings.replace(str(server.key), "server/id"))  # next to the file
    _assert_complete(_run(find_device("pi", tmp_path / "devices.toml"), bench), bench)  # type: ignore[arg-type]


def test_a_device_without_an_interpreter_is_reported_once_and_nothing_is_sent(
    server: Server, converted: Path, edgetf: Run, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare")
    (tmp_path / "devices.toml").write_text(server.settings(str(tmp_path / "bare" / "bin" / "python")))
    ended = edgetf("benchmark", converted, "--device", "pi", "-o", "bench", "--history", tmp_path / "h.sqlite")
    assert ended.returncode == 5
    assert ended.stderr.count("there is no TFLite interpreter") == 1
    assert "bin/python -m pip install ai-edge-litert" in ended.stderr
    assert not (tmp_path / "h.sqlite").exists()
    assert not (tmp_path / "bench").exists()
    assert list((server.home / "work" / "store").iterdir()) == []


def test_a_python_that_does_not_run_is_reported_as_the_doctor_does(
    server: Server, bench: Bench, tmp_path: Path
) -> None:
    # the server loses what ends at once
    broken = _program(tmp_path / "broken", "sleep 0.5; echo it is broken >&2; exit 127")
    with pytest.raises(DeviceError, match=r"pi cannot run variants: .*/broken does not run: it is broken") as caught:
        _run(_device(server, tmp_path, python=broken), bench)
    assert "python3 -m venv" in caught.value.hint


def test_an_answer_that_is_not_utf_8_is_no_lost_connection(server: Server, tmp_path: Path) -> None:
    body = f"printf 'numpy=1\\3772\\n'; printf '\\300\\n' >&2\nexec {sys.executable} \"$@\""
    device = _device(server, tmp_path, python=_program(tmp_path / "python", body))
    with device.reserve():  # its lock is held by that Python
        assert device.probe().python == platform.python_version()


def test_a_python_whose_only_answer_is_not_utf_8_is_a_failure_of_the_device(
    server: Server, bench: Bench, tmp_path: Path
) -> None:
    broken = _program(tmp_path / "broken", "sleep 0.5; printf '\\377\\n' >&2; exit 1")
    with pytest.raises(DeviceError, match="broken does not run: \ufffd") as caught:
        _run(_device(server, tmp_path, python=broken), bench)
    assert not isinstance(caught.value, UnreachableError)


def test_a_refused_key_gives_the_command_that_copies_it(server: Server, bench: Bench, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(server.key)
    with pytest.raises(DeviceError, match="refuses to let pi in") as caught:
        _run(_device(server, tmp_path), bench)
    assert "ssh-copy-id" in caught.value.hint


def test_a_device_that_is_off_is_reported_at_once(server: Server, bench: Bench, tmp_path: Path) -> None:
    server.link.refuse = True
    begin = time.monotonic()
    with pytest.raises(DeviceError, match="cannot be reached") as caught:
        _run(_device(server, tmp_path), bench)
    assert time.monotonic() - begin < 5
    assert caught.value.exit_code == 5


def test_names_of_files_never_reach_a_shell_unquoted(
    server: Server, bench: Bench, converted: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "a b'; touch pwned; $(touch pwned) `touch pwned` \"\n*.tflite"
    hostile.write_bytes((converted / "float32.tflite").read_bytes())
    job = Job(str(hostile), bench.job.inputs, timing=SHORT)
    device = _device(server, tmp_path, env='{ "A" = "$(touch pwned); \'touch pwned" }')
    _assert_complete(_run(device, Bench(job, bench.out, bench.images)), Bench(job, bench.out, bench.images))
    assert not list(tmp_path.rglob("pwned"))


def test_a_runner_that_is_killed_is_reported_with_the_signal(server: Server, bench: Bench, tmp_path: Path) -> None:
    device = _device(server, tmp_path, python=_script(tmp_path, "kill -KILL $$"))
    with pytest.raises(DeviceError, match="the runner on pi died of SIGKILL"):
        _run(device, bench)
    assert list((server.home / "work" / "jobs").iterdir()) == []


def test_a_device_that_reboots_ends_the_run_with_the_reason(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetf.device.ssh._SILENCE_S", 0.5)
    device = _device(server, tmp_path, python=_script(tmp_path, "echo kept > out/timings.npz; sleep 60"))

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
    with pytest.raises(DeviceError, match="the runner on pi is gone"):
        _run(device, bench)
    thread.join()
    assert (bench.out / "timings.npz").read_text() == "kept\n"


def test_a_runner_whose_output_is_slow_is_not_ended(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetf.device.ssh._SILENCE_S", 0.2)
    slow = _script(tmp_path, f'sleep 2; exec {sys.executable} "$@"')
    _assert_complete(_run(_device(server, tmp_path, python=slow), bench), bench)


def test_a_runner_without_output_is_ended(server: Server, bench: Bench, tmp_path: Path) -> None:
    device = _device(server, tmp_path, python=_script(tmp_path, "sleep 60"))
    device._idle_s = 1.0
    with pytest.raises(DeviceError, match="hung"):
        _run(device, bench)
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
            _run(_device(server, tmp_path), bench)
    kept = [path.name for path in (server.home / "work" / "store").iterdir() if not path.name.startswith(".")]
    assert sha256_file(Path(bench.job.model)) not in kept
    _assert_complete(_run(_device(server, tmp_path), bench), bench)
    assert not list((server.home / "work" / "store").glob(".*"))


def test_a_full_disk_is_reported_with_its_free_space(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _first_in_path(monkeypatch, tmp_path / "bin", "tee", "exec /usr/bin/tee /dev/full")
    with pytest.raises(
        DeviceError, match=r"there is no free space on pi: .* are free in .*No space left on device"
    ) as caught:
        _run(_device(server, tmp_path), bench)
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
    device = _device(server, tmp_path, python=_script(tmp_path, FILLS_UP[how]))
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
    device = _device(server, tmp_path, env=f'{{ PYTHONPATH = "{tmp_path}" }}')
    measurement = _run(device, bench)
    assert measurement.error is not None
    assert measurement.error.startswith("there is no free space on pi: ")
    assert "No space left on device" in measurement.error
    assert measurement.timings is not None  # earlier measurements are kept
    assert read_measurement("pi", bench.out) == measurement


def test_a_device_that_returns_garbage_is_a_failure_of_the_device(server: Server, bench: Bench, tmp_path: Path) -> None:
    garbage = _script(tmp_path, "echo '{\"event\"'; echo nonsense; mkdir -p out; echo '[1' > out/measurement.json")
    with pytest.raises(DeviceError, match="the answer of pi cannot be read"):
        _run(_device(server, tmp_path, python=garbage), bench)


def test_a_variant_whose_lock_was_lost_is_not_measured(server: Server, bench: Bench, tmp_path: Path) -> None:
    """After "in use", the next variant connects again, and does not run without the lock."""
    with _device(server, tmp_path).reserve():
        second = _device(server, tmp_path)
        second._host._locked = True
        with second._host.opened():
            for _ in range(2):
                with pytest.raises(DeviceError, match="in use by another run"):
                    second.run(bench.job, bench.out, ignore)


def test_the_lock_is_taken_again_when_the_device_has_not_noticed_the_loss(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetf.device.ssh_connection._HOLD_S", 3.0)
    device = _device(server, tmp_path)
    with device.reserve():
        server.link.forget()  # the way to the device is cut; the device keeps its end open
        _assert_complete(device.run(bench.job, bench.out, ignore), bench)


def test_two_inputs_with_the_same_bytes_are_sent_once(server: Server, bench: Bench, tmp_path: Path) -> None:
    same = {"image": bench.job.inputs["image"], "other": str(tmp_path / "other.npy")}
    Path(same["other"]).write_bytes(Path(same["image"]).read_bytes())
    with (device := _device(server, tmp_path)).reserve():
        there = device.push(Job(bench.job.model, same))
    assert there.inputs["image"] == there.inputs["other"]


def test_a_key_that_cannot_be_read_is_reported(server: Server, bench: Bench, tmp_path: Path) -> None:
    server.key.write_text("no key")
    with pytest.raises(DeviceError, match="the key or configuration for pi cannot be used"):
        _run(_device(server, tmp_path), bench)


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_key_that_is_no_plain_file_is_reported(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"which devices\.toml names for pi"):
        private_key("pi", make_special(tmp_path / "key", kind))


def test_the_next_run_removes_the_files_of_a_killed_run(server: Server, bench: Bench, tmp_path: Path) -> None:
    left = server.home / "work" / "jobs" / "left"
    left.mkdir(parents=True)
    (left / "job.json").write_text("{}")
    _run(_device(server, tmp_path), bench)
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
    device = _device(server, tmp_path, python=_script(tmp_path, f"exec {sys.executable} {tmp_path}/hostile.py"))
    events: list[Event] = []
    measurement = _run(device, bench, events.append)
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
    _assert_complete(_run(_device(server, tmp_path), bench), bench)
    assert asked
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/b"])
def test_a_device_that_names_files_outside_its_folder_is_refused(
    name: str, server: Server, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "hostile.py").write_text(_HOSTILE_RUNNER.replace("TIMINGS", repr(name)))
    device = _device(server, tmp_path, python=_script(tmp_path, f"exec {sys.executable} {tmp_path}/hostile.py"))
    with pytest.raises(DeviceError, match=r"the answer of pi cannot be read: .* is not a file of its own"):
        _run(device, bench)


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


def _script(tmp_path: Path, body: str) -> str:
    """A Python that takes the lock like the real one, and runs `body` instead of the runner."""
    return _program(tmp_path / "python", f'if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\n{body}')


def _program(place: Path, body: str) -> str:
    place.write_text(f"#!/bin/sh\n{body}\n")
    place.chmod(0o755)
    return str(place)
