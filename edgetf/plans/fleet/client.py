"""The driver's connection to a scheduler. In: functions of `host_side`. Out: what they return on a worker.

A worker is called by its name, which it keeps when it is started again: a task waits for it, and a worker that does not
come back within `PATIENCE_S` is lost. Nothing waits in silence.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from edgetf import __version__, files
from edgetf.device.settings import Kind
from edgetf.errors import Cause, DeviceError, EdgetfError, MissingExtraError
from edgetf.plans.fleet import host_side
from edgetf.plans.fleet.messages import PIECE, Offer, Reply, Request, Root
from edgetf.plans.fleet.paths import file_of
from edgetf.plans.fleet.reach import why_unreachable
from edgetf.plans.fleet.security import address_of, security_for
from edgetf.reading import reason_of

PATIENCE_S = 60.0  # how long a worker may be away
_POLL_S, _CONNECT_S = 1.0, 10.0
_LOOK_S = 5.0  # between two looks whether a worker that computes is still there: each costs the scheduler
_NEAR_S = 2.0  # in which a worker answers whose results are asked for directly
OWN = (Kind.LOCAL.value, Kind.MICRO.value)  # devices that every machine has: those of the one that runs the plan
WORKER, DEVICE, CONVERT, GPU, CPU = "worker:", "device:", "convert", "gpu", "cpu"  # resources


class AwayError(DeviceError):
    """A worker has been away for `PATIENCE_S`: nobody waits for it again."""

    cause = Cause.UNREACHABLE


class SchedulerError(DeviceError):
    """The scheduler is gone, which is no fault of a worker or of a device."""

    cause = Cause.LOST


class Connection:
    """A scheduler, as long as a plan runs. All methods may be called by several threads.

    Every method but `publish` and `close` raises SchedulerError if the scheduler is gone.
    """

    def __init__(self, address: str, certificates: Path | None) -> None:
        self.address, self.patience_s = address_of(address), PATIENCE_S
        self._stopped, self._lock = threading.Event(), threading.Lock()
        try:
            import distributed
        except ModuleNotFoundError as error:
            raise MissingExtraError("distributed", "fleet") from error
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it logs is an error here
        security = security_for(self.address, certificates)
        self._connect = partial(
            distributed.Client,
            self.address,
            security=security,
            timeout=_CONNECT_S,
            set_as_default=False,
        )
        try:
            self._client = self._connect()
        except (OSError, TimeoutError) as error:
            reason, hint = why_unreachable(self.address, security)
            raise EdgetfError(f"cannot reach the scheduler at {self.address}: {reason}", hint) from error
        self._offers: dict[str, Offer] = {}
        self._asked, self._known = -_LOOK_S, dict[str, Mapping[str, Any]]()
        self._near: dict[str, bool] = {}

    def close(self) -> None:
        """End all that waits for an answer, and the connection."""
        self._stopped.set()
        with suppress(Exception):  # the scheduler may be gone
            self._client.close()

    def publish(self, name: str, state: Mapping[str, Any] | None) -> None:
        """Let `edgetf status` show what this driver does; None when it is over. It only informs."""
        with suppress(Exception):
            own = None if state is None else {**state, "client": self._client.id}
            self._client.set_metadata(["edgetf", name], own)

    def runs(self) -> list[Mapping[str, Any]]:
        """What the drivers that are still connected have published."""
        with self._reached():
            known = self._client.get_metadata(["edgetf"], {})
            connected = set(self._client.run_on_scheduler(_clients))
        return [one for _, one in sorted(known.items()) if one is not None and one.get("client") in connected]

    def running(self) -> dict[str, tuple[str, ...]]:
        """The titles of the steps that each worker runs, by its name."""
        with self._reached():
            found = self._client.processing()
        names = {address: str(one["name"]) for address, one in self._info().items()}
        return {names[one]: tuple(k.rpartition("-")[0] for k in keys) for one, keys in found.items() if one in names}

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Enclose what needs the scheduler, and nothing else: whatever Dask raises, it means that it is gone.

        A client that has given up is replaced before.
        """
        self._refuse_stopped()
        try:
            if self._client.status in ("closed", "closing"):
                with self._lock:
                    if self._client.status in ("closed", "closing"):
                        self._client = self._connect()
            yield
        except Exception as error:
            reason = reason_of(error) if isinstance(error, OSError) else "it does not answer"
            raise self._scheduler_error(f"is gone: {reason}") from error

    def _scheduler_error(self, what: str) -> SchedulerError:
        hint = "start it again (edgetf scheduler), and its workers, if they have ended"
        return SchedulerError(f"the scheduler at {self.address} {what}", hint)

    # workers ----------------------------------------------------------------------------------------------------------

    def workers(self, age_s: float = _POLL_S) -> dict[str, Mapping[str, Any]]:
        """What the scheduler knows of each worker, by name; asked again if that is older than `age_s`."""
        known = {str(one["name"]): one for one in self._info(age_s).values() if _is_worker(one)}
        return dict(sorted(known.items()))

    def _info(self, age_s: float = _POLL_S) -> dict[str, Mapping[str, Any]]:
        """The same by address, also of those that edgetf has not started."""
        if monotonic() - self._asked >= age_s:
            with self._reached():
                found = dict(self._client.scheduler_info(n_workers=-1)["workers"])
            self._known, self._asked = found, monotonic()
        return self._known

    def resources(self) -> set[str]:
        """All that workers offer."""
        return {name for one in self.workers().values() for name in one["resources"]}

    def offering(self, resource: str) -> list[str]:
        """The names of the workers that offer a resource."""
        return [name for name, one in self.workers().items() if one["resources"].get(resource)]

    def wait_for(self, resource: str, what: str, since: float | None = None) -> list[str]:
        """The same, as soon as there is one; `what` is what such a worker does.

        Raises AwayError `PATIENCE_S` after `since`, in seconds of `monotonic`, by default after now.
        """
        end = (monotonic() if since is None else since) + self.patience_s
        while not (found := self.offering(resource)):
            if monotonic() >= end:
                message = f"no worker of {self.address} {what}: waited {self.patience_s:.0f} s"
                raise AwayError(message, f"start one: edgetf worker {self.address}, and see: edgetf status")
            self._refuse_stopped()
            sleep(_POLL_S)
        return found

    def offer(self, name: str) -> Offer:
        """The facts of a worker. Raises EdgetfError for one with another edgetf."""
        if name not in self._offers:
            plain = self.call(name, host_side.offer)
            theirs = plain["versions"].get("edgetf")
            if theirs != __version__:
                message = f"the worker {name} has edgetf {theirs}, this is {__version__}"
                raise EdgetfError(message, "install the same version on both")
            self._offers[name] = files.read_plain(plain, Offer)
        return self._offers[name]

    # calls ------------------------------------------------------------------------------------------------------------

    def call(
        self, name: str, function: Callable[..., Any], *given: Any, title: str = "", needs: Sequence[str] = ()
    ) -> Any:
        """What a function returns on a worker; `title` is what `edgetf status` shows meanwhile.

        Raises DeviceError if the worker or the scheduler is lost (AwayError, SchedulerError), and the errors of the
        function.
        """
        resources = dict.fromkeys([f"{WORKER}{name}", *needs], 1)
        key = f"{title or function.__name__}-{uuid4().hex[:8]}"
        with self._reached():
            future = self._client.submit(function, *given, key=key, resources=resources, pure=False, retries=0)
        over, seen = threading.Event(), monotonic()
        future.add_done_callback(lambda _: over.set())
        while not over.wait(_LOOK_S):
            seen = monotonic() if name in self.workers(_LOOK_S) else seen
            if monotonic() - seen > self.patience_s:
                future.cancel()
                message = f"the worker {name} has been away for {self.patience_s:.0f} s"
                raise AwayError(message, f"start it again: edgetf worker {self.address} --name {name}")
        if future.status == "finished":
            with self._reached():
                return self._client.gather(future, direct=self._is_near(name))
        if future.status == "cancelled":  # as Dask does to all that a scheduler had, when the connection breaks
            self._refuse_stopped()
            raise self._scheduler_error("was lost")
        raise _error_of(future, name)

    def _is_near(self, name: str) -> bool:
        """Whether this machine reaches a worker: then its results do not pass through the scheduler."""
        if name not in self._near:
            found = [urlsplit(address) for address, one in self._info(_LOOK_S).items() if str(one["name"]) == name]
            self._near[name] = bool(found) and _answers(found[0].hostname, found[0].port)
        return self._near[name]

    def role_for_references(self, on: str) -> str:
        """The resource of workers that compute references `on` a place: a GPU, if one is wanted and offered."""
        return GPU if on in ("auto", "gpu") and self.offering(GPU) else CONVERT

    def run(self, name: str, request: Request, needs: Sequence[str]) -> Reply:
        """The reply to a call, after the files that the worker lacks were sent to it."""
        plain = files.to_plain(request)
        while True:
            answer = self.call(name, host_side.call, plain, title=request.title, needs=needs)
            reply = files.read_plain(answer, Reply)
            if not reply.missing:
                return reply
            self.send(name, [*request.roots, *([request.modules] if request.modules else [])], set(reply.missing))

    def send(self, name: str, roots: Sequence[Root], missing: set[str]) -> None:
        """Send the files of `roots` whose digests are `missing` on a worker."""
        for root in roots:
            for file, digest in root.files.items():
                if digest in missing:
                    missing.remove(digest)
                    self._send_file(name, root, file, digest)

    def _send_file(self, name: str, root: Root, file: str, digest: str) -> None:
        path = file_of(root, file)
        part, size, offset = uuid4().hex, path.stat().st_size, 0
        with path.open("rb") as opened:
            while True:
                data = opened.read(PIECE)
                self.call(name, host_side.put, digest, part, offset, data, offset + len(data) >= size)
                offset += len(data)
                if offset >= size or not data:
                    return

    def fetch(self, name: str, request: Request, found: Mapping[str, str], place: Path) -> None:
        """Copy the files of a result to the folder `place`. Raises DeviceError if one arrives damaged."""
        for file, digest in found.items():
            target, offset = place / file, 0
            if not target.resolve().is_relative_to(place.resolve()):
                raise DeviceError(f"the worker {name} names a file outside of its result: {file!r}", "", Cause.UNFIT)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as opened:
                while data := self.call(name, host_side.get, request.key, request.nonce, file, offset):
                    opened.write(data)
                    offset += len(data)
                    if len(data) < PIECE:
                        break
            if files.sha256_file(target) != digest:
                raise DeviceError(f"{file} arrived damaged from the worker {name}", "run the plan again")

    def _refuse_stopped(self) -> None:
        if self._stopped.is_set():
            raise DeviceError("the run was interrupted", "run the same command again: it resumes")


def _clients(dask_scheduler: Any) -> list[str]:
    """The clients of a scheduler, which runs this: it knows at once that one was killed."""
    return list(dask_scheduler.clients)


def _answers(host: str | None, port: int | None) -> bool:
    try:
        with socket.create_connection((host or "", port or 0), _NEAR_S):
            return True
    except OSError:
        return False


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
