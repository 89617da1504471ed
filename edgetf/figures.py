"""Figures of time, energy, load and coverage in `reference.json` and `benchmark.json`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Latency:
    """Times of single inferences, in milliseconds; `low` and `high` bound the median with 95 % confidence.

    With one thread on Linux, the time in which other programs had the CPU is not part of them.
    `p90` and `p99` are null if a tool does not report single times.
    """

    median: float
    low: float
    high: float
    p90: float | None
    p99: float | None
    mean: float
    stdev: float
    n: int


@dataclass(frozen=True)
class Block:
    """One turn of a variant: a separate process.

    `turn` is its position among all blocks of the run, from 1. `frequency_mhz`, `temperature_c`, `governor` and
    `throttled` are the device's values right after the timing, empty if not available. `measurement` is its folder,
    relative to the document.
    """

    turn: int
    median_ms: float
    runs: int
    frequency_mhz: str
    temperature_c: str
    governor: str
    throttled: str
    measurement: str


@dataclass(frozen=True)
class Minute:
    """The median latency in a minute of sustained load, with the highest temperature and the lowest frequency."""

    median_ms: float
    runs: int
    temperature_c: float | None
    frequency_mhz: float | None


@dataclass(frozen=True)
class Sustained:
    """Sustained load: the minutes (the last may be shorter), and the ratio of the last median to the first."""

    seconds: float
    minutes: tuple[Minute, ...]
    last_to_first: float


@dataclass(frozen=True)
class Energy:
    """Millijoules of one inference above the consumption of the idle device, with a 95 % interval.

    `source` is the sensor: "pmic" (a Raspberry Pi 5) or "battery". `idle_w` and `active_w` are mean watts.
    """

    source: str
    mj: float
    low: float
    high: float
    idle_w: float
    active_w: float


@dataclass(frozen=True)
class OpTime:
    """One operation's time in an inference, and its share of the total.

    `name` is that of its first output, or of a tool's profiler; `layer` is the Keras layer that it is of, if known.
    `delegated` is whether a delegate took it (null if unknown). Inside of a piece that a delegate took, the runner's
    times are `estimated`: the piece is timed, and its time divided in the ratio of a run on TFLite's own kernels.
    """

    kind: str
    name: str
    mean_ms: float
    share: float
    layer: str = ""
    delegated: bool | None = None
    estimated: bool = False


@dataclass(frozen=True)
class LeftOperations:
    """The operations of one kind that a delegate left to TFLite's own kernels, why, and their share of the time.

    `time_share` (0 to 1) is null if they were not timed.
    """

    kind: str
    count: int
    reason: str = ""
    time_share: float | None = None


class CoverageSource(str, Enum):
    """How it is known what a delegate took: the interpreter's list of nodes, or the log of a program."""

    NODES = "nodes"
    LOG = "log"


@dataclass(frozen=True)
class Coverage:
    """What ran where: of all `operations` of the first graph, a delegate took `delegated`, in `partitions` pieces.

    `left` are all others, the most common kind first (empty if their kinds are unknown). `crossing_bytes` go from a
    piece to another part of the graph in one inference, without the graph's own inputs and outputs (null if unknown).
    `accelerator` is the delegate's name (empty: none was asked for), `software` whether it is emulated in software, as
    a GPU may be (null if unknown).
    """

    operations: int
    delegated: int
    partitions: int
    left: tuple[LeftOperations, ...]
    crossing_bytes: int | None
    accelerator: str
    software: bool | None
    source: CoverageSource

    @property
    def share(self) -> float:
        """The share of the operations that was delegated."""
        return self.delegated / self.operations if self.operations else 0.0

    @property
    def is_complete(self) -> bool:
        return self.delegated == self.operations

    @property
    def left_time_share(self) -> float | None:
        """The share of the time that the operations take which were not delegated; None if they were not timed."""
        shares = [one.time_share for one in self.left]
        if self.is_complete:
            return 0.0
        known = [share for share in shares if share is not None]
        return sum(known) if known and len(known) == len(shares) else None
