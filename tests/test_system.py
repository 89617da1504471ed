"""An error of the system is one line that names the path, and a hint."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from edgetf.errors import EdgetfError
from edgetf.system import explain, explained, naming, storage_failure
from tests.limits import limited


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "choose another place"),
        (errno.EIO, "dmesg"),
        (errno.EACCES, "permissions"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.ELOOP, "loop"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOENT, "run the same command again"),
        (errno.ENOTDIR, "another place"),
        (errno.EISDIR, "folder"),
        (errno.EHOSTDOWN, "try again"),  # not in any table
    ],
)
def test_each_system_error_names_the_place_and_has_a_hint(number: int, hint: str) -> None:
    reported = explain(OSError(number, os.strerror(number), "/some/place"))
    assert reported is not None
    assert reported.message == f"cannot use /some/place: {os.strerror(number)}"
    assert hint in reported.hint
    assert reported.exit_code == 1


@pytest.mark.parametrize("number", [errno.EBADF, errno.ECHILD, errno.ESRCH, errno.EINVAL])
def test_an_error_that_only_a_bug_can_cause_keeps_its_traceback(number: int) -> None:
    with pytest.raises(OSError, match=rf"Errno {number}"), explained():
        raise OSError(number, os.strerror(number))


def test_the_target_of_two_names_is_reported() -> None:
    reported = explain(OSError(errno.EEXIST, "File exists", "/a/hidden/name", None, "/the/result"))
    assert reported is not None
    assert reported.message == "cannot use /the/result: File exists"


def test_a_long_path_is_shortened_and_a_message_is_one_line() -> None:
    reported = explain(OSError(errno.ENAMETOOLONG, "File name\ntoo long", "/a" + "b" * 5000 + "/c"))
    assert reported is not None
    assert len(reported.message) < 300
    assert "\n" not in reported.message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("1024 requested and 0 written"), "a file cannot be used: No space left on device"),
        (
            OSError("Can't write (errno = 28, error message = 'No space left on device')"),
            "No space left on device",
        ),
        (RuntimeError("Symlink loop from '/a/loop'"), "cannot use /a/loop: Too many levels of symbolic links"),
        (RuntimeError("Could not determine home directory."), "no home directory"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "no folder for temporary files"),
        (OSError("whatever a library says"), "whatever a library says"),
        (
            ValueError("{{node /x}} /a/file;\nNo space left on device [Op]"),
            "cannot use /a/file: No space left on device",
        ),
        (
            ValueError("/out/.edgetf-staging-1-a/new/m; Read-only file system"),
            "cannot use /out/m: Read-only file system",
        ),
        (ValueError("No space left on device"), "a file cannot be used: No space left on device"),
    ],
)
def test_errors_that_libraries_raise_instead_are_recognized(error: Exception, message: str) -> None:
    reported = explain(error)
    assert reported is not None
    assert message in reported.message
    assert reported.hint


def test_other_runtime_errors_are_bugs() -> None:
    assert explain(RuntimeError("no")) is None
    assert storage_failure("no") is None


def test_a_write_that_fails_names_the_folder_that_cannot_be_written(tmp_path: Path) -> None:
    small = limited(resource.RLIMIT_FSIZE, 1 << 12)
    with pytest.raises(EdgetfError) as caught, small, explained(), naming(tmp_path):
        np.save(tmp_path / "values.npy", np.zeros(10_000))
    assert caught.value.message == f"cannot use {tmp_path}: No space left on device"  # numpy loses the number


def test_a_writable_folder_is_not_blamed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, naming(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename is None
