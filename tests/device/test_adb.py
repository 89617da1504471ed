"""The behaviour of adb's own server after an outage, imitated by a stand-in for the client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from edgetf.device.adb import Adb
from edgetf.errors import DeviceError, UnreachableError
from tests.processes import await_end, living

# the server keeps `state`, and `then`, the state a few requests after the phone was connected
_CLIENT = r"""#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$*" >> calls
[ "$1" = -s ] && shift 2
state=$(cat state)
case "$1" in
disconnect) echo gone > state;;
connect)
  case "$state" in
  gone) echo connecting > state; echo "connected to $2";;
  *) echo "already connected to $2";;
  esac;;
get-state)
  case "$state" in
  gone) echo "error: device '$2' not found" >&2; exit 1;;
  unauthorized) echo "error: device unauthorized." >&2; exit 1;;
  offline) echo "error: device offline" >&2; exit 1;;
  connecting)
    echo x >> looks
    [ "$(wc -l < looks)" -gt 2 ] && cat then > state
    echo "error: device offline" >&2; exit 1;;
  *) echo device;;
  esac;;
shell)
  case "$state" in
  device) sh -c "$2";;
  *) echo "error: device offline" >&2; exit 1;;
  esac;;
esac
"""


class Client:
    def __init__(self, folder: Path, state: str, then: str = "device") -> None:
        self.folder = folder
        (folder / "adb").write_text(_CLIENT)
        (folder / "adb").chmod(0o755)
        (folder / "then").write_text(f"{then}\n")
        self.state = state

    @property
    def state(self) -> str:
        return (self.folder / "state").read_text().strip()

    @state.setter
    def state(self, state: str) -> None:
        (self.folder / "state").write_text(f"{state}\n")
        (self.folder / "looks").write_text("")

    @property
    def calls(self) -> list[str]:
        return [line.split()[0] for line in (self.folder / "calls").read_text().splitlines() if line[0] != "-"]

    def phone(self, serial: str = "192.168.1.7:5555") -> Adb:
        return Adb("phone", str(self.folder / "adb"), serial)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetf.device.reconnect.PAUSE_S", 0.01)
    monkeypatch.setattr("edgetf.device.adb._SETTLE_POLL_S", 0.01)


@pytest.mark.parametrize("serial", ["192.168.1.7:5555", "[fe80::1]:5555", "adb-39091FDJ-nIkVHn._adb-tls-connect._tcp"])
def test_a_phone_on_the_network_that_is_held_offline_is_disconnected_from_first(serial: str, tmp_path: Path) -> None:
    client = Client(tmp_path, "offline")
    assert client.phone(serial).sh("echo hello") == "hello\n"
    assert client.calls == ["disconnect", "connect"]


def test_a_phone_that_is_ready_is_left_connected(tmp_path: Path) -> None:
    client = Client(tmp_path, "device")
    assert client.phone().sh("echo hello") == "hello\n"
    assert client.calls == []
    client.state = "gone"
    assert client.phone().sh("echo hello") == "hello\n"


def test_a_phone_that_goes_offline_between_two_steps_is_connected_to_again(tmp_path: Path) -> None:
    client = Client(tmp_path, "device")
    phone = client.phone()
    phone.sh("true")
    client.state = "offline"
    assert phone.sh("echo again") == "again\n"
    assert client.calls == ["disconnect", "connect"]


def test_the_wait_for_a_phone_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetf.device.adb._SETTLE_S", 0.2)
    client = Client(tmp_path, "offline", then="offline")
    with pytest.raises(UnreachableError, match="phone cannot be reached: error: device offline"):
        client.phone().sh("true")
    assert client.calls == ["disconnect", "connect"]


def test_a_phone_that_does_not_trust_this_computer_is_an_error_at_once(tmp_path: Path) -> None:
    client = Client(tmp_path, "offline", then="unauthorized")
    with pytest.raises(UnreachableError, match="does not trust this computer yet"):
        client.phone().sh("true")


def test_a_phone_on_a_cable_is_never_disconnected_from(tmp_path: Path) -> None:
    client = Client(tmp_path, "offline")
    with pytest.raises(UnreachableError, match="device offline"):
        client.phone("39091FDJH00123").sh("true")
    assert "disconnect" not in (tmp_path / "calls").read_text()


def test_the_answers_of_a_phone_cannot_control_the_terminal(tmp_path: Path) -> None:
    client = Client(tmp_path, "device")
    with pytest.raises(DeviceError) as caught:
        client.phone().sh(r"printf 'bad\033[2J\033]0;title\007 \302\233news\r\n' >&2; exit 3")
    assert caught.value.message.isprintable()
    assert caught.value.message.startswith("phone cannot do what it was asked: bad")


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """A client that does not end, nor does what it starts; its process group is in `group`."""
    client = tmp_path / "adb"
    client.write_text(
        f"#!/bin/sh\nsleep 60 &\necho $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/group\nsleep 60\n"
    )
    client.chmod(0o755)
    return client


def test_a_client_that_hangs_is_ended_with_all_that_it_started(hanging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetf.device.adb.COMMAND_S", 0.4)
    with pytest.raises(UnreachableError, match="phone cannot be reached: no answer for 0 s"):
        Adb("phone", str(hanging), "39091FDJH00123").sh("true")
    await_end(int((hanging.parent / "group").read_text()))


def test_a_client_that_hangs_ends_when_edgetf_is_killed(hanging: Path) -> None:
    code = f"from edgetf.device.adb import Adb\nAdb('phone', {str(hanging)!r}, 'serial').sh('true')"
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        group = _awaited(lambda: int((hanging.parent / "group").read_text()))
        assert len(living(group)) >= 2
        parent.kill()
        parent.wait()
        await_end(group)


def _awaited(look: Callable[[], int]) -> int:
    """What `look` returns once it does not raise."""
    end = monotonic() + 30
    while True:
        try:
            return look()
        except OSError:
            assert monotonic() < end
            sleep(0.02)
