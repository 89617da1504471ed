"""What the driver and its workers exchange: plain values, so that both sides may run for months beside each other."""

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
    """A call for a worker. `key` names its result; `modules` are the user's modules for metrics and sources."""

    key: str
    verb: str
    title: str
    arguments: dict[str, Any]
    device: str | None
    roots: tuple[Root, ...]
    modules: Root | None = None


@dataclass(frozen=True)
class Reply:
    """What became of a call: the digests of the files of its result by relative path, or its error.

    `missing` are digests of files that have to be sent first. `places` are the paths on the worker: where its result
    lies, and where each root does, by its path at the driver.
    """

    missing: tuple[str, ...] = ()
    files: dict[str, str] | None = None
    places: dict[str, str] | None = None
    exit_code: int = 0
    cause: str | None = None
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Offer:
    """What a worker offers: its facts (as of `facts.Host`), whether it converts, and whether it has a GPU."""

    machine: str
    versions: dict[str, str]
    devices: dict[str, str]
