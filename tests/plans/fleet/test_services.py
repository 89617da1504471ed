from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

import edgetf
from edgetf.plans.fleet.security import make_certificates
from edgetf.plans.fleet.services import Offered
from tests.plans.fleet.lab import free_port, started


def test_the_devices_file_is_the_one_that_is_found_wherever_steps_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "configuration" / "edgetf"
    configuration.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(configuration.parent))
    monkeypatch.chdir(tmp_path)
    offered = Offered("a", convert=True, gpu=False, devices_file=None)
    assert offered.located().devices_file is None
    for place in (configuration / "devices.toml", tmp_path / "devices.toml"):  # the nearer one counts
        place.write_text('[bench]\nkind = "local"\n')
        assert offered.located().devices_file == place.resolve()
    given = Offered("a", convert=True, gpu=False, devices_file=Path("devices.toml")).located()
    assert given.devices_file == (tmp_path / "devices.toml").resolve()
    assert given.resources() == {"convert": 1.0, "device:bench": 1.0}


def _listening(pid: int) -> Iterator[str]:
    """The addresses at which a process and all its children listen."""
    own = psutil.Process(pid)
    for process in [own, *own.children(recursive=True)]:
        for one in process.net_connections("inet"):
            if one.status == psutil.CONN_LISTEN:
                yield str(one.laddr.ip)


def _limits(pid: int) -> set[str]:
    """The variables of all children of a process that it has not itself, of threads and of memory."""
    own = psutil.Process(pid)
    found = {name for process in own.children(recursive=True) for name in process.environ()} - set(own.environ())
    return {name for name in found if name.endswith("_NUM_THREADS") or name.startswith("MALLOC_")}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_certificates_all_listen_on_the_loopback_and_a_worker_fails_when_its_scheduler_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    address, log = f"tcp://127.0.0.1:{free_port()}", tmp_path / "worker.log"
    with started("scheduler", address, ready="listening", log=tmp_path / "scheduler.log") as scheduler:
        words = ("worker", address, "--name", "a", "--convert")
        with started(*words, ready="a offers convert", log=log, cache=tmp_path / "cache") as worker:
            found = [*_listening(scheduler.pid), *_listening(worker.pid)]
            assert len(found) >= 4  # scheduler, nanny, worker, and the worker's HTTP server
            assert all(ip_address(one).is_loopback for one in found), found
            assert _limits(worker.pid) == set(), "what a step starts would be slower than alone"
            scheduler.kill()
            assert worker.wait(60) == 1
    lines = log.read_text().splitlines()
    assert sum(f"the scheduler at {address} is gone" in one for one in lines) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_with_certificates_a_worker_joins_whatever_the_name_of_its_scheduler(tmp_path: Path) -> None:
    folder, port = tmp_path / "set", free_port()
    make_certificates(folder, force=False)
    words = ("--certificates", str(folder))
    with started("scheduler", f"tls://127.0.0.1:{port}", *words, ready="listening", log=tmp_path / "scheduler.log"):
        given = ("worker", f"tls://localhost:{port}", "--name", "a", "--convert", *words)
        with started(*given, ready="a offers convert", log=tmp_path / "worker.log", cache=tmp_path / "cache") as worker:
            assert [one.name for one in edgetf.status(f"tls://localhost:{port}", certificates=folder).workers] == ["a"]
            worker.terminate()
            assert worker.wait(60) == 0
