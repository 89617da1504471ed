"""What is not there, or there twice: it is named, waited for once, and holds up nothing else."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.events import Note
from edgetf.plans.call import Call
from edgetf.plans.engine import Here
from edgetf.plans.fleet import client, engine
from edgetf.plans.fleet.client import AwayError, Connection, SchedulerError
from edgetf.plans.fleet.engine import Fleet, _Seat
from edgetf.plans.fleet.services import _refuse_names_of_others
from edgetf.plans.plan import Plan, PlannedModel
from edgetf.plans.record import Verb


def _worker(name: str, *devices: str) -> dict[str, Any]:
    return {
        "name": name,
        "host": "127.0.0.1",
        "resources": {f"worker:{name}": 1, **{f"device:{d}": 1 for d in devices}},
    }


def _connection(*workers: dict[str, Any], patience_s: float = 0.2) -> Any:
    """A connection that knows these workers, and needs no scheduler."""
    found = object.__new__(Connection)
    found.address, found.patience_s = "tls://lab:8786", patience_s
    known = {one["name"]: one for one in workers}
    for name, value in {
        "workers": lambda age_s=0.0: dict(sorted(known.items())),
        "publish": lambda name, state: None,
        "_refuse_stopped": lambda: None,
        "known": known,
    }.items():
        setattr(found, name, value)
    return found


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A fleet of w1 with pi1, for a plan on pi1 and pi2; `notes` are its own."""
    connection = _connection(_worker("w1", "pi1"))
    monkeypatch.setattr(engine, "Connection", lambda *given: connection)
    monkeypatch.setattr(client, "_POLL_S", 0.01)
    plan = Plan((PlannedModel("digits", "m", "t", devices=("pi1", "pi2", "micro")),), tmp_path)
    notes: list[str] = []
    found = Fleet("tls://lab:8786", None, plan, notes.append)
    found.notes = notes  # type: ignore[attr-defined]
    return found


def test_a_device_that_is_not_there_is_waited_for_once_and_by_its_own_steps_alone(fleet: Any) -> None:
    begin = time.monotonic()
    assert {"pi1", "pi2"} <= set(fleet.devices())
    assert fleet.seat(Verb.BENCHMARK, "pi1").name == "w1"
    assert time.monotonic() - begin < fleet.connection.patience_s
    assert fleet.notes == ["waiting for a worker that has pi2"]
    with pytest.raises(AwayError, match="no worker of tls://lab:8786 has the device pi2") as caught:
        fleet.seat(Verb.BENCHMARK, "pi2")
    assert "start its worker" in caught.value.hint
    assert "devices now: local, micro, pi1" in caught.value.hint
    begin = time.monotonic()
    for _ in range(5):  # at once, and never in quarantine: it may come back
        with pytest.raises(AwayError, match="no worker"):
            fleet.seat(Verb.BENCHMARK, "pi2")
    assert time.monotonic() - begin < fleet.connection.patience_s
    fleet.connection.known["w2"] = _worker("w2", "pi2")
    assert fleet.seat(Verb.BENCHMARK, "pi2").name == "w2"


def test_the_devices_that_every_machine_has_are_those_of_the_one_that_runs_the_plan(fleet: Any) -> None:
    assert all(isinstance(fleet.seat(Verb.BENCHMARK, name), Here) for name in ("local", "micro"))


def test_a_device_that_two_workers_offer_is_refused(fleet: Any) -> None:
    fleet.connection.known["w3"] = _worker("w3", "pi1")
    with pytest.raises(EdgetfError, match="several workers offer the device pi1: w1, w3"):
        fleet.seat(Verb.BENCHMARK, "pi1")


def test_a_worker_is_refused_that_has_the_name_or_a_device_of_another_one() -> None:
    connection = _connection(_worker("w1", "pi1", "pi2"))
    with pytest.raises(EdgetfError, match="has a worker w1 already"):
        _refuse_names_of_others(connection, "w1", {})
    with pytest.raises(EdgetfError, match="the worker w1 of tls://lab:8786 offers pi1 already"):
        _refuse_names_of_others(connection, "w3", {"convert": 1.0, "device:pi1": 1.0})
    _refuse_names_of_others(connection, "w3", {"convert": 1.0, "device:pi3": 1.0})


@pytest.mark.parametrize(
    ("error", "attempts", "is_lost"),
    [
        (AwayError("the worker w1 has been away for 60 s"), 1, False),
        (SchedulerError("the scheduler at tls://lab:8786 was lost"), 3, False),
        (DeviceError("pi1 hung", "", Cause.HUNG), 3, True),
    ],
)
def test_only_what_a_device_does_itself_counts_against_it(
    error: DeviceError, attempts: int, is_lost: bool, fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fail(self: object, call: Call, *given: object) -> None:
        tried.append(call.title)
        raise error

    monkeypatch.setattr(engine, "Visit", lambda *given: SimpleNamespace(make=lambda *rest: fail(None, *rest)))
    notes: list[Any] = []
    seat, call = _Seat(fleet, "w1", "device:pi1"), Call("digits", Verb.BENCHMARK, {}, (), "pi1")
    with pytest.raises(DeviceError):
        seat.make(call, Path("out"), True, notes.append)
    assert len(tried) == attempts
    assert [type(one) for one in notes] == [Note] * (attempts - 1)
    if is_lost:
        with pytest.raises(DeviceError, match="pi1 is in quarantine: pi1 hung"):
            fleet.seat(Verb.BENCHMARK, "pi1")
    else:
        assert fleet.seat(Verb.BENCHMARK, "pi1").name == "w1"
