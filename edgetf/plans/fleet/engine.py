"""Runs the steps of a plan on the workers of a scheduler: each device at the one worker that has it.

The plan stays with the driver. It hands out one step at a time for each device, keeps the results in its own store, and
alone writes the history, so that a lost worker or a killed driver loses nothing: the same command resumes. Without a
worker that converts, conversions and references run here.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from types import TracebackType
from typing import TypeVar
from uuid import uuid4

from edgetf.api.benchmark import KeptHistory
from edgetf.api.reference import SERVING
from edgetf.defaults import DEVICE as LOCAL
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.events import Note, OnEvent
from edgetf.plans.call import Call
from edgetf.plans.engine import ABSENT, Here, Result, Seat
from edgetf.plans.facts import Host
from edgetf.plans.fleet.client import CONVERT, DEVICE, OWN, AwayError, Connection, SchedulerError
from edgetf.plans.fleet.lanes import Lanes
from edgetf.plans.fleet.visit import Visit
from edgetf.plans.plan import Plan
from edgetf.plans.record import Verb
from edgetf.results import read_benchmark

T = TypeVar("T")
_ATTEMPTS = 3  # of a step whose worker or device was lost
_LOSSES = 3  # one after another, after which a device is in quarantine
_PUBLISH_S = 15.0  # between two states for `edgetf status`, which takes a silent run for a killed one


class Fleet:
    """An engine; a context manager, which ends the connection. `note` receives what concerns the whole run."""

    shows = False

    def __init__(self, address: str, certificates: Path | None, plan: Plan, note: Callable[[str], None]) -> None:
        self.connection, self.plan, self._note = Connection(address, certificates), plan, note
        self.certificates = certificates
        self.nonce = uuid4().hex
        self._here, self._lanes = Here(plan.devices_file), Lanes()
        self._losses: Counter[str] = Counter()
        self._running: Counter[str] = Counter()  # steps by device or worker
        self._last: dict[str, str] = {}  # the last failure of a device
        self._absent: dict[str, float] = {}  # since when no worker has a device
        self._lock, self._exclusive = threading.Lock(), threading.Lock()
        self._name = f"{os.uname().nodename}-{os.getpid()}"
        self._ended = threading.Event()

    def __enter__(self) -> Fleet:
        threading.Thread(target=self._publish_until_ended, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self.connection.publish(self._name, None)
        self.connection.close()

    # devices and hosts ------------------------------------------------------------------------------------------------

    def devices(self) -> Iterable[str]:
        """All that workers offer, and all that the plan names. Steps of one that is not there wait for it, once."""
        classes = {one for one in self.plan.classes if any(one in model.devices for model in self.plan.models)}
        single = {one for model in self.plan.models for one in model.devices} - classes
        if absent := sorted(single - self._offered()):
            self._note(f"waiting for a worker that has {', '.join(absent)}")
            self._absent.update(dict.fromkeys(absent, monotonic()))
        return sorted(self._offered() | single | {one for name in classes for one in self.plan.members(name)})

    def _offered(self) -> set[str]:
        found = self.connection.resources()
        return {one.removeprefix(DEVICE) for one in found if one.startswith(DEVICE)} | set(OWN)

    def _worker_of(self, device: str) -> str:
        """The worker that has a device. Raises AwayError if there is none, EdgetfError if there are several."""
        resource, found = f"{DEVICE}{device}", self.connection.offering(f"{DEVICE}{device}")
        if not found:
            since = self._absent.setdefault(device, monotonic())
            self.count(device, 1)
            try:
                found = self.connection.wait_for(resource, f"has the device {device}", since)
            except AwayError as error:
                hint = f"start its worker: edgetf worker {self.connection.address}"
                raise AwayError(error.message, f"{hint}; devices now: {', '.join(sorted(self._offered()))}") from error
            finally:
                self.count(device, -1)
        self._absent.pop(device, None)
        if len(found) > 1:
            hint = "names of devices are unique in a lab: rename it in one devices.toml, and start that worker again"
            raise EdgetfError(f"several workers offer the device {device}: {', '.join(found)}", hint)
        return found[0]

    def note_away(self, device: str | None) -> None:
        """Note that the worker of a device has been away for as long as anybody waits: others of its steps do not."""
        if device is not None:
            self._absent.setdefault(device, monotonic() - self.connection.patience_s)

    def seat(self, verb: Verb, device: str | None) -> Seat:
        if device in OWN:  # the machine that runs the plan
            return self._here
        if device is not None:
            self.refuse_quarantined(device)
            return _Seat(self, self._worker_of(device), f"{DEVICE}{device}")
        if verb is Verb.REFERENCE and self.plan.options.on.startswith(SERVING):  # its address is one of this machine
            return self._here
        if verb is Verb.REFERENCE:
            return self._seat_of_reference()
        found = self.connection.offering(CONVERT)
        return _Seat(self, min(found, key=lambda name: self._running[name]), CONVERT) if found else self._here

    def _seat_of_reference(self) -> Seat:
        """The first worker by name, always the same one, since a reference depends on it; others help it."""
        role = self.connection.role_for_references(self.plan.options.on)
        found = self.connection.offering(role)
        if not found:
            return self._here
        return _Seat(self, found[0], role) if len(found) == 1 else _JoinedSeat(self, found[0], role)

    def eagerness(self, device: str) -> int:
        return self._running[device] if device in self._offered() and self._losses[device] < _LOSSES else ABSENT

    def exclusive(self) -> AbstractContextManager[object]:
        return self._exclusive

    def begin(self, lane: str | None, act: Callable[[], T]) -> Result[T]:
        converting = len(self.connection.offering(CONVERT)) if lane is None else 0
        if lane in OWN or (lane is None and not converting):  # here: not beside a benchmark of this machine
            lane = LOCAL
        return self._lanes.begin(lane, converting or len(self.plan.members(lane or "")), act)

    # what runs, and what fails ----------------------------------------------------------------------------------------

    def refuse_quarantined(self, device: str) -> None:
        if self._losses[device] >= _LOSSES:
            message = f"{device} is in quarantine: {self._last[device]}"
            hint = f"on the host of its worker: edgetf devices doctor {device}; then run the plan again"
            raise DeviceError(message, hint, Cause.UNREACHABLE)

    def note_loss(self, device: str | None, error: DeviceError) -> None:
        is_its_own = not isinstance(error, (AwayError, SchedulerError))
        if device is not None and is_its_own and error.cause in (Cause.LOST, Cause.HUNG, Cause.UNREACHABLE):
            with self._lock:
                self._losses[device] += 1
                self._last[device] = error.message
            self.count(device, 0)

    def note_success(self, device: str | None) -> None:
        with self._lock:
            self._losses.pop(device or "", None)

    def count(self, busy: str, by: int) -> None:
        """Note that a device, or a worker, has one step more or less, and show it to `edgetf status`."""
        with self._lock:
            self._running[busy] += by
        self._publish()

    def _publish_until_ended(self) -> None:
        while not self._ended.wait(_PUBLISH_S):
            self._publish()

    def _publish(self) -> None:
        with self._lock:
            lost = {name: self._last[name] for name, count in self._losses.items() if count >= _LOSSES}
            running = {name: count for name, count in sorted(self._running.items()) if count > 0}
        state = {"plan": str(self.plan.out), "running": running, "quarantine": lost, "at": time()}
        self.connection.publish(self._name, state)


@dataclass(frozen=True)
class _Seat:
    """A worker, with the resource that the step needs there."""

    fleet: Fleet
    worker: str
    resource: str

    @property
    def name(self) -> str:
        return self.worker

    @property
    def host(self) -> Host:
        offer = self.fleet.connection.offer(self.worker)
        device = self.resource.removeprefix(DEVICE) if self.resource.startswith(DEVICE) else None
        if device is not None and device not in offer.devices:
            message = f"the worker {self.worker} no longer has the device {device}"
            raise DeviceError(message, "start it again: edgetf worker", Cause.UNREACHABLE)
        return Host(offer.machine, offer.versions, offer.devices)

    def make(self, call: Call, place: Path, wait: bool, on_event: OnEvent) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._once(call, place, wait, on_event)
            except DeviceError as error:
                self.fleet.note_loss(call.device, error)
                if isinstance(error, AwayError):
                    self.fleet.note_away(call.device)
                    raise
                if error.cause in (Cause.UNFIT, Cause.BUSY) or attempt == _ATTEMPTS:
                    raise
                on_event(Note(f"{call.title}: {error.message}; attempt {attempt + 1} of {_ATTEMPTS}"))
            else:
                self.fleet.note_success(call.device)
                return

    def _once(self, call: Call, place: Path, wait: bool, on_event: OnEvent) -> None:
        busy = call.device or self.worker
        if call.device is not None:
            self.fleet.refuse_quarantined(call.device)
        self.fleet.count(busy, 1)
        try:
            visit = Visit(self.fleet.connection, self.worker, self.resource)
            nonce = self.fleet.nonce if call.is_fresh else ""
            visit.make(call, place, wait, nonce, self.fleet.plan.modules, on_event)
        finally:
            self.fleet.count(busy, -1)
        if call.verb is Verb.BENCHMARK:
            with self.fleet.exclusive():
                variants = Path(call.arguments["variants"])
                KeptHistory(None, None, None, variants).keep(read_benchmark(place), on_event)


@dataclass(frozen=True)
class _JoinedSeat(_Seat):
    """The first of several workers that compute a reference in ranges: `joined` runs here, and computes there."""

    def _once(self, call: Call, place: Path, wait: bool, on_event: OnEvent) -> None:
        hosts = {"scheduler": self.fleet.connection.address, "certificates": self.fleet.certificates}
        self.fleet.count(self.worker, 1)
        try:
            call.run(place, on_event, **hosts, mixed_hosts=self.fleet.plan.options.mixed_hosts)
        finally:
            self.fleet.count(self.worker, -1)
