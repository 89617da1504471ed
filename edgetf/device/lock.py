"""One lock for each device, held on this machine: two runs at once would measure each other."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgetf.errors import DeviceError


@contextmanager
def hold(device: str, key: str) -> Iterator[None]:
    """Hold the lock of `key`, which all users of this machine share. Raises DeviceError while it is taken."""
    name = key if key.isalnum() else hashlib.sha256(key.encode()).hexdigest()[:16]
    place = Path(tempfile.gettempdir(), f"edgetf-{name}.lock")
    with contextlib.suppress(OSError), place.open("x"):
        place.chmod(0o666)
    with place.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            hint = "wait until it is done: two runs at once would measure each other"
            raise DeviceError(f"{device} is in use by another run", hint) from error
        yield
