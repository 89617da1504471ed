"""Figures of time, energy and load in `reference.json` and `benchmark.json`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Times of single inferences, in milliseconds; `low` and `high` bound the median with 95 % confidence.

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
    """One op's mean time in an inference, and its share of the total, from the profiler on the device."""

    kind: str
    name: str
    mean_ms: float
    share: float
