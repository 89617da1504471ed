"""`edgetf.status`: the workers of a scheduler, what they have and do, and the runs that use them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any

from edgetf.console.printing import escape, print_lines, print_table, to_html, to_text
from edgetf.plans.fleet.client import CONVERT, DEVICE, GPU, OWN, WORKER, connected

_FRESH_S = 60.0  # a run that has published nothing for so long was killed, or its host is gone


@dataclass(frozen=True)
class WorkerStatus:
    """A worker: the address of its host, its devices and roles, and the titles of the steps that it runs."""

    name: str
    host: str
    devices: tuple[str, ...]
    roles: tuple[str, ...]
    running: tuple[str, ...]


@dataclass(frozen=True)
class RunStatus:
    """A run that uses the scheduler: its folder, and how many of its steps run.

    `waiting` are the devices and workers that are not there, and that other steps wait for; `quarantine` are its
    devices that were lost too often, with why.
    """

    plan: str
    running: int
    quarantine: dict[str, str] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """The state of a scheduler."""

    address: str
    workers: tuple[WorkerStatus, ...]
    runs: tuple[RunStatus, ...]

    def __str__(self) -> str:
        return to_text(self.show)

    def _repr_html_(self) -> str:
        return to_html(self.show)

    def show(self) -> None:
        columns = ["worker", "host", "devices", "does", "runs"]
        cells = [
            [escape(text) for text in (one.name, one.host, *map(", ".join, (one.devices, one.roles, one.running)))]
            for one in self.workers
        ]
        if cells:
            print_table(f"Workers of {self.address}", columns, cells)
        else:
            print_lines(f"{self.address} has no workers: start one with edgetf worker")
        for run in self.runs:
            print_lines(f"{escape(run.plan)}: {run.running} {'step runs' if run.running == 1 else 'steps run'}")
            for name in run.waiting:
                print_lines(f"  [yellow]waiting for {escape(name)}[/], which is not there: start its worker")
            for name, reason in run.quarantine.items():
                print_lines(f"  [red]in quarantine:[/] {escape(name)}: {escape(reason)}")


def status(scheduler: str, *, certificates: str | os.PathLike[str] | None = None) -> Status:
    """The workers of a scheduler, and the runs that use them, as `edgetf status` shows.

    Parameters
    ----------
    scheduler
        Its address, such as "tls://lab:8786".
    certificates
        The folder of the certificates; by default that of the user's configuration.

    Returns
    -------
    Status
        `workers` and `runs`.

    Raises
    ------
    EdgetfError
        If the scheduler cannot be reached, or the address is not safe.

    Examples
    --------
    >>> edgetf.status("tls://lab:8786").workers  # doctest: +SKIP
    (WorkerStatus(name='bench', ...),)
    """
    with connected(scheduler, None if certificates is None else Path(certificates)) as connection:
        running = connection.running()
        workers = tuple(
            WorkerStatus(
                name=name,
                host=str(one["host"]),
                devices=tuple(sorted(r.removeprefix(DEVICE) for r in one["resources"] if r.startswith(DEVICE))),
                roles=tuple(role for role in (CONVERT, GPU) if role in one["resources"]),
                running=running.get(name, ()),
            )
            for name, one in connection.workers().items()
            if any(r.startswith(WORKER) for r in one["resources"])
        )
        there = {*OWN, *(name for one in workers for name in (one.name, *one.devices))}
        return Status(connection.address, workers, _living(connection.runs(), there, time()))


def _living(runs: Iterable[Mapping[str, Any]], there: Collection[str], now: float) -> tuple[RunStatus, ...]:
    """The runs that have published their state shortly before `now`; `there` are the devices and workers."""
    fresh = [one for one in runs if now - float(one.get("at", 0.0)) < _FRESH_S]
    return tuple(
        RunStatus(
            plan=str(one["plan"]),
            running=sum(count for name, count in one["running"].items() if name in there),
            quarantine=dict(one["quarantine"]),
            waiting=tuple(name for name in one["running"] if name not in there),
        )
        for one in fresh
    )
