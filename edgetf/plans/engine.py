"""Where the steps of a plan run: `Here`, in this process, or on the workers of a scheduler (`fleet.engine`).

A step takes a Seat: the machine that will run it, whose facts are among those of its result. In: a Call and a folder.
Out: its result in the folder. Steps of one lane, which is a device or the host that converts, run one after another;
those of different lanes may run at the same time.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, TypeVar

from edgetf.device.devices_toml import load_settings
from edgetf.events import OnEvent
from edgetf.plans.call import Call
from edgetf.plans.facts import Host, this_host
from edgetf.plans.record import Verb

T = TypeVar("T")
ABSENT = 1_000_000  # the eagerness of a device that cannot be used now
Result = Callable[[], T]  # waits for what was begun, and returns it or raises its error


class Seat(Protocol):
    """The machine for a step."""

    @property
    def name(self) -> str:
        """The name of the worker, or of this host."""

    @property
    def host(self) -> Host:
        """Its facts."""

    def make(self, call: Call, place: Path, wait: bool, on_event: OnEvent) -> None:
        """Run `call` there and write its result to `place`; `wait` until its device is free. Raises EdgetfError."""


class Engine(Protocol):
    """Gives seats; `shows` whether events arrive while a step runs."""

    shows: bool

    def seat(self, verb: Verb, device: str | None) -> Seat:
        """The seat for a step. Raises DeviceError if no machine can run it."""

    def devices(self) -> Iterable[str]:
        """The names of all devices that can be used, or may be later."""

    def eagerness(self, device: str) -> int:
        """Of a class of devices the one with the least is taken first: what it has to do; absent ones are last."""

    def begin(self, lane: str | None, act: Callable[[], T]) -> Result[T]:
        """Begin to run `act` in a lane: that of a device or of a class of them, or, without one, of conversions."""

    def exclusive(self) -> AbstractContextManager[object]:
        """Held by what only one thread may do at a time."""


class Here:
    """Runs everything in this process, one after another."""

    shows = True

    def __init__(self, devices_file: Path | None) -> None:
        self._devices_file = devices_file
        self._host: Host | None = None

    @property
    def name(self) -> str:
        return platform.node()

    @property
    def host(self) -> Host:
        if self._host is None:
            self._host = this_host(self._devices_file)
        return self._host

    def seat(self, verb: Verb, device: str | None) -> Seat:
        return self

    def devices(self) -> Iterable[str]:
        return load_settings(self._devices_file)

    def eagerness(self, device: str) -> int:
        return 0

    def make(self, call: Call, place: Path, wait: bool, on_event: OnEvent) -> None:
        more = {} if call.device is None else {"devices": self._devices_file, "no_wait": not wait}
        call.run(place, on_event, **more)

    def begin(self, lane: str | None, act: Callable[[], T]) -> Result[T]:
        found = act()
        return lambda: found

    def exclusive(self) -> AbstractContextManager[object]:
        return nullcontext()
