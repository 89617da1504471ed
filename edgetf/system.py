"""Errors of the operating system (a full disk, a name that is too long, ...) as a message and a hint.

Such an error is raised wherever files are used, and caught once, at the top of the command or of a child process. The
message names the place. Python reports it when opening a file fails, but not when writing fails: then `naming` adds the
folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgetf.errors import EdgetfError

_ELSEWHERE = "-o is the folder of results, TMPDIR that of temporary files"
_MENDS = {
    errno.ENOSPC: f"free some space, or choose another place: {_ELSEWHERE}",
    errno.EDQUOT: f"your quota is used up: free some space, or choose another place: {_ELSEWHERE}",
    errno.EFBIG: "the file would exceed the maximum size: see ulimit -f, or choose another place",
    errno.EROFS: f"the file system is read-only: choose another place: {_ELSEWHERE}",
    errno.EIO: "the disk, or the connection to it, has failed: dmesg may show why; choose another place",
    errno.EACCES: "you do not have permission: change the permissions, or choose another place",
    errno.EPERM: "you do not have permission: change the permissions, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "symbolic links form a loop: remove them, or choose another place",
    errno.EMFILE: "the limit of open files is too low: raise it with ulimit -n 4096",
    errno.ENFILE: "too many files are open on this machine: close other programs",
    errno.ENOENT: "check the name; if the file was removed while edgetf ran, run the same command again",
    errno.ENOTDIR: "a part of the path is a file: choose another place",
    errno.EISDIR: "it is a folder, but a file is needed: choose another name",
    errno.EEXIST: "it already exists: remove it, or choose another place",
    errno.ENOTEMPTY: "it is not empty: remove it, or choose another place",
    errno.EXDEV: "it is on another file system: choose another place",
    errno.ETXTBSY: "another program uses it: close that first",
    errno.EBUSY: "another program uses it: close that first",
    errno.ENOMEM: "there is not enough memory: close other programs",
    errno.EAGAIN: "too many processes are running: close other programs, or see ulimit -u",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FAILED = (*_FULL, errno.EIO, errno.EROFS)
_BUGS = (errno.EBADF, errno.ECHILD, errno.ESRCH, errno.EINVAL)
_HIDDEN = re.compile(r"/\.edgetf-staging-[^/]+(/new)?")  # the staging folder; the message names the folder of results
_SHORT = re.compile(
    r"\d+ requested and \d+ written"
)  # numpy's message for an incomplete write, without an error number
_STRERROR = {os.strerror(number): number for number in _FAILED}
_LONGEST = 200  # characters of a path
_BLOCK = bytes(1 << 16)


def explain(error: Exception) -> EdgetfError | None:
    """The EdgetfError for an error of the system; None for an error that only a bug can cause."""
    if isinstance(error, OSError):
        return _of_system(error)
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and (explained := _of_pathlib(text)):
        return explained
    number = storage_failure(text)
    return _of_library(text, number) if number is not None else None


def _of_library(text: str, number: int) -> EdgetfError:
    """The EdgetfError for a library's error, such as "{{node ...}} /a/file; No space left on device [Op:SaveV2]"."""
    found = re.search(rf"(/[^\s;]+)[;:] {re.escape(os.strerror(number))}", text)
    where = f"cannot use {_short(_HIDDEN.sub('', found[1]))}" if found else "a file cannot be used"
    return EdgetfError(f"{where}: {os.strerror(number)}", _MENDS[number])


def _of_system(error: OSError) -> EdgetfError | None:
    number = number_of(error)
    if number in _BUGS:
        return None
    if "No usable temporary directory" in str(error):  # tempfile's
        return EdgetfError("there is no folder for temporary files", "set TMPDIR to an existing folder with free space")
    place = error.filename2 or error.filename
    place = _HIDDEN.sub("", os.fsdecode(place)) if isinstance(place, (str, bytes, os.PathLike)) else ""
    reason = os.strerror(number) if number in _FULL else error.strerror or str(error) or type(error).__name__
    where = f"cannot use {_short(place)}" if place else "a file cannot be used"
    return EdgetfError(
        f"{where}: {' '.join(str(reason).split())}", _MENDS.get(number or 0, "correct this, and try again")
    )


def _of_pathlib(text: str) -> EdgetfError | None:
    """The EdgetfError for pathlib's RuntimeErrors (the first only before Python 3.13)."""
    if text.startswith("Symlink loop from "):
        place = text.removeprefix("Symlink loop from ").strip("'")
        return EdgetfError(f"cannot use {_short(place)}: {os.strerror(errno.ELOOP)}", _MENDS[errno.ELOOP])
    if text.startswith("Could not determine home directory"):
        return EdgetfError("this user has no home directory", "set HOME to a folder")
    return None


def _short(place: str) -> str:
    """A path or text, shortened but recognizable."""
    return place if len(place) <= _LONGEST else f"{place[: _LONGEST // 2]} ... {place[-_LONGEST // 2 :]}"


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise errors of the system as EdgetfErrors, for callers outside of the command line."""
    try:
        yield
    except EdgetfError:
        raise
    except Exception as error:
        explained_error = explain(error)
        if explained_error is None:
            raise
        raise explained_error from error


def number_of(error: OSError) -> int | None:
    """The error's number, also if only its text is known: libraries pass on only the text."""
    if error.errno is None and _SHORT.search(str(error)):
        return errno.ENOSPC
    return error.errno if error.errno is not None else storage_failure(str(error))


def storage_failure(text: str) -> int | None:
    """The number of the failure of storage (a full disk, ...) that a library's message quotes."""
    return next((number for message, number in _STRERROR.items() if message in text), None)


def refuse_full(error: Exception) -> None:
    """Raise OSError if an error of any library means that storage is full or has failed."""
    number = number_of(error) if isinstance(error, OSError) else storage_failure(str(error))
    if number in _FAILED:
        raise OSError(number, os.strerror(number)) from error


@contextlib.contextmanager
def naming(place: Path, file: Path | None = None) -> Iterator[None]:
    """Add `place` (or `file`) to a storage error that names no file, if nothing can be written in that folder."""
    try:
        yield
    except OSError as error:
        if error.filename is None and number_of(error) in _FAILED and not _takes_files(place):
            if error.errno is None:
                raise OSError(number_of(error), os.strerror(number_of(error) or 0), str(file or place)) from error
            error.filename = str(file or place)
        raise


def refuse_no_room(folder: Path) -> None:
    """Raise OSError if nothing can be written in `folder`, which a child process could then not report."""
    if not _takes_files(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _takes_files(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_BLOCK)
    except OSError:
        return False
    return True
