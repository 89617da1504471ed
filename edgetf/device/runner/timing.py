"""Latencies of single inferences: warm up until steady, then measure `invoke` alone and, separately, end to end.

Times are nanoseconds of `time.perf_counter_ns`; for each, it is counted how much of it other programs had the CPU. The
garbage collector is off while measuring, as in `timeit`.
"""

from __future__ import annotations

import dataclasses
import gc
from array import array
from statistics import median
from time import perf_counter_ns
from typing import Any, Callable

import numpy as np

from .interpreter import Session
from .isolate import Send
from .job import TimingPlan, Window
from .machine import describe_state
from .waits import Waits

_WINDOW = 10  # runs whose medians are compared to decide whether the warm-up is over
_STEADY = 0.02  # two windows within 2 % of each other are steady
_SECOND_NS = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class Timings:
    """Nanoseconds by the names of `Measurement.timings`; `waited` is the share of the time in which other programs had
    the CPU, None if that is unknown."""

    ns: dict[str, array[int]]
    waited: float | None


def measure(session: Session, rows: list[np.ndarray[Any, Any]], plan: TimingPlan) -> Timings:
    """Measure a session that has run once. `rows` are the inputs of one batch, in the dtype of the samples."""
    stored = [tensor.quantize(values) for tensor, values in zip(session.inputs, rows)]
    # a camera gives pixels: making them of the model's values is no part of an inference
    rows = [rows[k] if tensor.pixels is None else stored[k] for k, tensor in enumerate(session.inputs)]
    session.feed(stored)
    invoke = session.invoke

    def end_to_end() -> None:
        session.feed([tensor.quantize(values) for tensor, values in zip(session.inputs, rows)])
        invoke()
        for tensor, values in zip(session.outputs, session.fetch()):
            tensor.dequantize(values)

    enabled = gc.isenabled()
    gc.disable()
    try:
        warmup = warm_up(invoke, plan.max_warmup_s)
        with Waits() as waits:
            runs, whole = repeat((invoke, end_to_end), plan.min_runs, plan.min_s, plan.max_s, waits)
            waited = waits.share()
    finally:
        if enabled:
            gc.enable()
    ns = {"warmup_ns": warmup, "invoke_ns": runs.ns, "end_to_end_ns": whole.ns}
    if waited is not None:
        ns |= {"invoke_waited_ns": runs.waited_ns, "end_to_end_waited_ns": whole.waited_ns}
    return Timings(ns, waited)


def warm_up(run: Callable[[], None], max_s: float) -> array[int]:
    """Run until the medians of two windows agree within _STEADY, or for `max_s` seconds; at least twice."""
    times = array("q")
    end = perf_counter_ns() + int(max_s * 1e9)
    while len(times) < 2 or perf_counter_ns() < end:
        times.append(_timed(run))
        if len(times) >= 2 * _WINDOW and len(times) % _WINDOW == 0:
            before, after = median(times[-2 * _WINDOW : -_WINDOW]), median(times[-_WINDOW:])
            if abs(after - before) <= _STEADY * before:
                break
    return times


@dataclasses.dataclass(frozen=True)
class Runs:
    """Nanoseconds of runs, in order, and of each how much other programs had the CPU (0 without Waits)."""

    ns: array[int] = dataclasses.field(default_factory=lambda: array("q"))
    waited_ns: array[int] = dataclasses.field(default_factory=lambda: array("q"))

    def own_ns(self, waits: Waits) -> array[int]:
        """Nanoseconds of the runs without the time of other programs, if that is known (`Waits.share`)."""
        if waits.share() is None:
            return self.ns
        return array("q", (whole - waited for whole, waited in zip(self.ns, self.waited_ns)))

    def take(self, run: Callable[[], None], waits: Waits | None) -> int:
        """Add a run; returns the time at its end."""
        before = 0 if waits is None else waits.total_ns()
        begin = perf_counter_ns()
        run()
        now = perf_counter_ns()
        waited = 0 if waits is None else waits.total_ns() - before
        self.ns.append(now - begin)
        self.waited_ns.append(waited if waited < now - begin else 0)  # a wait as long as the run was outside of it
        return now


def repeat(
    runs: tuple[Callable[[], None], ...], min_runs: int, min_s: float, max_s: float, waits: Waits | None = None
) -> tuple[Runs, ...]:
    """Run each at least `min_runs` times and for `min_s` seconds, but stop after `max_s` (never before 2 runs of each).

    They take turns of _WINDOW runs, so that temporary load on the machine affects all of them.
    """
    found = tuple(Runs() for _ in runs)
    start = perf_counter_ns()
    enough, most = start + int(len(runs) * min_s * 1e9), start + int(len(runs) * max_s * 1e9)
    window = min(_WINDOW, max(min_runs, 2))
    while True:
        for run, times in zip(runs, found):
            for k in range(window):
                now = times.take(run, waits)
                if now >= most and k >= 1:
                    break
        if now >= most or (now >= enough and len(found[0].ns) >= min_runs):
            return found


def sustain(run: Callable[[], None], seconds: float, send: Send) -> None:
    """Run for `seconds` without a pause, and send a Window every second: raw times of minutes fill a small memory."""
    start = now = perf_counter_ns()
    end = start + int(seconds * 1e9)
    while now < end:
        times, until = Runs(), min(now + _SECOND_NS, end)
        with Waits() as waits:
            while now < until:
                now = times.take(run, waits)
            own = times.own_ns(waits)
        window = Window((now - start) / 1e9, len(own), float(median(own)), describe_state())
        send({"window": dataclasses.asdict(window)})
        send({"event": "progress", "done": round((now - start) / 1e9), "of": round(seconds)})


def _timed(run: Callable[[], None]) -> int:
    begin = perf_counter_ns()
    run()
    return perf_counter_ns() - begin
