"""One lock for each device, held on this machine: two runs at once would measure each other.

Two things are held. A name in the abstract namespace of Unix sockets, which Linux keeps once for all users and frees
with the last process that has it: nobody can put a link or a folder in its place, and nothing is left behind. And a
file in a folder that is the user's own, which names the holder for whoever waits, and is the only lock on systems
without such names: there, only runs of one user exclude each other. EDGETF_LOCKS names a folder for processes that
share nothing else, such as containers of one machine; then its files are the locks.

The child processes of a holder hold the lock, too: if they run on after edgetf was killed, others wait for them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pwd
import shlex
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from time import sleep

from edgetf.errors import Cause, DeviceError, EdgetfError, one_line
from edgetf.events import Note, OnEvent, Phase
from edgetf.owned import temporary_folder
from edgetf.system import explained
from edgetf.texts import without_secrets

_POLL_S = 0.3
_LONGEST = 160  # characters of a command
_PLACE = "EDGETF_LOCKS"
_HELD: dict[str, tuple[int, ...]] = {}  # the locks that this process holds, and their file descriptors
_ABSTRACT = sys.platform == "linux"
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: a process of `host`, what it was started as, and since when."""

    host: str
    pid: int
    command: str
    since: str

    def describe(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        gone = not where and Path("/proc/self").exists() and not Path(f"/proc/{self.pid}").exists()
        left = "; it has ended, what it started still runs" if gone else ""
        return f"process {self.pid}{where} ({self.command}), since {self.since}{left}"


def this_process() -> str:
    """This process as the holder of a lock, in a line of JSON, which others may read: passwords are left out."""
    command = shlex.join(["edgetf", *map(without_secrets, sys.argv[1:])])
    short = command if len(command) <= _LONGEST else f"{command[:_LONGEST]}..."
    return json.dumps(asdict(Holder(socket.gethostname(), os.getpid(), short, f"{datetime.now():%Y-%m-%d %H:%M:%S}")))


def in_use(device: str, held_by: str) -> str:
    """A message that `device` is in use, with the holder in the lock file's line `held_by`, if it can be read."""
    message = _anonymous(device)
    try:
        return one_line(without_secrets(f"{message}, {Holder(**json.loads(held_by)).describe()}"))
    except Exception:  # an older edgetf left no such line, and anybody may leave another
        return message


def waiting(message: str) -> str:
    """What is printed while a device is waited for."""
    return f"{message}: waiting until it is done (Ctrl-C ends the wait; --no-wait fails at once)"


def refuse(message: str) -> DeviceError:
    """The error for a command that does not wait."""
    hint = "leave --no-wait out to wait until it is done: two runs at once would measure each other"
    return DeviceError(message, hint, Cause.BUSY)


@contextmanager
def hold(device: str, key: str, on_event: OnEvent | None) -> Iterator[None]:
    """Hold the lock of `key`, which all users of this machine share.

    While it is taken, wait, and send notes on its holders to `on_event`; without that, raise DeviceError. Raises
    EdgetfError if there is no place for locks.
    """
    name = key if key.isalnum() else hashlib.sha256(key.encode()).hexdigest()[:16]
    shared = os.environ.get(_PLACE)
    with explained():
        folder = Path(shared) if shared else _own_folder()
        place = folder / f"edgetf-{name}.lock" if folder else None
        file, socket_ = _take(device, place, None if shared or not _ABSTRACT else f"\0edgetf-{name}", on_event)
    _sign(file, this_process())
    _HELD[key] = tuple(one if isinstance(one, int) else one.fileno() for one in (file, socket_) if one is not None)
    try:
        yield
    finally:
        del _HELD[key]
        _sign(file, "")
        if socket_ is not None:
            _remove(place)  # it has only informed
            socket_.close()
        if file is not None:
            os.close(file)


def held(key: str) -> tuple[int, ...]:
    """The file descriptors of a lock that this process holds, for a child that is to hold it as well."""
    return _HELD.get(key, ())


# the file ---------------------------------------------------------------------------------------------------------


def _own_folder() -> Path | None:
    """A private folder of this user; None if there is none and names suffice. Raises EdgetfError."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path(runtime, "edgetf")] if runtime else []
    places.append(temporary_folder() / f"edgetf-{os.getuid()}")
    for place in places:
        with contextlib.suppress(OSError):
            place.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(OSError):
            found = place.lstat()
            mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if mine and not found.st_mode & 0o022 and os.access(place, os.W_OK | os.X_OK):
                return place
    if _ABSTRACT:
        return None
    listed = " and ".join(map(str, places))
    problem = f"no folder for locks: {listed} cannot be created, or other users may write there"
    raise EdgetfError(problem, f"set {_PLACE} to a folder")


def _open(place: Path) -> int | None:
    """Open the file at `place`, or create it; anything but a plain file is rejected."""
    mode = 0o666 if os.environ.get(_PLACE) else 0o600
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        handle = os.open(place, os.O_RDWR | flags, mode)
    except OSError as error:
        if error.errno == errno.EACCES:  # another user's read-only file: it can be locked too
            handle = os.open(place, os.O_RDONLY | flags & ~os.O_CREAT)
        elif _ABSTRACT and os.environ.get(_PLACE) is None:
            return None  # the file only informs
        else:
            raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EEXIST, "it is not a plain file", str(place))
    with contextlib.suppress(OSError):
        os.fchmod(handle, mode)
    return handle


def _remove(place: Path | None) -> None:
    if place is not None:
        with contextlib.suppress(OSError):  # another process may have it, or a different file at this path
            place.unlink()
            place.parent.rmdir()


def _read(file: int | None) -> str:
    return "" if file is None else os.pread(file, 4096, 0).decode(errors="replace")


def _sign(file: int | None, holder: str) -> None:
    """Name the holder in the file, which only informs."""
    if file is not None:
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.pwrite(file, holder.encode(), 0)


# taking it --------------------------------------------------------------------------------------------------------


def _take(
    device: str, place: Path | None, name: str | None, on_event: OnEvent | None
) -> tuple[int | None, socket.socket | None]:
    """Wait for both locks; returns the open file, and the socket with the name on systems that have such sockets."""
    known = None
    while True:
        file = _open(place) if place else None
        try:
            if _lock(file):
                return file, _bind(name) if name else None
            message = in_use(device, _read(file))
        except BlockingIOError:
            message = _holder_of(device, name or "")
        except BaseException:
            if file is not None:
                os.close(file)
            raise
        if file is not None:
            os.close(file)
        if on_event is None:
            raise refuse(message)
        if message != known and not (known and message == _anonymous(device)):  # between two holders none is named
            known = message
            on_event(Note(waiting(message)))
            on_event(Phase(f"waiting for {device}"))
        sleep(_POLL_S)


def _lock(file: int | None) -> bool:
    if file is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bind(name: str) -> socket.socket | None:
    """A socket with `name`; None on systems without such sockets. Raises BlockingIOError if the name is in use."""
    try:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError:  # a sandbox
        return None
    try:
        one.bind(name)
        one.listen()
    except OSError as error:
        one.close()
        if error.errno == errno.EADDRINUSE:
            raise BlockingIOError from error
        return None
    return one


def _holder_of(device: str, name: str) -> str:
    """A message that `device` is in use, with the process that holds it if the system knows it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.setblocking(False)
        one.connect(name)
        credentials = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)  # type: ignore[attr-defined,unused-ignore]
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
        left = "" if Path(f"/proc/{pid}").exists() else "; it has ended, what it started still runs"
        return f"{device} is in use by another run, process {pid} of user {_user(uid)}{left}"
    return _anonymous(device)


def _anonymous(device: str) -> str:
    return f"{device} is in use by another run"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
