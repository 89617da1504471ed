"""Variants take turns on a Device: blocks of timing in the order A B C, C B A, ..., then the remaining work.

In this way drift and heat affect all variants equally. Every block is a separate process. Work that takes long or heats
the device (sustained load, energy, all samples) comes after the last block. If a variant fails, the others continue,
and its finished turns are kept. Variants take more turns while what was asked is not decided (`turns`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.timing.fixed import digests_of, in_present_state, some_inputs, wrong_files
from edgetf.benchmarks.timing.pace import Pace
from edgetf.benchmarks.timing.resume import Resumable
from edgetf.benchmarks.timing.targets import Target
from edgetf.benchmarks.timing.times import median_of
from edgetf.benchmarks.timing.turns import choose_fastest, find_undecided, most_turns
from edgetf.device.kinds import Device
from edgetf.device.measurements import read_measurement
from edgetf.device.runner.delegates import find_delegate
from edgetf.device.runner.job import DELEGATE_PHASE, Job, Measurement
from edgetf.errors import DeviceError, EdgetfError, NoRoomError, UnreachableError
from edgetf.events import Event, OnEvent, Phase
from edgetf.owned import scratch
from edgetf.reading import parsing
from edgetf.results import Failure
from edgetf.samples.npz import read_npz

_ATTEMPTS = 3  # at a turn whose samples are touched


@dataclass(frozen=True)
class Turn:
    """One finished job: its number, its folder relative to that of the benchmark, and its measurement.

    `median_ms` is that of a block.
    """

    number: int
    folder: str
    measurement: Measurement
    median_ms: float | None


@dataclass
class Course:
    """All turns of one variant: the blocks of timing, and the passes over samples (the first includes other work)."""

    target: Target
    blocks: list[Turn] = field(default_factory=list)
    passes: list[Turn] = field(default_factory=list)
    error: Failure | None = None

    @property
    def medians(self) -> list[float]:
        """Those of its blocks, in milliseconds."""
        return [turn.median_ms for turn in self.blocks if turn.median_ms is not None]

    @property
    def turns(self) -> list[Turn]:
        return [*self.blocks, *self.passes]


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    The numbers of blocks after which it may end (`turns.looks_of`), and the limit of the median that is asked about, if
    any; the common part of all jobs, with the work after the blocks; `energy_s` for devices that report power; the
    first and the end of the samples of each pass; the digests of the inputs, by input name.
    """

    looks: tuple[int, ...]
    limit_ms: float | None
    job: Job
    energy_s: float
    pieces: tuple[tuple[int, int], ...]
    inputs_sha256: dict[str, str]

    @property
    def has_passes(self) -> bool:
        """Whether there is work after the blocks."""
        return bool(self.job.outputs or self.job.sustained_s or self.energy_s)


@dataclass(frozen=True)
class Bench:
    """The environment of the turns: a reserved device, and the folder for resuming."""

    device: Device
    plan: Plan
    kept: Resumable
    on_event: OnEvent


def measure(targets: Sequence[Target], bench: Bench, enough: Callable[[Course], bool]) -> list[Course]:
    """Run all `targets` and store the measurements in `bench`'s folder, in a folder for each.

    `enough` is called between the passes over samples to determine whether a variant needs more.
    """
    courses = [Course(target) for target in targets]
    for course in courses:
        if course.target.failed is not None:
            course.error = replace(course.target.failed, code="conversion")
    pace = Pace(bench.plan, courses)
    due, taken = [course for course in courses if course.error is None], 0
    for look in bench.plan.looks:
        due = _affordable(due, courses, bench.plan, look - taken)
        for block in range(taken, look):
            _take_turns(due if block % 2 == 0 else due[::-1], bench, pace, block)
        due, taken = _undecided(due, bench.plan), look
        if note := pace.decided(due):
            bench.on_event(note)
    for course in courses:
        _pass_samples(course, bench, pace, enough)
    return courses


def _take_turns(due: Sequence[Course], bench: Bench, pace: Pace, block: int) -> None:
    """A block of each variant that is `due`, in this order."""
    for course in due:
        if course.error is None:
            job = replace(bench.plan.job, outputs=False, sustained_s=0.0, energy_s=0.0, operations=block == 0)
            bench.on_event(pace.turn(block))
            with pace.timed(course):
                turn = _take_turn(course, bench, job, pace.taken + 1, f"block-{block + 1}")
            course.blocks += [turn] if turn else []
            if note := pace.forecast():
                bench.on_event(note)


def _undecided(due: Sequence[Course], plan: Plan) -> list[Course]:
    """The courses that need more turns. One without times needs none."""
    timed = [
        one for one in due if one.error is None and len(one.medians) == len(one.blocks) > 1 and min(one.medians) > 0
    ]
    if not timed:
        return []
    return [timed[k] for k in find_undecided([one.medians for one in timed], len(plan.looks), plan.limit_ms)]


