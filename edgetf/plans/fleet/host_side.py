"""What runs on a worker: it receives files, runs a call in a process of its own, and gives the result's files.

All of it lies in the folder `worker` of the user's cache: files by their digest, results by the key of their step. The
lock of a key makes a call run once, whoever asks for it, and however often: a driver that was killed finds its result.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import Any

from edgetf import files
from edgetf.api.cache import cache_home
from edgetf.errors import Cause, EdgetfError, ExitCode
from edgetf.events import Answer, ignore
from edgetf.owned import remove
from edgetf.plans.facts import this_host
from edgetf.plans.fleet.messages import PIECE, Offer, Reply, Request, Root
from edgetf.plans.fleet.paths import is_document, relocated
from edgetf.plans.record import Verb
from edgetf.plans.store import DOCUMENTS
from edgetf.process import HungError, run_child

DEVICES_FILE = "EDGETF_WORKER_DEVICES"  # the variable that names the file of a worker's devices
_IDLE_S = 3600.0  # a step that has sent nothing for so long hangs
_UNUSED_S = 7 * 86_400.0  # after this time a file that no call has read is removed


def home() -> Path:
    """The folder of a worker's files and results."""
    return cache_home() / "worker"


def devices_file() -> Path | None:
    named = os.environ.get(DEVICES_FILE)
    return Path(named) if named else None


def offer() -> dict[str, Any]:
    """The facts of this worker, as a plain `Offer`."""
    host = this_host(devices_file())
    plain: dict[str, Any] = files.to_plain(Offer(host.machine, host.versions, host.devices))
    return plain


def put(digest: str, offset: int, data: bytes, is_last: bool) -> None:
    """Write a piece of a file. The last one makes it complete, if its content has the digest. Raises EdgetfError."""
    place = home() / "files" / digest
    beside = place.with_name(f".{digest}.{os.getpid()}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with beside.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(data)
    if is_last:
        if files.sha256_file(beside) != digest:
            beside.unlink()
            raise EdgetfError("a file arrived damaged", "run the plan again")
        beside.replace(place)


def get(key: str, name: str, offset: int) -> bytes:
    """A piece of a result's file."""
    with (home() / "results" / key / name).open("rb") as file:
        file.seek(offset)
        return file.read(PIECE)


def forget(key: str) -> None:
    """Remove a result that the driver has."""
    with _locked(key):
        remove(home() / "results" / key)
        remove(home() / "work" / key)


def call(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Run the call of a plain `Request`, unless its result is there; a plain `Reply`."""
    request = files.read_plain(plain, Request)
    roots = [*request.roots, *([request.modules] if request.modules else [])]
    known = home() / "files"
    if missing := {digest for root in roots for digest in root.files.values() if not (known / digest).is_file()}:
        return dict(files.to_plain(Reply(missing=tuple(sorted(missing)))))
    with _locked(request.key):
        place = home() / "results" / request.key
        places = {
            root.path: str(_laid_out(root, home() / "work" / request.key / str(k))) for k, root in enumerate(roots)
        }
        relocate_documents(places)
        reply = Reply()
        if not (place / DOCUMENTS[Verb(request.verb)]).is_file():
            reply = _run(request, place, places)
        if reply.exit_code == 0:
            found = sorted(one for one in place.rglob("*") if one.is_file())
            made = {str(one.relative_to(place)): files.sha256_file(one) for one in found}
            reply = Reply(files=made, places={**places, "": str(place)})
    return dict(files.to_plain(reply))


def _run(request: Request, place: Path, places: Mapping[str, str]) -> Reply:
    """Run the call in a child, which dies with this process."""
    asked = {
        "verb": request.verb,
        "arguments": relocated(request.arguments, places),
        "device": request.device,
        "devices": None if devices_file() is None else str(devices_file()),
        "place": str(place),
        "modules": None if request.modules is None else places[request.modules.path],
    }
    answers: list[Answer] = []
    history = home() / "work" / request.key / "history.sqlite"  # the driver keeps the real one
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        ended = run_child(
            [sys.executable, "-m", "edgetf.plans.fleet.child"],
            ignore,
            on_answer=answers.append,
            request=json.dumps(asked),
            env={"EDGETF_HISTORY": str(history)},
            idle_s=_IDLE_S,
        )
    except HungError as error:
        code = int(ExitCode.DEVICE_FAILED)
        return Reply(exit_code=code, cause=Cause.HUNG.value, message=f"{request.title} hung: {error}")
    if answers:
        return Reply(**answers[-1].fields)
    if ended.code:
        return Reply(exit_code=int(ExitCode.USER), message=f"{request.title} {ended.how}: {ended.last_line}")
    return Reply()


def _laid_out(root: Root, folder: Path) -> Path:
    """The root as it was at the driver, by its name in `folder`; documents are written when their paths are known."""
    remove(folder)
    is_file = set(root.files) == {"."}
    top = folder / root.name
    for name, digest in root.files.items():
        target = top if is_file else top / name
        if not target.resolve().is_relative_to(folder.resolve()):
            raise EdgetfError(f"{name!r} is outside of its folder", "run the plan again")
        target.parent.mkdir(parents=True, exist_ok=True)
        source = home() / "files" / digest
        with suppress(OSError):
            os.utime(source)
        if is_document(target):  # it is written anew, with other paths
            shutil.copyfile(source, target)
        else:
            _linked(source, target)
    return top


def _linked(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


@contextmanager
def _locked(key: str) -> Iterator[None]:
    (home() / "locks").mkdir(parents=True, exist_ok=True)
    with (home() / "locks" / hashlib.sha256(key.encode()).hexdigest()).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
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
    """Remove files that no call has read for days."""
    for path in (home() / "files").glob("*"):
        with suppress(OSError):
            if time() - path.stat().st_mtime > _UNUSED_S:
                path.unlink()
