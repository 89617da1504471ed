"""What runs on a worker: it receives files, runs a call in a process of its own, and gives the result's files.

All of it lies in the folder `worker` of the user's cache: files by their digest, results by the key of their step, with
the nonce of a run that wants its own. The lock of a result makes a call run once, whoever asks for it, and however
often: a driver that was killed finds its result, and so does another one, until it is a day old.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

from edgetf import files
from edgetf.device.devices_toml import load_settings
from edgetf.device.settings import Kind
from edgetf.errors import Cause, DeviceError, EdgetfError, ExitCode
from edgetf.events import Answer, Event, Note
from edgetf.owned import cache_home, remove
from edgetf.plans.facts import this_host
from edgetf.plans.fleet.messages import PIECE, Offer, Reply, Request, Root
from edgetf.plans.fleet.paths import is_document, merged, relocated
from edgetf.plans.record import Verb
from edgetf.plans.store import DOCUMENTS
from edgetf.process import Ended, HungError, run_child
from edgetf.system import explain, storage_failure

DEVICES_FILE = "EDGETF_WORKER_DEVICES"  # the variable that names the file of a worker's devices
_IDLE_S = 3600.0  # a step that has sent nothing for so long hangs
_UNUSED_S = 7 * 86_400.0  # after this time a file that no call has read is removed
_OLD_S = 86_400.0  # after this time a result is removed, and what was left behind
_SWEEP_S = 3600.0
_DIGEST, _PART, _NAME = (re.compile(one) for one in ("[0-9a-f]{64}", "[0-9a-f]{1,64}", r"\w[\w.-]*"))
_swept = {"at": 0.0}  # when this process has last looked for what is old


@contextmanager
def naming_host() -> Iterator[None]:
    """Raise errors of the system as DeviceErrors with this host's name: the driver is on another one."""
    try:
        yield
    except OSError as error:
        explained = explain(error)
        if explained is None:
            raise
        raise _of_host(explained) from error


def as_failed(error: EdgetfError) -> EdgetfError:
    """The error of a call. What the system refuses, such as a full disk, is no fault of the plan but of this host."""
    is_of_system = isinstance(error.__cause__, OSError) or storage_failure(error.message) is not None
    return _of_host(error) if is_of_system and not isinstance(error, DeviceError) else error


def _of_host(error: EdgetfError) -> DeviceError:
    return DeviceError(f"{platform.node()}: {error.message}", error.hint, Cause.UNFIT)


def home() -> Path:
    """The folder of a worker's files and results, without symbolic links: documents name it."""
    return (cache_home() / "worker").resolve()


def devices_file() -> Path | None:
    named = os.environ.get(DEVICES_FILE)
    return Path(named) if named else None


@naming_host()
def offer() -> dict[str, Any]:
    """The facts of this worker, as a plain `Offer`."""
    host = this_host(devices_file())
    local = sorted(name for name, one in load_settings(devices_file()).items() if one.kind is Kind.LOCAL)
    plain: dict[str, Any] = files.to_plain(Offer(host.machine, host.versions, host.devices, tuple(local)))
    return plain


@naming_host()
def put(digest: str, part: str, offset: int, data: bytes, is_last: bool) -> None:
    """Write a piece of a file. The last one makes it complete, if its content has the digest. Raises EdgetfError.

    `part` is the sender's own name for what it sends: others may send the same file at the same time.
    """
    if not _DIGEST.fullmatch(digest) or not _PART.fullmatch(part):
        raise EdgetfError(f"{digest}.{part} is not the name of a part", "run the plan again")
    place = home() / "files" / digest
    beside = place.with_name(f".{digest}.{part}")
    place.parent.mkdir(parents=True, exist_ok=True)
    if _touched(place):  # another sender was first
        beside.unlink(missing_ok=True)
        return
    with beside.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(data)
        if is_last:
            file.flush()
            os.fsync(file.fileno())
    if is_last:
        if files.sha256_file(beside) != digest:
            beside.unlink()
            raise EdgetfError("a file arrived damaged", "run the plan again")
        beside.replace(place)


@naming_host()
def get(key: str, nonce: str, name: str, offset: int) -> bytes:
    """A piece of a result's file."""
    place = home() / "results" / _folder_name(key, nonce)
    _touched(place)  # it is not old
    with (place / name).open("rb") as file:
        file.seek(offset)
        return file.read(PIECE)


