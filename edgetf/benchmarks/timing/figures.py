"""The Result of a variant. In: its turns. Out: a Result with all figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgetf.benchmarks.timing.rounds import Course, Turn, load_timings
from edgetf.benchmarks.timing.times import (
    Times,
    energy_of,
    judge_stability,
    median_of,
    merge_summaries,
    spread_of,
    sum_up_minutes,
    summarize,
)
from edgetf.device.kinds import Device
from edgetf.device.runner.answers import bits
from edgetf.device.runner.job import Job, Measurement, TimeSummary
from edgetf.figures import Block, OpTime
from edgetf.results import Result, Status


def result_of(course: Course, device: Device, asked: Job, out: Path, folder: str) -> Result:
    """The Result of `course`, whose measurements are in `out` / `folder`; `asked` is the requested Job.

    Parity is added later. A course without any turn has a Result without figures.
    """
    target, failed = course.target, course.error is not None
    common = Result(
        variant=target.name,
        scheme=target.scheme,
        device=device.name,
        status=Status.FAILED if failed else Status.OK,
        runtime=asked.runtime,
        bytes=target.bytes,
        sha256=target.sha256,
        threads=asked.threads,
        delegate=asked.delegate,
        affinity=tuple(asked.affinity or ()),
        nice=asked.nice,
        emulated=device.emulated,
        error=course.error,
        source=target.source,
        path=None if target.failed else str(target.path.absolute()),
    )
    if not course.turns:
        return common
    return _with_figures(common, course, out, folder)


def _with_figures(common: Result, course: Course, out: Path, folder: str) -> Result:
    measured = [turn.measurement for turn in course.turns]
    first, passes = measured[0], [turn.measurement for turn in course.passes]
    rest = passes[0] if passes else first
    timed = [turn for turn in course.blocks if turn.measurement.timings or turn.measurement.summary]
    raw = [load_timings(turn.measurement, out / folder / turn.folder) for turn in timed]
    invoked: list[Times | TimeSummary] = [
        t["invoke_ns"] if t is not None else _summary_of(turn) for turn, t in zip(timed, raw, strict=True)
    ]
    whole = [t["end_to_end_ns"] for t in raw if t is not None]
    blocks = tuple(_block(turn, times, folder) for turn, times in zip(timed, invoked, strict=True))
    summaries = [times for times in invoked if isinstance(times, TimeSummary)]
    single = [times for times in invoked if not isinstance(times, TimeSummary)]
    stable, why = judge_stability(blocks, spread_of(summaries or single)) if blocks else (None, common.stable_reason)
    passed = [one.samples for one in passes if one.samples is not None and one.arena_bytes is None]
    return replace(
        common,
        runtime=f"{first.runtime} {first.runtime_version}".strip(),
        threads_effective=first.threads_effective,
        latency_ms=merge_summaries(summaries) if summaries else summarize(single) if single else None,
        end_to_end_ms=summarize(whole) if whole else None,
        load_ms=_ms(first.load_ns),
        first_ms=_ms(first.first_ns),
        peak_rss_bytes=_largest(measured, "peak_rss_bytes"),
        added_rss_bytes=_largest(measured, "added_rss_bytes"),
        arena_bytes=_largest(measured, "arena_bytes"),
        blocks=blocks,
        sustained=sum_up_minutes(rest.sustained) if rest.sustained else None,
        energy=energy_of(rest.power) if rest.power else None,
        ops=tuple(OpTime(**vars(op)) for op in rest.ops or ()),
        samples_per_second=sum(p.n for p in passed) / sum(p.seconds for p in passed) if passed else None,
        stable=stable,
        stable_reason=why,
        measurement=f"{folder}/{common.variant}",
    )


def _summary_of(turn: Turn) -> TimeSummary:
    assert turn.measurement.summary is not None
    return turn.measurement.summary


def _block(turn: Turn, times: Times | TimeSummary, folder: str) -> Block:
    state = turn.measurement.state_after
    return Block(
        turn=turn.number,
        median_ms=median_of(times),
        runs=times.n if isinstance(times, TimeSummary) else len(times),
        frequency_mhz=state.get("frequency_mhz", ""),
        temperature_c=state.get("temperature_c", ""),
        governor=state.get("governor", ""),
        throttled=_throttled(turn.measurement.state_before.get("throttled", ""), state.get("throttled", "")),
        measurement=f"{folder}/{turn.folder}",
    )


def _throttled(before: str, after: str) -> str:
    """The throttling reported after a block. A Pi's bits 16 to 19 are about the past: new ones are from this block."""
    earlier, later = bits(before), bits(after)
    if earlier is None or later is None:
        return after
    return hex(later | ((later & ~earlier) >> 16 & 0xF))


def _largest(measured: Sequence[Measurement], name: str) -> int | None:
    values = [value for measurement in measured if (value := getattr(measurement, name)) is not None]
    return max(values, default=None)


def _ms(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6
