"""Digests of large files, computed once for each state of a file. In: a path. Out: SHA-256 in hex.

A file is read again if its device, inode, size or times differ. Each call that writes sets its time of change (a write
through a mapping may be noticed late), and no program can set that back. The clock of a file system ticks every few
milliseconds, or each second or two on FAT, old ext4 and some network file systems: a file that changed in the last tick
may do so again with the same time, so that its digest is not kept. What is known of very large files is kept in the
user's cache too, for later commands; that only saves time, and every problem with it is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep, time_ns
from typing import NamedTuple

from edgetf import __version__
from edgetf.files import sha256_file
from edgetf.owned import cache_home

_TICK_NS = 20_000_000  # at least two ticks of all usual kernels
_SECOND_NS = 1_000_000_000
_MOST = 100_000  # digests that are kept
_LARGE = 1 << 23  # bytes; a smaller file is read in milliseconds
_MOST_FILES = 2000  # in the cache
_SHA256 = re.compile("[0-9a-f]{64}")


class State(NamedTuple):
    """What identifies the content of a file; times are in nanoseconds."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @property
    def is_settled(self) -> bool:
        """Whether the next change will have another time."""
        return time_ns() - self.changed_ns > _TICK_NS + (2 * _SECOND_NS if self.is_coarse else 0)

    @property
    def is_coarse(self) -> bool:
        """Whether its file system seems to have no finer times than seconds."""
        return self.changed_ns % _SECOND_NS == 0


_KNOWN: dict[State, str] = {}


def state_of(path: Path) -> State | None:
    """The state of a file; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def settled_state_of(path: Path) -> State | None:
    """The state of a file whose next change will have another time; waits for that if it has just changed.

    None if the file is not there, or still changes.
    """
    state = state_of(path)
    if state is not None and not state.is_settled:
        sleep(_TICK_NS / 1e9)
    return state if state is not None and state.is_settled and state_of(path) == state else None


def sha256_once(path: Path) -> str:
    """The digest of a file; it is read only if its state is not known. Raises as `files.sha256_file` does."""
    if known := known_sha256(path):
        return known
    before = state_of(path)
    is_settled = before is not None and before.is_settled
    digest = sha256_file(path)
    if before is not None and is_settled and state_of(path) == before:
        _keep(before, digest)
    return digest


def known_sha256(path: Path) -> str | None:
    """The digest of a file whose state is known; None for others."""
    state = state_of(path)
    return None if state is None else _KNOWN.get(state)


def remember(path: Path, digest: str) -> None:
    """Record the digest of a file that this process has written, in a folder that is its own."""
    if state := settled_state_of(path):
        _keep(state, digest)


def _keep(state: State, digest: str) -> None:
    if len(_KNOWN) >= _MOST:
        del _KNOWN[next(iter(_KNOWN))]
    _KNOWN[state] = digest


def keep(state: State, meaning: str, digests: Sequence[str]) -> None:
    """Keep digests of what a large file holds in this state, for later commands; `meaning` is how it was read.

    Nothing is kept where times are coarse: such file systems may take their times of change from what programs set.
    """
    if state.size < _LARGE or state.is_coarse:
        return
    with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home
        place = _place(state, meaning)
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f"{place.name}.{os.getpid()}")
        beside.write_text(" ".join(digests))
        beside.replace(place)
        _remove_old(place.parent)


def kept(state: State, meaning: str, count: int) -> list[str] | None:
    """The `count` digests that `keep` was given; None if they are not known."""
    if state.size < _LARGE:
        return None
    try:
        found = _place(state, meaning).read_text().split()
    except (OSError, ValueError, RuntimeError):  # not there, damaged, or the user has no home
        return None
    return found if len(found) == count and all(map(_SHA256.fullmatch, found)) else None


def _place(state: State, meaning: str) -> Path:
    name = hashlib.sha256(json.dumps([__version__, *state, meaning]).encode()).hexdigest()
    return cache_home() / "digests" / name[:32]


def _remove_old(folder: Path) -> None:
    """Remove the oldest half if there are too many files."""
    paths = list(folder.iterdir())
    if len(paths) > _MOST_FILES:
        for path in sorted(paths, key=lambda path: path.stat().st_mtime)[: len(paths) // 2]:
            path.unlink(missing_ok=True)