@naming_host()
def call(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Run the call of a plain `Request`, unless its result is there; a plain `Reply`."""
    _sweep_sometimes()
    request = files.read_plain(plain, Request)
    name = _folder_name(request.key, request.nonce)
    with _locked(name):
        return dict(files.to_plain(_result_of(request, home() / "results" / name, home() / "work" / name)))


def _result_of(request: Request, place: Path, work: Path) -> Reply:
    """The result at `place`; if it is not there, what is missing to make it, or what came of making it in `work`."""
    roots = merged([*request.roots, *([request.modules] if request.modules else [])])
    tops = {root.path: work / str(k) / root.name for k, root in enumerate(roots)}
    places = {path: str(top) for path, top in tops.items()}
    reply = Reply()
    if not (place / DOCUMENTS[Verb(request.verb)]).is_file():
        if lacking := missing(roots):
            return Reply(missing=tuple(lacking))
        remove(work)
        for root in roots:
            lay_out(root, tops[root.path])
        relocate_documents(places)
        reply = _run(request, place, places, work)
    if reply.exit_code:
        return reply
    remove(work)
    _touched(place)
    found = sorted(one for one in place.rglob("*") if one.is_file())
    made = {str(one.relative_to(place)): files.sha256_file(one) for one in found}
    return replace(reply, files=made, places={**places, "": str(place)})


def missing(roots: Sequence[Root]) -> list[str]:
    """The digests of the files that have to be sent first; the others are marked as used."""
    digests = {digest for root in roots for digest in root.files.values()}
    return [one for one in sorted(digests) if not _touched(home() / "files" / one)]


def _run(request: Request, place: Path, places: Mapping[str, str], work: Path) -> Reply:
    """Run the call in a child, which dies with this process; what it reported, and its error if it failed."""
    asked = {
        "verb": request.verb,
        "arguments": relocated(request.arguments, places),
        "device": request.device,
        "devices": None if devices_file() is None else str(devices_file()),
        "place": str(place),
        "modules": None if request.modules is None else places[request.modules.path],
        "wait": request.wait,
    }
    answers: list[Answer] = []
    notes: list[str] = []

    def receive(event: Event) -> None:
        notes.extend([event.text] if isinstance(event, Note) else [])

    # the driver keeps the real history; the child may work in another folder
    env = {"EDGETF_HISTORY": str(work / "history.sqlite"), "EDGETF_CACHE": str(cache_home().resolve())}
    place.parent.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "edgetf.plans.fleet.child"]
    try:
        ended = run_child(
            command, receive, on_answer=answers.append, request=json.dumps(asked), env=env, idle_s=_IDLE_S
        )
    except HungError as error:
        reply = _lost(Cause.HUNG, f"{request.title} hung: {error}")
    else:
        has_result = (place / DOCUMENTS[Verb(request.verb)]).is_file()
        reply = Reply(**answers[-1].fields) if answers else _reply_to(ended, request.title, has_result)
    return replace(reply, notes=tuple(notes))


def _reply_to(ended: Ended, title: str, has_result: bool) -> Reply:
    """The reply for a child that has not answered."""
    if ended.code < 0:
        return _lost(Cause.LOST, f"{title} {ended.how} on {platform.node()}: {ended.last_line}")
    if ended.code or not has_result:
        what = ended.last_line if ended.code else "there is no result"
        hint = "" if ended.code else "run the plan again"
        return Reply(exit_code=int(ExitCode.USER), message=f"{title} {ended.how}: {what}", hint=hint)
    return Reply()


def _lost(cause: Cause, message: str) -> Reply:
    return Reply(exit_code=int(ExitCode.DEVICE_FAILED), cause=cause.value, message=message)


def lay_out(root: Root, top: Path) -> None:
    """Lay the root out as it was at the driver; documents are written when their paths are known."""
    is_file = set(root.files) == {"."}
    for name, digest in root.files.items():
        target = top if is_file else top / name
        if not target.resolve().is_relative_to(top.parent.resolve()):
            raise EdgetfError(f"{name!r} is outside of its folder", "run the plan again")
        target.parent.mkdir(parents=True, exist_ok=True)
        source = home() / "files" / digest
        if is_document(target):  # it is written again, with other paths
            shutil.copyfile(source, target)
        else:
            _linked(source, target)


def _linked(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _folder_name(key: str, nonce: str) -> str:
    """The name of a result's folder: a run with a nonce has its own."""
    name = f"{key}-{nonce}" if nonce else key
    if not _NAME.fullmatch(name):
        raise EdgetfError(f"{name!r} is not the key of a result", "run the plan again")
    return name


@contextmanager
def _locked(name: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a result. Raises BlockingIOError if another holds it and this one does not `wait`."""
    (home() / "locks").mkdir(parents=True, exist_ok=True)
    with (home() / "locks" / hashlib.sha256(name.encode()).hexdigest()).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def relocate_documents(places: Mapping[str, str]) -> None:
    """Let the documents at these places name them: they come from another machine."""
    for place in places.values():
        top = Path(place)
        for path in [top] if top.is_file() else sorted(top.rglob("*.json")):
            if is_document(path):
                plain = files.parse_document(path)
                files.write_whole(path, json.dumps(relocated(plain, places)).encode())


def sweep() -> None:
    """Remove what is old: files that no call has read for a week, parts, results, and what steps have left."""
    _swept["at"] = time()
    for path in (home() / "files").glob("*"):
        if _age_s(path) > (_OLD_S if path.name.startswith(".") else _UNUSED_S):
            remove(path)
    for folder in ("results", "work"):
        for path in (home() / folder).glob("*"):
            with suppress(OSError):  # a step uses it
                if _age_s(path) > _OLD_S:
                    with _locked(path.name, wait=False):
                        remove(path)


def _sweep_sometimes() -> None:
    if not 0 <= time() - _swept["at"] < _SWEEP_S:
        sweep()


def _age_s(path: Path) -> float:
    """Seconds since it was changed or used; none if it is gone."""
    try:
        return time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _touched(path: Path) -> bool:
    """Whether it exists; it is marked as used."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # on a file system of others it is only read
        return path.exists()
    return True
