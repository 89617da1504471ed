"""The store: results of steps by the digest of all that they depend on, shared by all plans of a user.

It is the folder `plans` in the user's cache. A step holds the lock of its key while it works, so that two plans make a
result once. `edgetf cache` shows and cleans it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

from edgetf import files, owned
from edgetf.api.cache import key_of
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent, Phase
from edgetf.plans.record import Verb
from edgetf.system import explained, naming

FETCHED = ".edgetf-fetched-"  # begins the name of a folder for a result that comes from a worker
_LOCKS = "locks"
_ABANDONED_S = 7 * 86_400.0  # after this time nobody resumes it
# the file that a finished step has left in its folder
DOCUMENTS: Mapping[Verb, str] = {
    Verb.CONVERT: "conversion.json",
    Verb.REFERENCE: "reference.json",
    Verb.BENCHMARK: "benchmark.json",
    Verb.TUNE: "tuning.json",
}


@dataclass(frozen=True)
class Kept:
    """A result in the store: its bytes on disk, and its age in seconds since it was last used."""

    verb: Verb
    place: Path
    bytes: int
    age_s: float
    in_use: bool


def store_home() -> Path:
    """The folder of the store, which may not exist yet."""
    return owned.cache_home() / "plans"


def place_of(verb: Verb, facts: Mapping[str, str]) -> Path:
    """The folder for a step's result."""
    return store_home() / verb.value / key_of(verb.value, dict(facts))


def is_finished(verb: Verb, place: Path) -> bool:
    """Whether there is a result. Reading it marks it as used."""
    document = place / DOCUMENTS[verb]
    if not document.is_file():
        return False
    with suppress(OSError):  # a store that others own is only read
        os.utime(place)
    return True


@contextmanager
def locked(place: Path, on_event: OnEvent) -> Iterator[None]:
    """Hold the lock of a result; waits while another process makes it."""
    with explained(), naming(store_home()):
        (home := store_home() / _LOCKS).mkdir(parents=True, exist_ok=True)
        with (home / f"{place.parent.name}-{place.name}").open("w") as file:
            if not _taken(file.fileno()):
                on_event(Phase("waiting for another run that makes the same"))
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def kept() -> list[Kept]:
    """All results in the store, the last used first."""
    found = []
    for verb, place in _places():
        with suppress(OSError):  # another process removes it
            size = sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())
            found.append(Kept(verb, place, size, time() - place.stat().st_mtime, _is_in_use(place)))
    return sorted(found, key=lambda one: (one.age_s, str(one.place)))


def _places() -> list[tuple[Verb, Path]]:
    homes = [(verb, store_home() / verb.value) for verb in DOCUMENTS]
    found = [(verb, place) for verb, home in homes if home.is_dir() for place in home.iterdir()]
    return [(verb, place) for verb, place in found if not place.name.startswith(FETCHED)]


def sweep() -> None:
    """Remove what killed runs have half-written, and what they have begun and no run has resumed for days."""
    for verb in DOCUMENTS:
        owned.sweep(store_home() / verb.value, FETCHED)
    for verb, place in _places():
        with suppress(EdgetfError, OSError):  # it only frees space
            if not _is_in_use(place):
                files.recover(place)
            if not (place / DOCUMENTS[verb]).is_file() and time() - place.stat().st_mtime > _ABANDONED_S:
                remove(place)


def _is_in_use(place: Path) -> bool:
    file = store_home() / _LOCKS / f"{place.parent.name}-{place.name}"
    if not file.exists():
        return False
    with file.open() as lock:
        return not _taken(lock.fileno())


def remove(place: Path) -> bool:
    """Remove a result, unless a process makes it; returns whether it was removed. Raises EdgetfError."""
    with explained(), naming(place):
        (home := store_home() / _LOCKS).mkdir(parents=True, exist_ok=True)
        with (home / f"{place.parent.name}-{place.name}").open("w") as lock:  # it stays: others may wait for it
            if not _taken(lock.fileno()):
                return False
            shutil.rmtree(place)
    return True
