"""What the driver and its workers exchange, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetf.benchmarks.reference.options import ReferenceOptions
from edgetf.benchmarks.reference.probing import Habits
from edgetf.results import Precision, ReferenceDevice

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


# ranges of a reference ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """The inputs of the samples from `begin` to before `end`: by name their type, and the form of a row.

    `batch`, `unbatched` and `allow_nan` are those of Samples. The rows themselves are sent as bytes, in this order.
    """

    begin: int
    end: int
    dtypes: dict[str, str]
    forms: dict[str, tuple[int, ...]]
    batch: int
    unbatched: tuple[str, ...]
    allow_nan: bool


@dataclass(frozen=True)
class Ask:
    """A request to the TensorFlow of a session.

    `verb` is "load" (the model), "open" (find its habits, compute the canary), "rows" (the outputs of `rows`) or
    "measure" (latency and noise on `rows`, which are the first). `habits` are those of the first host.
    """

    verb: str
    rows: Rows
    options: ReferenceOptions
    habits: Habits | None = None


@dataclass(frozen=True)
class Opened:
    """A host that has loaded the model. `canary` are digests of the first batch's outputs by name, without random ones;
    a batch takes `seconds`, and its outputs `bytes`."""

    device: ReferenceDevice
    precision: Precision
    versions: dict[str, str]
    habits: Habits
    canary: dict[str, str]
    seconds: float
    bytes: int
