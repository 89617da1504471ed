"""What the driver and its workers exchange, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PIECE = 4 << 20  # bytes of a file that are sent at once


@dataclass(frozen=True)
class Root:
    """A file or folder that a call reads: its path at the driver, and the digests of its files by relative path.

    `name` is its own name, which a source may show (`digits.npz`); a single file has the relative path ".".
    """

    path: str
    name: str
    files: dict[str, str]


@dataclass(frozen=True)
class Request:
    """A call for a worker. `key` names its result; `modules` are the user's modules for metrics and sources.

    `wait` until the device is free, or fail at once. `nonce` is that of a run for which an earlier result of the same
    key does not count: it is forced, or its sources cannot be compared.
    """

    key: str
    verb: str
    title: str
    arguments: dict[str, Any]
    device: str | None
    roots: tuple[Root, ...]
    modules: Root | None = None
    wait: bool = True
    nonce: str = ""


@dataclass(frozen=True)
class Reply:
    """What became of a call: the digests of the files of its result by relative path, or its error.

    `missing` are digests of files that have to be sent first. `places` are the paths on the worker: where its result
    lies, and where each root does, by its path at the driver. `notes` are what it reported meanwhile.
    """

    missing: tuple[str, ...] = ()
    files: dict[str, str] | None = None
    places: dict[str, str] | None = None
    exit_code: int = 0
    cause: str | None = None
    message: str = ""
    hint: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """The facts of a worker, as of `facts.Host`; `local` are the devices that are its own machine."""

    machine: str
    versions: dict[str, str]
    devices: dict[str, str]
    local: tuple[str, ...]
