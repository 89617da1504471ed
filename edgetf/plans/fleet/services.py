"""The programs of a lab: `edgetf scheduler`, which passes steps on, and `edgetf worker`, which has devices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgetf.device.devices_toml import find_file, load_settings
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.plans.fleet import host_side
from edgetf.plans.fleet.client import CONVERT, CPU, DEVICE, GPU, OWN, PATIENCE_S, WORKER, Connection, connected
from edgetf.plans.fleet.reach import refuse_taken
from edgetf.plans.fleet.security import address_of, security_for
from edgetf.reading import reason_of

_LOOPBACK = "127.0.0.1:0"  # of the HTTP server that Dask's workers always have: it asks nobody for a certificate
_HEARTBEAT_S = 5.0  # of workers; a connection that breaks is noticed at once
# Dask's defaults are for tasks of milliseconds that can run anywhere; steps have their worker, and last seconds
_QUIET = {
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "1s",
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.profile.enabled": False,
}
_SPARE = 3  # threads of a worker for files that come and go
_CALLS = 1_000_000  # at once, of a worker's own resource, which only names it


def serve_scheduler(address: str, certificates: Path | None, started: Callable[[str], None]) -> None:
    """Pass steps on until SIGINT or SIGTERM; `started` receives the address and that of the dashboard, if there is one.

    Raises EdgetfError if the address cannot be used.
    """
    distributed, dask = _libraries()
    found = address_of(address)
    security, parts = security_for(found, certificates), urlsplit(found)
    refuse_taken(found)
    dask.config.set({"distributed.scheduler.no-workers-timeout": f"{10 * PATIENCE_S:.0f}s"})
    dask.config.set({"distributed.scheduler.allowed-failures": 2})

    class Scheduler(distributed.Scheduler):  # type: ignore[misc, name-defined]  # of an untyped library
        def heartbeat_worker(self, *given: Any, **named: Any) -> Any:
            return {**super().heartbeat_worker(*given, **named), "heartbeat-interval": _HEARTBEAT_S}

    async def serve() -> None:
        own = Scheduler(
            protocol=f"{parts.scheme}://",
            host=_host_of(found),
            port=parts.port,
            security=security,
            dashboard_address="127.0.0.1:8787",  # it asks nobody for a certificate
            dashboard=_has_dashboard(),
        )
        async with own as scheduler:
            started(f"{scheduler.address}{_dashboard_of(scheduler)}")
            await _until_ended(scheduler.finished())

    _run(serve(), f"cannot listen at {found}")


@dataclass(frozen=True)
class Offered:
    """What a worker offers: the devices of a file, and whether it converts and has a GPU. `name` is its own."""

    name: str
    convert: bool
    gpu: bool
    devices_file: Path | None

    def located(self) -> Offered:
        """The same, with the full path of the file that is read if none is given: steps may run in another folder."""
        found = self.devices_file or find_file()
        return replace(self, devices_file=None if found is None else found.resolve())

    def resources(self) -> dict[str, float]:
        """Dask's resources: one of each, so that one step runs on a device at a time."""
        roles = [role for role, offers in ((CONVERT, self.convert), (GPU, self.gpu)) if offers]
        named = [one for one in load_settings(self.devices_file) if one not in OWN]
        return dict.fromkeys([*roles, *(f"{DEVICE}{one}" for one in named)], 1.0)


def serve_worker(
    address: str,
    certificates: Path | None,
    offered: Offered,
    started: Callable[[str, tuple[str, ...]], None],
) -> None:
    """Run steps until SIGINT or SIGTERM; `started` receives the name and what is offered, once it is registered.

    A worker process that is killed is started again. Raises EdgetfError if the scheduler cannot be reached, or goes,
    or if another worker has the same name or one of the devices.
    """
    distributed, dask = _libraries()
    found, offered = address_of(address), offered.located()
    resources = offered.resources()
    with connected(found, certificates) as connection:
        _refuse_names_of_others(connection, offered.name, resources)
    if offered.devices_file is None:
        os.environ.pop(host_side.DEVICES_FILE, None)
    else:
        os.environ[host_side.DEVICES_FILE] = str(offered.devices_file)
    host_side.sweep()
    dask.config.set({"distributed.comm.timeouts.connect": "10s"})
    # Dask would let workers return memory at once and limit the threads of OpenMP: what they start, TensorFlow and
    # benchmarks, would inherit that, and be slower there than alone
    dask.config.set({"distributed.nanny.pre-spawn-environ": {}})

    async def serve() -> None:
        nanny = distributed.Nanny(
            found,
            name=offered.name,
            nthreads=len(resources) + _SPARE,
            resources={**resources, CPU: 1.0, f"{WORKER}{offered.name}": float(_CALLS)},
            security=security_for(found, certificates),
            memory_limit=0,
            dashboard=False,
            dashboard_address=_LOOPBACK,
            **_own_host(found),
        )
        async with nanny:
            started(offered.name, tuple(sorted(one.removeprefix(DEVICE) for one in resources)))
            if not await _until_ended(nanny.finished()):
                raise EdgetfError(f"the scheduler at {found} is gone", "start it, and then the worker again")

    _run(serve(), f"the worker {offered.name} cannot start with the scheduler at {found}")


def _refuse_names_of_others(connection: Connection, name: str, resources: Mapping[str, float]) -> None:
    """Raise EdgetfError if a worker that is there has this name, or offers a device of the same name."""
    workers = connection.workers()
    if name in workers:
        hint = "give another name with --name; one that has just ended is forgotten by itself: try again"
        raise EdgetfError(f"{connection.address} has a worker {name} already, on {workers[name]['host']}", hint)
    for other, info in workers.items():
        theirs = [one.removeprefix(DEVICE) for one in info["resources"] if one.startswith(DEVICE)]
        both = sorted(one for one in theirs if f"{DEVICE}{one}" in resources)
        if both:
            message = f"the worker {other} of {connection.address} offers {', '.join(both)} already"
            raise EdgetfError(message, "names of devices are unique in a lab: rename it in one devices.toml")


def _own_host(address: str) -> dict[str, str]:
    """Where a worker listens: without certificates on the loopback alone, which is not Dask's default."""
    return {"host": _host_of(address)} if address.startswith("tcp://") else {}


def _host_of(address: str) -> str:
    """The host in an address, in brackets if it is one of IPv6."""
    return urlsplit(address).netloc.rpartition(":")[0]


def _libraries() -> tuple[Any, Any]:
    try:
        import dask
        import distributed
    except ModuleNotFoundError as error:
        raise MissingExtraError("distributed", "fleet") from error
    dask.config.set(_QUIET)
    return distributed, dask


def _has_dashboard() -> bool:
    from importlib.util import find_spec

    return find_spec("bokeh") is not None


def _dashboard_of(scheduler: Any) -> str:
    port = scheduler.services.get("dashboard") if hasattr(scheduler, "services") else None
    number = getattr(port, "port", None)
    return "" if number is None else f", dashboard at port {number}"


async def _until_ended(finished: Awaitable[Any]) -> bool:
    """Wait for the end of a service, or for a signal that asks for it; whether there was a signal."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    waits = [asyncio.ensure_future(finished), asyncio.ensure_future(asked.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await one
    return asked.is_set()


def _run(service: Coroutine[Any, Any, None], problem: str) -> None:
    try:
        asyncio.run(service)
    except (OSError, TimeoutError, RuntimeError, ValueError) as error:
        raise EdgetfError(f"{problem}: {reason_of(_first(error))}", "see its address and its output") from error


def _first(error: BaseException) -> BaseException:
    """The error that others were raised for: Dask's own is that something failed to start."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error
