"""Folders and files that belong to a running process. Remains of killed processes are found and can be removed.

The name contains the process id, and the process holds a lock, which the system releases however the process ends. A
folder is abandoned if its process is gone and nobody holds the lock. The lock alone is not sufficient, because there is
a moment between creation and locking. Neither is the process id, which may belong to another container or be reused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from time import time

from edgetf.system import naming

_LOCK = ".owner"
_SCRATCH = "edgetf-scratch-"
_SURE_S = 60.0  # after this time the creator has certainly locked it


@contextlib.contextmanager
def owned(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, held while it is used and removed afterwards. Raises OSError."""
    folder = new_name(parent, prefix)
    lock = None
    try:
        folder.mkdir(mode=0o700)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        hold(lock)
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except KeyboardInterrupt:  # later signals are ignored while this one is handled
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if lock is not None:
                os.close(lock)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder below TMPDIR; remains of killed runs there are removed first."""
    parent = temporary_folder()
    _sweep_once(parent)
    with owned(parent, _SCRATCH) as folder, naming(folder, parent):
        yield folder


@contextlib.contextmanager
def own_temporary() -> Iterator[None]:
    """Make libraries use a temporary folder of this process: not all of them clean up when they are killed."""
    with scratch() as folder:
        kept, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = kept


def cache_home() -> Path:
    """The folder of the user's cache, which may not exist yet."""
    if named := os.environ.get("EDGETF_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edgetf"


def temporary_folder() -> Path:
    """The folder that `tempfile` uses, found without writing to it.

    `tempfile.gettempdir()` writes a file to try the folder; a signal that comes before it is removed leaves it there.
    """
    if tempfile.tempdir is None:
        places = [Path(os.environ[name]) for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
        for place in (*places, Path("/tmp")):
            if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
                tempfile.tempdir = str(place.absolute())
                break
    return Path(tempfile.gettempdir())


def new_name(parent: Path, prefix: str) -> Path:
    """A name in `parent` that contains this process's id."""
    return parent / f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"


def hold(handle: int) -> None:
    """Lock an open file for as long as this process has it open."""
    with contextlib.suppress(OSError):  # on a file system without locks nothing counts as abandoned
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def abandoned(parent: Path, prefix: str) -> Iterator[Path]:
    """Entries with this prefix in `parent` that killed processes of this user left; each is locked while it is used."""
    for path in sorted(parent.glob(f"{prefix}*")):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if _is_abandoned(path, path.name[len(prefix) :].partition("-")[0], stack):
                yield path


def sweep(parent: Path, prefix: str) -> None:
    """Remove entries that killed processes left."""
    for path in abandoned(parent, prefix):
        remove(path)


def remove(path: Path) -> None:
    """Remove a folder with its content, or a file, as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@cache
def _sweep_once(parent: Path) -> None:
    sweep(parent, _SCRATCH)


def _is_abandoned(path: Path, pid: str, stack: contextlib.ExitStack) -> bool:
    """Whether no process uses it; then `stack` holds its lock. Raises OSError if that cannot be determined."""
    found = path.lstat()
    is_folder = stat.S_ISDIR(found.st_mode)
    if found.st_uid != os.getuid() or not (is_folder or stat.S_ISREG(found.st_mode)):
        return False
    if not pid.isdigit() or (_lives(int(pid)) and time() - found.st_mtime < _SURE_S):
        return False
    try:
        lock = os.open(path / _LOCK if is_folder else path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:  # killed before it was created
        return not _lives(int(pid))
    stack.callback(os.close, lock)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