def _affordable(due: Sequence[Course], courses: Sequence[Course], plan: Plan, turns: int) -> list[Course]:
    """The courses that can take so many turns more within the most for all `courses`: the fastest."""
    left = most_turns(len(courses), plan.looks[0], plan.looks[-1]) - sum(len(one.blocks) for one in courses)
    if len(due) * turns <= left:
        return list(due)
    return [due[k] for k in choose_fastest([one.medians for one in due], left // turns)]


def _pass_samples(course: Course, bench: Bench, pace: Pace, enough: Callable[[Course], bool]) -> None:
    """The work after the blocks: load and energy with the first samples, then more samples until there are enough."""
    plan = bench.plan
    job = replace(plan.job, timing=None, energy_s=_energy_s(course, plan))
    if not (job.outputs or job.sustained_s or job.energy_s):
        return
    with scratch() as work:
        for k, (first, end) in enumerate(plan.pieces):
            if course.error is not None or (k > 0 and (not job.outputs or enough(course))):
                return
            what = f"samples {first + 1} to {end}" if job.outputs else "under load"
            bench.on_event(pace.step(f"{course.target.name}, {what}"))
            rest = job if k == 0 else replace(job, sustained_s=0.0, energy_s=0.0)
            piece = rest if len(plan.pieces) == 1 else some_inputs(rest, first, end, work)
            name = "samples" if k == 0 else f"samples-{k + 1}"
            turn = _take_turn(course, bench, piece, 0, name)
            course.passes += [turn] if turn else []


def load_timings(measurement: Measurement, folder: Path) -> dict[str, NDArray[np.int64]] | None:
    """The times of `measurement` in `folder`, `invoke_ns` and `end_to_end_ns` in nanoseconds, or None if unknown.

    Without the time in which other programs had the CPU, if the device counted it: that is not the variant's.
    """
    if measurement.timings is None:
        return None
    place = folder / measurement.timings
    with parsing(place, "the times of a run", "benchmark again"):
        if not place.is_file():
            raise EdgetfError(f"{place} is missing", "benchmark again")
        times: dict[str, Any] = read_npz(place, "benchmark again")
        return {f"{what}_ns": _own_times(times, what) for what in ("invoke", "end_to_end")}


def _own_times(times: dict[str, Any], what: str) -> NDArray[np.int64]:
    whole = times[f"{what}_ns"]
    waited = times.get(f"{what}_waited_ns", np.zeros_like(whole))
    if any(one.ndim != 1 or one.dtype != np.int64 for one in (whole, waited)) or len(whole) != len(waited):
        raise ValueError(f"{what}_ns are not nanoseconds")
    if len(whole) < 2 or waited.min() < 0 or (whole <= waited).any():
        raise ValueError(f"{what}_ns are not the times of runs")
    return np.asarray(whole - waited, np.int64)


def _energy_s(course: Course, plan: Plan) -> float:
    has_meter = any(turn.measurement.state_before.get("power_meter") for turn in course.blocks)
    return plan.energy_s if has_meter else 0.0


def _take_turn(course: Course, bench: Bench, job: Job, number: int, name: str) -> Turn | None:
    """Do one job of a variant, unless an interrupted run has done it; a failure becomes the course's error.

    `number` is the turn's among all (0: it is a pass over samples), `name` that of its folder.
    """
    target, kept = course.target, bench.kept
    folder = f"{target.name}/{name}"
    if kept.find(folder):
        measurement = read_measurement(bench.device.name, kept.place / folder)
    else:
        job = replace(job, model=str((target.private or target.path).resolve()), signature=target.signature)
        try:
            measurement = _run(job, bench, kept.place / folder, target.name)
        except (UnreachableError, NoRoomError):  # not a failure of the variant: the run is interrupted
            raise
        except DeviceError as error:
            course.error = Failure("device", error.message, error.hint)
            return None
        if measurement.error_phase == DELEGATE_PHASE:  # no variant can run: the next run tries again
            is_file = bool(find_delegate(job.delegate).library)
            hint = "--delegate takes the path on the device" if is_file else "or take another --delegate"
            raise EdgetfError(f"{bench.device.name}: {measurement.error}", hint)
        kept.keep(folder, number)
    whole = not job.outputs or job.inputs == bench.plan.job.inputs
    if wrong := wrong_files(measurement, target.sha256, bench.plan.inputs_sha256 if whole else digests_of(job)):
        message = f"other files ran on {bench.device.name} than were sent there: {', '.join(wrong)}"
        course.error = Failure("device", message, _hint(bench.device))
        return None
    if measurement.error is not None:
        message = f"{measurement.error_phase}: {measurement.error}"
        course.error = Failure("run", message, "see the measurement for its results")
    return Turn(number, folder, measurement, _median_of(measurement, kept.place / folder))


def _run(job: Job, bench: Bench, out: Path, variant: str) -> Measurement:
    """Run the job; again if the file of its samples was touched before the runner looked at it.

    Raises EdgetfError if the samples have changed, and what the device raises.
    """
    for _ in range(_ATTEMPTS):
        shutil.rmtree(out, ignore_errors=True)  # remains of a killed run
        job = in_present_state(job)
        measurement = bench.device.run(job, out, lambda event: bench.on_event(_named(event, variant)))
        if in_present_state(job) == job or measurement.error is None:
            break
    return measurement


def _hint(device: Device) -> str:
    """What to do if other files ran than were sent."""
    if device.store is None:
        return "do not change the variant and the samples during the run, and run the command again"
    return f"remove {device.store} on {device.name}, and run the command again"


def _median_of(measurement: Measurement, folder: Path) -> float | None:
    if measurement.summary is not None:
        return median_of(measurement.summary)
    timings = load_timings(measurement, folder)
    return median_of(timings["invoke_ns"]) if timings else None


def _named(event: Event, variant: str) -> Event:
    return Phase(f"{variant}, {event.name}") if isinstance(event, Phase) else event
