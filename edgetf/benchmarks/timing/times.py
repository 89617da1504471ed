"""Statistics of time and energy. In: blocks of latencies. Out: a summary with an interval, and its stability.

A block is a separate process. Blocks of variants take turns, so that differences between processes, drift and heat
contribute to the spread of a variant's blocks, and thus to its interval. All intervals have 95 % confidence. If the
number of blocks depends on the times, they have it over all `looks` at which the run might have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from edgetf.device.runner.answers import is_throttled
from edgetf.device.runner.job import Power, TimeSummary, Window
from edgetf.errors import MissingExtraError
from edgetf.figures import Block, Energy, Latency, Minute, Sustained

if find_spec("scipy") is None:  # before anything is measured; it is imported on demand, for it takes long
    raise MissingExtraError("scipy", "report")

ALPHA = 0.05  # the error rate of an interval
_PARTS = 10  # parts of a single block that replace blocks
MIN_RUNS = 50
_DRIFT, _SPREAD, _HEAT_C = 0.05, 0.10, 5.0
_PRECISE = 0.025  # half of _DRIFT, which then limits the interval of the median
_MINUTE_S = 60.0
_TICK_MS = 1e-3  # the resolution of tools that only report summaries
_FEWEST_READINGS, _LEAST_W = 3, 0.05

Times = Sequence[int] | NDArray[np.int64]


def summarize(blocks: Sequence[Times], looks: int = 1) -> Latency:
    """Summary in milliseconds of blocks of times in nanoseconds (at least 2 times in all).

    The median is that of the blocks' medians. Its interval is the wider of two at each end: the distribution-free
    interval of order statistics (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2), which assumes
    independent runs, and Student's interval of the block medians (batch means; Law, Simulation Modeling and Analysis,
    section 9.5). The latter is widened by sqrt(pi / 2) because their median is used and not their mean (the ratio of
    the deviations for many normal values; less for few). A single block is split into ten parts, whose spread shows
    drift but not the differences between processes.
    """
    from scipy import stats

    pooled = np.sort(np.concatenate([np.asarray(block, np.float64) for block in blocks])) / 1e6
    n, centres = len(pooled), [x / 1e6 for x in _centres(blocks)]
    median, reach = float(np.median(centres)), reach_of(centres, ALPHA / looks)
    rank = max(int(stats.binom.ppf(ALPHA / looks / 2, n, 0.5)) - 1, 0)
    return Latency(
        median=median,
        low=max(min(float(pooled[rank]), median - reach), 0.0),
        high=max(float(pooled[n - 1 - rank]), median + reach),
        p90=float(np.quantile(pooled, 0.90)),
        p99=float(np.quantile(pooled, 0.99)),
        mean=float(pooled.mean()),
        stdev=float(pooled.std(ddof=1)),
        n=n,
    )


def merge_summaries(blocks: Sequence[TimeSummary], looks: int = 1) -> Latency | None:
    """The same for blocks without single times: Student's interval of their medians; None for one block.

    The mean of a block replaces its median if the tool does not report one, or if it is only a few whole microseconds.
    The interval is never narrower than one microsecond. The standard deviation is the pooled one.
    """
    if len(blocks) < 2:
        return None
    centres = [_centre_of(block) / 1e6 for block in blocks]
    median, reach = float(np.median(centres)), max(reach_of(centres, ALPHA / looks), _TICK_MS / 2)
    n = sum(block.n for block in blocks)
    variance = sum((block.n - 1) * block.stdev_ns**2 for block in blocks) / max(n - len(blocks), 1)
    return Latency(
        median=median,
        low=max(median - reach, 0.0),
        high=median + reach,
        p90=None,
        p99=None,
        mean=sum(block.n * block.mean_ns for block in blocks) / n / 1e6,
        stdev=float(np.sqrt(variance)) / 1e6,
        n=n,
    )


def is_precise(medians: Sequence[float]) -> bool:
    """Whether block medians (at least 2) agree so well that more blocks would hardly help.

    Stopping by the width of an interval makes it slightly too narrow (Chow and Robbins 1965, Annals of Mathematical
    Statistics 36:457); the minimum number of blocks keeps this effect small.
    """
    return reach_of(medians) <= _PRECISE * float(np.median(medians))


def reach_of(centres: Sequence[float], alpha: float = ALPHA) -> float:
    """Half of Student's interval of block medians (at least 2) with the error rate `alpha`, widened for a median."""
    spread = np.sqrt(np.pi / 2) * np.std(centres, ddof=1) / np.sqrt(len(centres))
    return float(student(len(centres), alpha) * spread)


def student(n: int, alpha: float) -> float:
    """The quantile of Student's interval of the mean of `n` values, with the error rate `alpha`."""
    from scipy import special

    return float(special.stdtrit(n - 1, 1 - alpha / 2))


def median_of(block: Times | TimeSummary) -> float:
    """The median of a block, in milliseconds."""
    return (_centre_of(block) if isinstance(block, TimeSummary) else float(np.median(block))) / 1e6


