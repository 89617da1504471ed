"""The Result of a variant. In: its turns. Out: a Result with all figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from edgetf.conversion.layers import layer_of
from edgetf.device.kinds import Device
from edgetf.device.runner.answers import bits
from edgetf.device.runner.job import Job, Measurement, TimeSummary
from edgetf.figures import Block, Coverage, CoverageSource, LeftOperations, OpTime
from edgetf.results import Result, Status


def result_of(course: Course, device: Device, asked: Job, out: Path, folder: str, looks: int = 1) -> Result:
    """The Result of `course`, whose measurements are in `out` / `folder`; `asked` is the requested Job.

    `looks` is how often the run could end (`summarize`).

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
        delegate_options=asked.delegate_options,
        affinity=tuple(asked.affinity or ()),
        nice=asked.nice,
        emulated=device.emulated,
        error=course.error,
        source=target.source,
        path=None if target.failed else str(target.path.absolute()),
    )
    if not course.turns:
        return common
    return _with_figures(common, course, out / folder, folder, looks)


def _with_figures(common: Result, course: Course, place: Path, folder: str, looks: int) -> Result:
    measured = [turn.measurement for turn in course.turns]
    first, passes = measured[0], [turn.measurement for turn in course.passes]
    rest = passes[0] if passes else first
    timed = [turn for turn in course.blocks if turn.measurement.timings or turn.measurement.summary]
    raw = [load_timings(turn.measurement, place / turn.folder) for turn in timed]
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
        delegate_sha256=first.delegate_sha256,
        threads_effective=first.threads_effective,
        latency_ms=merge_summaries(summaries, looks) if summaries else summarize(single, looks) if single else None,
        end_to_end_ms=summarize(whole, looks) if whole else None,
        load_ms=_ms(first.load_ns),
        first_ms=_ms(first.first_ns),
        peak_rss_bytes=_largest(measured, "peak_rss_bytes"),
        added_rss_bytes=_largest(measured, "added_rss_bytes"),
        arena_bytes=_largest(measured, "arena_bytes"),
        blocks=blocks,
        sustained=sum_up_minutes(rest.sustained) if rest.sustained else None,
        energy=energy_of(rest.power) if rest.power else None,
        ops=_ops(course, measured),
        emulated=common.emulated or any(one.coverage is not None and one.coverage.software for one in measured),
        coverage=_coverage(measured),
        samples_per_second=sum(p.n for p in passed) / sum(p.seconds for p in passed) if passed else None,
        stable=stable,
        stable_reason=why,
        measurement=f"{folder}/{common.variant}",
    )


def _ops(course: Course, measured: Sequence[Measurement]) -> tuple[OpTime, ...]:
    """The operations of the turn in which they were timed, with the Keras layers that they are of."""
    ops = next((one.ops for one in measured if one.ops), ())
    names = course.target.layers or {}
    return tuple(OpTime(**vars(op), layer=_layer(op.name, names)) for op in ops)


def _layer(name: str, names: Mapping[str, str]) -> str:
    """The Keras layer of an operation by its name, a tensor's, or `[tensor]:12` as in profiles; empty for what a
    profile calls `Delegate/...`."""
    bare = re.sub(r"^\[(.*)\]:\d+$", r"\1", name)
    return "" if bare.startswith("Delegate/") else layer_of(bare, names)


def _coverage(measured: Sequence[Measurement]) -> Coverage | None:
    """That of the turn in which operations were timed, which has shares of the time, or else of the first."""
    known = [one for one in measured if one.coverage is not None]
    found = next((one.coverage for one in known if one.ops), known[0].coverage if known else None)
    if found is None:
        return None
    left = tuple(LeftOperations(**vars(one)) for one in found.left)
    return Coverage(**{**vars(found), "left": left, "source": CoverageSource(found.source)})


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
