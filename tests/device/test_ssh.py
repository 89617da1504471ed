"""Jobs over SSH: connections that are cut, keys, locks, and devices that lack something."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import asyncssh
import numpy as np
import pytest

from edgetf.device.devices import find_device
from edgetf.errors import DeviceError, UnreachableError
from edgetf.events import Event, Note, Phase, Progress
from tests.conftest import Run
from tests.device.ssh_devices import Bench, assert_complete, run, ssh_device, write_program
from tests.device.ssh_server import Server

# asyncssh's server leaves a coroutine behind when a program's input ends (2.24.1); edgetf uses its client only
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'Queue.join' was never awaited")


def test_a_job_runs_over_ssh_and_leaves_no_files(server: Server, bench: Bench, tmp_path: Path) -> None:
    events: list[Event] = []
    device = ssh_device(server, tmp_path)
    assert_complete(run(device, bench, events.append), bench)
    assert {type(event) for event in events} >= {Phase, Progress}
    assert device.store == str(server.home / "work" / "store")
    assert list((server.home / "work" / "jobs").iterdir()) == []
    assert len(list((server.home / "work" / "store").iterdir())) == 3  # the runner, the model, the samples


def test_a_second_run_sends_nothing_but_the_job(server: Server, bench: Bench, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((5000, 8, 8, 1), np.float32))
    device = ssh_device(server, tmp_path)
    run(device, bench)
    first = server.link.sent
    run(ssh_device(server, tmp_path), bench)
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
    assert_complete(
        run(ssh_device(server, tmp_path), Bench(bench.job, bench.out, images)), Bench(bench.job, bench.out, images)
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

    assert_complete(run(ssh_device(server, tmp_path), bench, cut_once), bench)
    assert phases.count("timing") == 1  # the runner was not started again


def test_a_connection_that_is_cut_while_results_come_back_is_made_again(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = ssh_device(server, tmp_path)
    fetch, cuts = device._fetch, list[str]()

    async def cut_then_fetch(identity: str, out: Path) -> None:
        if not cuts:
            cuts.append(identity)
            server.link.cut()
        await fetch(identity, out)

    monkeypatch.setattr(device, "_fetch", cut_then_fetch)
    assert_complete(run(device, bench), bench)
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
    with (device := ssh_device(server, tmp_path)).reserve():
        server.loses = lose_once
        assert_complete(device.run(bench.job, bench.out, events.append), bench)
    repeated = {command for command in seen if seen.count(command) > 1}
    assert len(repeated) >= 4  # prepare, sweep, what is missing, start; a file that was stored is not sent again
    assert [event.name for event in events if isinstance(event, Phase)].count("timing") == 1
    assert list((server.home / "work" / "jobs").iterdir()) == []
    assert not list((server.home / "work" / "store").glob(".*"))


def test_two_runs_never_measure_each_other(server: Server, bench: Bench, tmp_path: Path) -> None:
    with ssh_device(server, tmp_path).reserve(), pytest.raises(DeviceError, match="pi is in use by another run"):
        run(ssh_device(server, tmp_path), bench)
    assert_complete(run(ssh_device(server, tmp_path), bench), bench)  # the lock is free again


def test_a_run_that_waits_for_a_device_names_the_holder_without_disturbing_it(
    server: Server, bench: Bench, tmp_path: Path
) -> None:
    first, second = ssh_device(server, tmp_path), ssh_device(server, tmp_path)
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
        run(ssh_device(server, tmp_path), bench)
    assert server.host_key.get_fingerprint() in caught.value.message
    assert "ssh -p" in caught.value.hint
    server.known_hosts.unlink()
    with pytest.raises(DeviceError, match=r"the host key of pi .*is not known in"):
        run(ssh_device(server, tmp_path), bench)
    assert not (server.home / "work").exists()


def test_a_changed_host_key_is_a_warning_that_does_not_offer_to_accept_it(
    server: Server, bench: Bench, tmp_path: Path
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    server.trust(other)
    with pytest.raises(DeviceError, match=r"THE HOST KEY OF pi .* HAS CHANGED") as caught:
        run(ssh_device(server, tmp_path), bench)
    for key in (other, server.host_key):
        assert key.get_fingerprint() in caught.value.message
    assert "ssh -p" not in caught.value.hint
    command = caught.value.hint.partition("remove the old key: ")[2]
    assert subprocess.run(shlex.split(command), check=True, capture_output=True).returncode == 0  # the hint works
    with pytest.raises(DeviceError, match="is not known in"):
        run(ssh_device(server, tmp_path), bench)


def test_a_missing_or_public_key_is_named(server: Server, bench: Bench, tmp_path: Path) -> None:
    public = server.key.with_suffix(".pub")
    public.write_bytes(asyncssh.read_private_key(server.key).export_public_key())
    settings = server.settings(sys.executable)
    for key, problem in (("nowhere", "there is no key at"), (str(public), "is a public key")):
        (tmp_path / "devices.toml").write_text(settings.replace(str(server.key), key))
        with pytest.raises(DeviceError, match=problem) as caught:
            run(find_device("pi", tmp_path / "devices.toml"), bench)  # type: ignore[arg-type]
        assert "leave key out of devices.toml" in caught.value.hint
    assert f"give the private one, {server.key}" in caught.value.hint
    (tmp_path / "devices.toml").write_text(settings.replace(str(server.key), "server/id"))  # next to the file
    assert_complete(run(find_device("pi", tmp_path / "devices.toml"), bench), bench)  # type: ignore[arg-type]


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
    broken = write_program(tmp_path / "broken", "sleep 0.5; echo it is broken >&2; exit 127")
    with pytest.raises(DeviceError, match=r"pi cannot run variants: .*/broken does not run: it is broken") as caught:
        run(ssh_device(server, tmp_path, python=broken), bench)
    assert "python3 -m venv" in caught.value.hint


def test_an_answer_that_is_not_utf_8_is_no_lost_connection(server: Server, tmp_path: Path) -> None:
    body = f"printf 'numpy=1\\3772\\n'; printf '\\300\\n' >&2\nexec {sys.executable} \"$@\""
    device = ssh_device(server, tmp_path, python=write_program(tmp_path / "python", body))
    with device.reserve():  # its lock is held by that Python
        assert device.probe().python == platform.python_version()


def test_a_python_whose_only_answer_is_not_utf_8_is_a_failure_of_the_device(
    server: Server, bench: Bench, tmp_path: Path
) -> None:
    broken = write_program(tmp_path / "broken", "sleep 0.5; printf '\\377\\n' >&2; exit 1")
    with pytest.raises(DeviceError, match="broken does not run: \ufffd") as caught:
        run(ssh_device(server, tmp_path, python=broken), bench)
    assert not isinstance(caught.value, UnreachableError)


def test_a_refused_key_gives_the_command_that_copies_it(server: Server, bench: Bench, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(server.key)
    with pytest.raises(DeviceError, match="refuses to let pi in") as caught:
        run(ssh_device(server, tmp_path), bench)
    assert "ssh-copy-id" in caught.value.hint


def test_a_device_that_is_off_is_reported_at_once(server: Server, bench: Bench, tmp_path: Path) -> None:
    server.link.refuse = True
    begin = time.monotonic()
    with pytest.raises(DeviceError, match="cannot be reached") as caught:
        run(ssh_device(server, tmp_path), bench)
    assert time.monotonic() - begin < 5
    assert caught.value.exit_code == 5
