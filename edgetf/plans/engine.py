"""Where the steps of a plan run: `Here`, in this process, or on the workers of a scheduler (`fleet.engine`).

In: a Call and a folder. Out: its result in the folder. Steps of one lane, which is a device or the host that converts,
run one after another; those of different lanes may run at the same time.
"""

from __future__ import annotations

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
Result = Callable[[], T]  # waits for what was begun, and returns it or raises its error


class Engine(Protocol):
    """Runs calls; `shows` whether their events arrive while they run."""

    shows: bool

    def host(self, verb: Verb, device: str | None) -> Host:
        """The facts of the machine that would run it. Raises DeviceError if there is none."""

    def devices(self) -> Iterable[str]:
        """The names of all devices that can be used."""

    def make(self, call: Call, place: Path, wait: bool, on_event: OnEvent) -> None:
        """Run `call` and write its result to `place`; `wait` until its device is free. Raises EdgetfError."""

    def begin(self, lane: str | None, act: Callable[[], T]) -> Result[T]:
        """Begin to run `act` in a lane: that of a device or of a class of them, or, without one, of conversions."""

    def busy(self, device: str) -> int:
        """How much a device has to do: of a class, the one with the least is taken."""

    def exclusive(self) -> AbstractContextManager[object]:
        """Held by what only one thread may do at a time."""


class Here:
    """Runs everything in this process, one after another."""

    shows = True

    def __init__(self, devices_file: Path | None) -> None:
        self._devices_file = devices_file
        self._host: Host | None = None

    def host(self, verb: Verb, device: str | None) -> Host:
        if self._host is None:
            self._host = this_host(self._devices_file)
        return self._host

    def devices(self) -> Iterable[str]:
        return load_settings(self._devices_file)

    def make(self, call: Call, place: Path, wait: bool, on_event: OnEvent) -> None:
        more = {} if call.device is None else {"devices": self._devices_file, "no_wait": not wait}
        call.run(place, on_event, **more)

    def begin(self, lane: str | None, act: Callable[[], T]) -> Result[T]:
        found = act()
        return lambda: found

    def busy(self, device: str) -> int:
        return 0

    def exclusive(self) -> AbstractContextManager[object]:
        return nullcontext()
