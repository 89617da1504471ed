"""What is told of times, energy and load: the figures that stand in `reference.json` and `benchmark.json`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Times of single inferences, in milliseconds; `low` and `high` bound the median with 95 % confidence.

    `p90` and `p99` are null where a tool kept the single times to itself.
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
    """One of the blocks that variants take turns in: a process of its own.

    `turn` is its place among all blocks of the run, from 1. `frequency_mhz`, `temperature_c`, `governor` and
    `throttled` are what the device told right after the timing, empty where it does not tell. `measurement` is its
    folder, relative to the document.
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
    """The median of a minute of sustained load, and the hottest and slowest that the device told meanwhile."""

    median_ms: float
    runs: int
    temperature_c: float | None
    frequency_mhz: float | None


@dataclass(frozen=True)
class Sustained:
    """Load without a pause: minute by minute (the last may be shorter), and the last median over the first."""

    seconds: float
    minutes: tuple[Minute, ...]
    last_to_first: float


@dataclass(frozen=True)
class Energy:
    """Millijoules that one inference takes beyond what the idle device draws, with a 95 % interval.

    `source` is what told: "pmic" (a Raspberry Pi 5) or "battery". `idle_w` and `active_w` are mean watts.
    """

    source: str
    mj: float
    low: float
    high: float
    idle_w: float
    active_w: float


@dataclass(frozen=True)
class OpTime:
    """One op's mean time in one inference, and its share of the whole, as the device's profiler told."""

    kind: str
    name: str
    mean_ms: float
    share: float
