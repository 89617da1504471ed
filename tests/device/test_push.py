"""The script that compares the sending of a job with scp, against an SSH server of this machine."""

from __future__ import annotations

import shutil
import sys

import pytest

from edgetf.device.settings import DeviceSettings, Kind
from tests.device.ssh_server import Server
from tests.performance.push import compare, send_again


@pytest.mark.skipif(shutil.which("scp") is None, reason="there is no scp")
def test_files_are_pushed_and_copied_and_what_is_there_is_not_sent_again(server: Server) -> None:
    server.key.chmod(0o600)
    host = (Kind.SSH, "127.0.0.1", "pi", server.link.port, str(server.key), str(server.known_hosts), sys.executable)
    settings = DeviceSettings(*host, work_dir=f"{server.home}/work")
    [(ours, theirs)] = compare(settings, 1, 1, ("scp", "-O"))  # asyncssh's SFTP has no exit code, which scp needs
    assert min(ours, theirs) > 0
    size, again = send_again(settings, 1, server.link)
    assert again < size / 10
