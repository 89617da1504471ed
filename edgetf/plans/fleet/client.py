"""The driver's connection to a scheduler. In: functions of `host_side`. Out: what they return on a worker.

A worker is called by its name, which it keeps when it is started again: a task waits for it, and a worker that does not
come back within `PATIENCE_S` is lost. Nothing waits in silence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from edgetf import __version__, files
from edgetf.errors import Cause, DeviceError, EdgetfError, MissingExtraError
from edgetf.plans.fleet import host_side
from edgetf.plans.fleet.messages import PIECE, Offer, Reply, Request, Root
from edgetf.plans.fleet.paths import file_of
from edgetf.plans.fleet.security import address_of, security_for

PATIENCE_S = 60.0  # how long a worker may be away
_POLL_S, _CONNECT_S = 1.0, 10.0
WORKER, DEVICE, CONVERT, GPU = "worker:", "device:", "convert", "gpu"  # resources


class Connection:
    """A scheduler, as long as a plan runs."""

    def __init__(self, address: str, certificates: Path | None) -> None:
        self.address = address_of(address)
        self._patience_s, self._stopped = PATIENCE_S, threading.Event()
        try:
            from distributed import Client
        except ModuleNotFoundError as error:
            raise MissingExtraError("distributed", "fleet") from error
        security = security_for(self.address, certificates)
        try:
            self._client = Client(self.address, security=security, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            hint = "is it running (edgetf scheduler), and do both have certificates of one set?"
            raise EdgetfError(f"cannot reach the scheduler at {self.address}", hint) from error
        self._offers: dict[str, Offer] = {}
        self._lock, self._asked = threading.Lock(), -_POLL_S
        self._known: dict[str, Mapping[str, Any]] = {}

    def close(self) -> None:
        """End all that waits for an answer, and the connection."""
        self._stopped.set()
        self._client.close()

    def publish(self, name: str, state: Mapping[str, Any] | None) -> None:
        """Let `edgetf status` show what this driver does; None when it is over."""
        self._client.set_metadata(["edgetf", name], None if state is None else dict(state))

    def runs(self) -> list[Mapping[str, Any]]:
        """What the drivers have published."""
        known = self._client.get_metadata(["edgetf"], {})
        return [one for _, one in sorted(known.items()) if one is not None]

    def running(self) -> dict[str, tuple[str, ...]]:
        """The titles of the steps that each worker runs, by its name."""
        names = {address: str(one["name"]) for address, one in self._info().items()}
        found = self._client.processing()
        return {names[one]: tuple(k.rpartition("-")[0] for k in keys) for one, keys in found.items() if one in names}

    # workers ----------------------------------------------------------------------------------------------------------

    def workers(self) -> dict[str, Mapping[str, Any]]:
        """What the scheduler knows of each worker, by name."""
        known = {str(one["name"]): one for one in self._info().values() if _is_worker(one)}
        return dict(sorted(known.items()))

    def _info(self) -> dict[str, Mapping[str, Any]]:
        """The same by address, also of those that edgetf has not started: asked once a second, whoever wants it."""
        with self._lock:
            if monotonic() - self._asked >= _POLL_S:
                self._known = dict(self._client.scheduler_info(n_workers=-1)["workers"])
                self._asked = monotonic()
            return self._known

    def offering(self, resource: str) -> list[str]:
        """The names of the workers that offer a resource."""
        return sorted(name for name, one in self.workers().items() if one["resources"].get(resource))

    def wait_for(self, resource: str, what: str) -> list[str]:
        """The same, as soon as there is one. Raises DeviceError after `PATIENCE_S`."""
        end = monotonic() + self._patience_s
        while not (found := self.offering(resource)):
            if monotonic() > end:
                message = f"no worker of {self.address} has {what}: waited {self._patience_s:.0f} s"
                raise DeviceError(message, "start one there: edgetf worker, and see: edgetf status", Cause.UNREACHABLE)
            self._pause()
        return found

    def offer(self, name: str) -> Offer:
        """The facts of a worker. Raises EdgetfError for one with another edgetf."""
        if name not in self._offers:
            found = files.read_plain(self.call(name, host_side.offer), Offer)
            theirs = found.versions.get("edgetf")
            if theirs != __version__:
                message = f"the worker {name} has edgetf {theirs}, this is {__version__}"
                raise EdgetfError(message, "install the same version on both")
            self._offers[name] = found
        return self._offers[name]

    # calls ------------------------------------------------------------------------------------------------------------

    def call(self, name: str, function: Callable[..., Any], *given: Any, title: str = "", resource: str = "") -> Any:
        """What a function returns on a worker; `title` is what `edgetf status` shows meanwhile.

        Raises DeviceError if the worker is lost, and the errors of the function.
        """
        needs = {f"{WORKER}{name}": 1, **({resource: 1} if resource else {})}
        key = f"{title or function.__name__}-{uuid4().hex[:8]}"
        future = self._client.submit(function, *given, key=key, resources=needs, pure=False, retries=0)
        over, seen = threading.Event(), monotonic()
        future.add_done_callback(lambda _: over.set())
        while not over.wait(_POLL_S):
            self._refuse_stopped()
            seen = monotonic() if name in self.workers() else seen
            if monotonic() - seen > self._patience_s:
                future.cancel()
                message = f"the worker {name} is gone for {self._patience_s:.0f} s"
                raise DeviceError(message, "start it again: edgetf worker", Cause.LOST)
        if future.status == "finished":
            return future.result()
        raise _error_of(future, name)

    def run(self, name: str, request: Request, resource: str) -> Reply:
        """The reply to a call, after the files that the worker lacks were sent to it."""
        plain = files.to_plain(request)
        while True:
            answer = self.call(name, host_side.call, plain, title=request.title, resource=resource)
            reply = files.read_plain(answer, Reply)
            if not reply.missing:
                return reply
            self._send(name, request, set(reply.missing))

    def _send(self, name: str, request: Request, missing: set[str]) -> None:
        roots = [*request.roots, *([request.modules] if request.modules else [])]
        for root in roots:
            for file, digest in root.files.items():
                if digest in missing:
                    missing.remove(digest)
                    self._send_file(name, root, file, digest)

    def _send_file(self, name: str, root: Root, file: str, digest: str) -> None:
        path = file_of(root, file)
        size, offset = path.stat().st_size, 0
        with path.open("rb") as opened:
            while True:
                data = opened.read(PIECE)
                self.call(name, host_side.put, digest, offset, data, offset + len(data) >= size)
                offset += len(data)
                if offset >= size or not data:
                    return

    def fetch(self, name: str, key: str, found: Mapping[str, str], place: Path) -> None:
        """Copy the files of a result to the folder `place`. Raises DeviceError if one arrives damaged."""
        for file, digest in found.items():
            target, offset = place / file, 0
            if not target.resolve().is_relative_to(place.resolve()):
                raise DeviceError(f"the worker {name} names a file outside of its result: {file!r}", "", Cause.UNFIT)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as opened:
                while data := self.call(name, host_side.get, key, file, offset):
                    opened.write(data)
                    offset += len(data)
                    if len(data) < PIECE:
                        break
            if files.sha256_file(target) != digest:
                raise DeviceError(f"{file} arrived damaged from the worker {name}", "run the plan again")

    def _pause(self) -> None:
        self._refuse_stopped()
        sleep(_POLL_S)

    def _refuse_stopped(self) -> None:
        if self._stopped.is_set():
            raise DeviceError("the run was interrupted", "run the same command again: it resumes")


def _is_worker(info: Mapping[str, Any]) -> bool:
    return any(str(one).startswith(WORKER) for one in info["resources"])


def _error_of(future: Any, name: str) -> Exception:
    """The error of a task that has no result."""
    error = future.exception() if future.status == "error" else None
    if error is None or type(error).__module__.startswith("distributed"):  # KilledWorker, NoValidWorkerError
        what = future.status if error is None else type(error).__name__
        return DeviceError(f"the worker {name} was lost ({what})", "see its output, and: edgetf status", Cause.LOST)
    return error if isinstance(error, Exception) else RuntimeError(repr(error))


@contextmanager
def connected(address: str, certificates: Path | None) -> Iterator[Connection]:
    """A connection to a scheduler. Raises EdgetfError if there is none."""
    connection = Connection(address, certificates)
    try:
        yield connection
    finally:
        connection.close()
