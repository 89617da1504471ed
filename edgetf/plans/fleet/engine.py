"""Runs the steps of a plan on the workers of a scheduler: each device at the one worker that has it.

The plan stays with the driver. It hands out one step at a time for each device, keeps the results in its own store, and
alone writes the history, so that a lost worker or a killed driver loses nothing: the same command resumes. Without a
worker that converts, conversions and references run here.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edgetf import files
from edgetf.api.benchmark import KeptHistory
from edgetf.defaults import DEVICE as LOCAL
from edgetf.errors import Cause, DeviceError, EdgetfError, ExitCode
from edgetf.events import Note, OnEvent
from edgetf.owned import remove
from edgetf.plans.call import Call
from edgetf.plans.engine import Here, Result
from edgetf.plans.facts import Host
from edgetf.plans.fleet import host_side
from edgetf.plans.fleet.client import CONVERT, DEVICE, GPU, Connection
from edgetf.plans.fleet.messages import Reply, Request, Root
from edgetf.plans.fleet.paths import is_document, relocated, root_of
from edgetf.plans.plan import Plan
from edgetf.plans.record import Verb
from edgetf.results import read_benchmark

T = TypeVar("T")
_ATTEMPTS = 3  # of a step whose worker or device was lost
_LOSSES = 3  # one after another, after which a device is in quarantine
_MODULES = 1000  # of the user, beside a metric


class Fleet:
    """An engine; a context manager, which ends the connection and what waits."""

    shows = False

    def __init__(self, address: str, certificates: Path | None, plan: Plan) -> None:
        self._connection, self._plan = Connection(address, certificates), plan
        self._here = Here(plan.devices_file)
        self._lanes: dict[str | None, ThreadPoolExecutor] = {}
        self._losses: Counter[str] = Counter()
        self._running: Counter[str] = Counter()  # steps by device or worker
        self._last: dict[str, str] = {}  # the last failure of a device
        self._lock, self._exclusive = threading.Lock(), threading.Lock()
        self._name = f"{os.uname().nodename}-{os.getpid()}"

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for lane in self._lanes.values():
            lane.shutdown(wait=False, cancel_futures=True)
        try:
            self._connection.publish(self._name, None)
        finally:
            self._connection.close()

    def devices(self) -> Iterable[str]:
        wanted = {member for model in self._plan.models for one in model.devices for member in self._plan.members(one)}
        for name in sorted(wanted - self._offered() - {LOCAL}):
            self._connection.wait_for(f"{DEVICE}{name}", f"the device {name}")
        return sorted(self._offered() | {LOCAL})

    def _offered(self) -> set[str]:
        found = (one["resources"] for one in self._connection.workers().values())
        return {name.removeprefix(DEVICE) for one in found for name in one if name.startswith(DEVICE)}

    def host(self, verb: Verb, device: str | None) -> Host:
        worker = self._worker_for(verb, device)
        if worker is None:
            return self._here.host(verb, device)
        offer = self._connection.offer(worker)
        return Host(offer.machine, offer.versions, offer.devices)

    def _worker_for(self, verb: Verb, device: str | None) -> str | None:
        """The name of the worker for a step; None if it runs here. Conversions go to the one that has least to do."""
        if device == LOCAL:  # the machine that runs the plan
            return None
        if device is not None:
            return self._connection.wait_for(f"{DEVICE}{device}", f"the device {device}")[0]
        found = self._connection.offering(self._role(verb))
        if not found or verb is Verb.REFERENCE:  # always the same one: a reference depends on its machine
            return found[0] if found else None
        return min(found, key=lambda name: self._running[name])

    def _role(self, verb: Verb) -> str:
        """The resource that a step without a device needs."""
        wants_gpu = verb is Verb.REFERENCE and self._plan.options.on in ("auto", "gpu")
        return GPU if wants_gpu and self._connection.offering(GPU) else CONVERT

    def busy(self, device: str) -> int:
        """How many steps a device has to do, and whether it is in quarantine."""
        return self._running[device] + (1_000_000 if self._losses[device] >= _LOSSES else 0)

    def exclusive(self) -> AbstractContextManager[object]:
        return self._exclusive

    def begin(self, lane: str | None, act: Callable[[], T]) -> Result[T]:
        if lane not in self._lanes:
            slots = len(self._connection.offering(CONVERT)) if lane is None else len(self._plan.members(lane))
            self._lanes[lane] = ThreadPoolExecutor(max(slots, 1), thread_name_prefix=lane or "convert")
        return self._lanes[lane].submit(act).result

    # a step -----------------------------------------------------------------------------------------------------------

    def make(self, call: Call, place: Path, wait: bool, on_event: OnEvent) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            self._refuse_quarantined(call.device)
            worker = self._worker_for(call.verb, call.device)
            if worker is None:
                self._here.make(call, place, wait, on_event)
                return
            try:
                self._make_on(worker, call, place, on_event)
            except DeviceError as error:
                self._note_loss(call.device, error)
                if error.cause is Cause.UNFIT or attempt == _ATTEMPTS:
                    raise
                on_event(Note(f"{error.message}; attempt {attempt + 1} of {_ATTEMPTS}"))
            else:
                self._losses.pop(call.device or "", None)
                return

    def _make_on(self, worker: str, call: Call, place: Path, on_event: OnEvent) -> None:
        busy = call.device or worker
        resource = f"{DEVICE}{call.device}" if call.device else self._role(call.verb)
        title = f"{call.model}: {call.verb.value}" + (f" on {call.device}" if call.device else "")
        request = Request(
            key=place.name,
            verb=call.verb.value,
            title=title,
            arguments=dict(files.to_plain(call.arguments)),
            device=call.device,
            roots=tuple(root for one in dict.fromkeys(call.reads) if (root := root_of(one)) is not None),
            modules=self._modules(call),
        )
        self._count(busy, 1)
        try:
            self._connection.offer(worker)  # refuses another edgetf
            reply = self._connection.run(worker, request, resource)
            if reply.exit_code:
                raise _error_of(reply)
            self._take(worker, request, reply, place)
        finally:
            self._count(busy, -1)
        if call.verb is Verb.BENCHMARK:
            with self._exclusive:
                variants = Path(call.arguments["variants"])
                KeptHistory(None, None, None, variants).keep(read_benchmark(place), on_event)

    def _take(self, worker: str, request: Request, reply: Reply, place: Path) -> None:
        """Bring a result into the store, with the paths that files have here: complete, or not at all."""
        assert reply.files is not None
        assert reply.places is not None
        beside = place.with_name(f".{place.name}-{os.getpid()}")
        remove(beside)
        try:
            self._connection.fetch(worker, request.key, reply.files, beside)
            there = {theirs: own or str(place) for own, theirs in reply.places.items()}
            for path in [one for one in beside.rglob("*.json") if is_document(one)]:
                files.write_document(path, relocated(files.parse_document(path), there))
            remove(place)
            place.parent.mkdir(parents=True, exist_ok=True)
            beside.replace(place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._connection.call(worker, host_side.forget, request.key)

    def _modules(self, call: Call) -> Root | None:
        """The user's modules, if the call names functions of theirs."""
        named = [*call.arguments.get("metric", ()), *(one for one in call.reads if root_of(one) is None)]
        if not named or self._plan.modules is None:
            return None
        found = sorted(self._plan.modules.glob("*.py"))[:_MODULES]
        return Root(str(self._plan.modules), "modules", {one.name: files.sha256_file(one) for one in found})

    # what fails -------------------------------------------------------------------------------------------------------

    def _note_loss(self, device: str | None, error: DeviceError) -> None:
        if device is not None and error.cause in (Cause.LOST, Cause.HUNG, Cause.UNREACHABLE):
            with self._lock:
                self._losses[device] += 1
                self._last[device] = error.message
            self._publish()

    def _refuse_quarantined(self, device: str | None) -> None:
        if device is not None and self._losses[device] >= _LOSSES:
            message = f"{device} is in quarantine after {self._losses[device]} losses, the last: {self._last[device]}"
            raise DeviceError(message, f"edgetf devices doctor {device}, and run the plan again", Cause.UNREACHABLE)

    def _count(self, busy: str, by: int) -> None:
        with self._lock:
            self._running[busy] += by
        self._publish()

    def _publish(self) -> None:
        """Show `edgetf status` what runs, and which devices are in quarantine."""
        with self._lock:
            lost = {name: self._last[name] for name, count in self._losses.items() if count >= _LOSSES}
            state = {"plan": str(self._plan.out), "running": sum(self._running.values()), "quarantine": lost}
        self._connection.publish(self._name, state)


def _error_of(reply: Reply) -> EdgetfError:
    """The error of a call, as it was raised on the worker."""
    if reply.cause is not None:
        return DeviceError(reply.message, reply.hint, Cause(reply.cause))
    if reply.exit_code == ExitCode.DEVICE_FAILED:
        return DeviceError(reply.message, reply.hint)
    return EdgetfError(reply.message, reply.hint)