def spread_of(blocks: Sequence[Times] | Sequence[TimeSummary]) -> float:
    """The spread of runs within a block, as a share of their median: the middle half, or one standard deviation.

    If single times are known, quartiles are used and not the standard deviation, because a shared machine interrupts a
    few runs for milliseconds.
    """
    spreads = []
    for block in blocks:
        if isinstance(block, TimeSummary):
            spreads.append(block.stdev_ns / max(_centre_of(block), 1.0))
        else:
            low, median, high = np.quantile(np.asarray(block, np.float64), [0.25, 0.5, 0.75])
            spreads.append(float((high - low) / median))
    return float(np.median(spreads))


def judge_stability(blocks: Sequence[Block], spread: float) -> tuple[bool, str]:
    """Whether the median over blocks is stable, and the reason. `spread` is from `spread_of`.

    It needs at least 50 runs. The medians of the blocks must be within 5 % of it (the tolerance of MLPerf Mobile for
    replicated latency), the runs within 10 % (the spread at which pyperf warns), and the device must not report
    throttling.
    """
    runs = sum(block.runs for block in blocks)
    if runs < MIN_RUNS:
        return False, f"only {runs} runs in the time allowed; {MIN_RUNS} are needed"
    throttled = [block for block in blocks if is_throttled(block.throttled)]
    if throttled:
        state = throttled[0].throttled
        return False, f"the device was throttled in {len(throttled)} of {len(blocks)} blocks ({state}); let it cool"
    medians = [block.median_ms for block in blocks]
    centre = float(np.median(medians))
    drift = max(abs(median - centre) for median in medians) / max(centre, _TICK_MS / 1000)
    if drift > _DRIFT:
        return False, f"block medians differ by {drift:.0%}{_cause(blocks)}; close other programs, let it cool"
    if spread > _SPREAD:
        return False, f"runs spread over {spread:.0%} of the median; close other programs, fix the governor"
    return True, f"block medians within {drift:.1%}, runs within {spread:.1%} of the median"


def sum_up_minutes(windows: Sequence[Window]) -> Sustained:
    """The sustained load by minutes, from windows of about a second (at least one)."""
    minutes: dict[int, list[Window]] = {}
    begun = 0.0
    for window in windows:  # a slow inference may end after the last minute: it belongs to the minute of its start
        minutes.setdefault(int(begun // _MINUTE_S), []).append(window)
        begun = window.at_s
    summaries = tuple(_minute(group) for group in minutes.values())
    first, last = summaries[0].median_ms, summaries[-1].median_ms
    return Sustained(windows[-1].at_s, summaries, last / first if first else 1.0)


def energy_of(power: Power) -> Energy | None:
    """Millijoules of one inference: the mean power above idle times its duration.

    The interval is Welch's for the difference of two means (Welch 1947, Biometrika 34:28). Meters update and settle
    slowly: the first third of the readings is dropped, and repeated identical readings count once. None if fewer than
    three are left, or if they are too small to be watts (some phones report milliamperes).
    """
    idle, active = _settled(power.idle_w), _settled(power.active_w)
    if min(len(idle), len(active)) < _FEWEST_READINGS or not power.runs or active.mean() < _LEAST_W:
        return None
    from scipy import stats

    interval = stats.ttest_ind(active, idle, equal_var=False).confidence_interval(1 - ALPHA)
    mj, watts = 1e3 * power.seconds / power.runs, float(active.mean() - idle.mean())
    low, high = float(interval.low), float(interval.high)
    return Energy(power.source, watts * mj, low * mj, high * mj, float(idle.mean()), float(active.mean()))


def _settled(readings: Sequence[float]) -> NDArray[np.float64]:
    late = np.asarray(readings[len(readings) // 3 :], np.float64)
    return late[np.append(True, late[1:] != late[:-1])] if len(late) else late


def _centres(blocks: Sequence[Times]) -> list[float]:
    parts = blocks if len(blocks) > 1 else np.array_split(np.asarray(blocks[0]), min(_PARTS, len(blocks[0])))
    return [float(np.median(part)) for part in parts]


def _centre_of(block: TimeSummary) -> float:
    coarse = block.median_ns is None or block.median_ns < 100 * _TICK_MS * 1e6
    return block.mean_ns if coarse or block.median_ns is None else block.median_ns


def _cause(blocks: Sequence[Block]) -> str:
    """The changes between the blocks that the device reported."""
    causes = []
    clock = [float(block.frequency_mhz) for block in blocks if block.frequency_mhz]
    heat = [float(block.temperature_c) for block in blocks if block.temperature_c]
    if clock and max(clock) > 1.05 * min(clock):
        causes.append(f"the frequency was {min(clock):.0f} to {max(clock):.0f} MHz")
    if heat and max(heat) > min(heat) + _HEAT_C:
        causes.append(f"the temperature {min(heat):.0f} to {max(heat):.0f} °C")
    return f" ({', '.join(causes)})" if causes else ""


def _minute(windows: Sequence[Window]) -> Minute:
    heat = [float(w.state["temperature_c"]) for w in windows if w.state.get("temperature_c")]
    clock = [float(w.state["frequency_mhz"]) for w in windows if w.state.get("frequency_mhz")]
    return Minute(
        median_ms=float(np.median([window.median_ns for window in windows])) / 1e6,
        runs=sum(window.runs for window in windows),
        temperature_c=max(heat, default=None),
        frequency_mhz=min(clock, default=None),
    )
