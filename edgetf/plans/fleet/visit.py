"""One step on a worker. In: a Call. Out: its result in the driver's store, with the paths that files have there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgetf import files
from edgetf.errors import Cause, DeviceError, EdgetfError, ExitCode
from edgetf.events import Note, OnEvent
from edgetf.owned import owned, remove
from edgetf.plans.call import Call
from edgetf.plans.fleet.client import CPU, DEVICE, Connection
from edgetf.plans.fleet.messages import Reply, Request
from edgetf.plans.fleet.paths import is_document, modules_of, relocated, roots_of
from edgetf.plans.record import Verb
from edgetf.plans.store import FETCHED
from edgetf.samples.source import FUNCTION, parse_source


@dataclass(frozen=True)
class Visit:
    """A worker, with the resource that the step needs there: a device, or the role of the worker."""

    connection: Connection
    worker: str
    resource: str

    def make(self, call: Call, place: Path, wait: bool, nonce: str, modules: Path | None, on_event: OnEvent) -> None:
        """Run `call` and write its result to `place`; with a `nonce`, an earlier result does not count.

        `modules` is the folder of the user's modules. Raises DeviceError if the worker or the device fails, and the
        error of the call.
        """
        request = Request(
            key=place.name,
            verb=call.verb.value,
            title=call.title,
            arguments=dict(files.to_plain(call.arguments)),
            device=call.device,
            roots=roots_of(call.reads),
            modules=modules_of(modules) if modules is not None and _names_functions(call) else None,
            wait=wait,
            nonce=nonce,
        )
        reply = self.connection.run(self.worker, request, self._needs(call))
        for note in reply.notes:
            on_event(Note(f"{call.title}: {note}"))
        if reply.exit_code:
            raise _error_of(reply)
        self._take(request, reply, place)

    def _needs(self, call: Call) -> tuple[str, ...]:
        """The resources of the step: what computes on the worker itself takes its processors, one at a time."""
        device = self.resource.removeprefix(DEVICE)
        computes = call.verb is not Verb.BENCHMARK or device in self.connection.offer(self.worker).local
        return (self.resource, CPU) if computes else (self.resource,)

    def _take(self, request: Request, reply: Reply, place: Path) -> None:
        """Bring a result into the store, with the paths that files have here: complete, or not at all."""
        if reply.files is None or reply.places is None:
            raise DeviceError(f"the worker {self.worker} gave no result", "see its output", Cause.LOST)
        place.parent.mkdir(parents=True, exist_ok=True)
        with owned(place.parent, FETCHED) as folder:
            fetched = folder / place.name
            self.connection.fetch(self.worker, request, reply.files, fetched)
            there = {theirs: own or str(place) for own, theirs in reply.places.items()}
            for path in [one for one in fetched.rglob("*.json") if is_document(one)]:
                files.write_document(path, relocated(files.parse_document(path), there))
            remove(place)
            fetched.replace(place)


def _names_functions(call: Call) -> bool:
    """Whether it names functions, which may be of the user's modules: metrics, or sources that are not of files."""
    return bool(call.arguments.get("metric")) or any(parse_source(one).kind is FUNCTION for one in call.reads)


def _error_of(reply: Reply) -> EdgetfError:
    """The error of a call, as it was raised on the worker."""
    if reply.cause is not None:
        return DeviceError(reply.message, reply.hint, Cause(reply.cause))
    if reply.exit_code == ExitCode.DEVICE_FAILED:
        return DeviceError(reply.message, reply.hint)
    return EdgetfError(reply.message, reply.hint)
