"""Variants take turns on a Device: blocks of timing in the order A B C, C B A, ..., then what each is asked besides.

Drift and heat hit all variants alike that way, and every block is a process of its own. What takes long or heats
(sustained load, energy, all samples) comes after the last block. A variant that fails leaves the others their turns,
and keeps what came back until then. Where the medians of one variant's blocks do not agree, all
take more turns.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.targets import Target
from edgetf.benchmarks.times import is_precise, median_of
from edgetf.device.devices import Device
from edgetf.device.runner.job import Job, Measurement
from edgetf.errors import DeviceError, EdgetfError
from edgetf.process import Event, OnEvent
from edgetf.results import Failure

BLOCKS = 5
PATIENCE = 3  # times as many blocks at most, where the machine is not quiet


@dataclass(frozen=True)
class Turn:
    """One job that was done: its place among all, its folder relative to that of the benchmark, what came back.

    `median_ms` is that of a block.
    """

    number: int
    folder: str
    measurement: Measurement
    median_ms: float | None


@dataclass
class Course:
    """All turns of one variant: the blocks of timing, and the passes over samples, the first of which did the rest."""

    target: Target
    blocks: list[Turn] = field(default_factory=list)
    passes: list[Turn] = field(default_factory=list)
    error: Failure | None = None

    @property
    def precise(self) -> bool:
        """Whether the blocks agree well enough."""
        medians = [turn.median_ms for turn in self.blocks if turn.median_ms is not None]
        return len(medians) < 2 or is_precise(medians)

    @property
    def turns(self) -> list[Turn]:
        return [*self.blocks, *self.passes]


@dataclass(frozen=True)
class Plan:
    """How many blocks, and how many times as many where their medians do not agree; what all jobs have in common,
    with what is done after the blocks; `energy_s` where power is told; the samples of each pass, first and end.
    """

    blocks: int
    patience: int
    job: Job
    energy_s: float
    pieces: tuple[tuple[int, int], ...]


def measure(
    targets: Sequence[Target],
    device: Device,
    plan: Plan,
    out: Path,
    enough: Callable[[Course], bool],
    on_event: OnEvent,
) -> list[Course]:
    """Run all `targets` on the reserved `device` and leave the measurements below `out`, in a folder for each.

    `enough` is asked between the passes over samples whether a variant needs more of them.
    """
    courses = [Course(target) for target in targets]
    for course in courses:
        if course.target.failed is not None:
            course.error = replace(course.target.failed, code="conversion")
    for block in range(plan.blocks * (1 if device.emulated else plan.patience)):
        due = [course for course in courses if course.error is None]
        if not due or (block >= plan.blocks and all(course.precise for course in due)):
            break
        least, most = plan.blocks, plan.blocks * plan.patience
        of = f"of {least}" if block < least else f"of at most {most}, as medians differ"
        on_event({"event": "variant", "variant": f"turn {block + 1} {of}", "of": most})
        for course in due if block % 2 == 0 else reversed(due):
            if course.error is None:
                job = replace(plan.job, outputs=False, sustained_s=0.0, energy_s=0.0)
                number = 1 + sum(len(one.blocks) for one in courses)
                turn = _take_turn(course, device, job, out, (number, f"block-{block + 1}"), on_event)
                course.blocks += [turn] if turn else []
    for course in courses:
        _pass_samples(course, device, plan, out, enough, on_event)
    return courses


def _pass_samples(
    course: Course, device: Device, plan: Plan, out: Path, enough: Callable[[Course], bool], on_event: OnEvent
) -> None:
    """What comes after the blocks: load and energy with the first samples, then more samples until there are enough."""
    job = replace(plan.job, timing=None, energy_s=_energy_s(course, plan))
    if not (job.outputs or job.sustained_s or job.energy_s):
        return
    with tempfile.TemporaryDirectory() as work:
        for k, (first, end) in enumerate(plan.pieces):
            if course.error is not None or (k > 0 and (not job.outputs or enough(course))):
                return
            what = f"samples {first + 1} to {end}" if job.outputs else "under load"
            on_event({"event": "variant", "variant": f"{course.target.name}, {what}", "of": len(plan.pieces)})
            rest = job if k == 0 else replace(job, sustained_s=0.0, energy_s=0.0)
            piece = rest if len(plan.pieces) == 1 else replace(rest, inputs=_slices(job, first, end, Path(work)))
            name = "samples" if k == 0 else f"samples-{k + 1}"
            turn = _take_turn(course, device, piece, out, (0, name), on_event)
            course.passes += [turn] if turn else []


def _slices(job: Job, first: int, end: int, work: Path) -> dict[str, str]:
    """Files with some of the samples."""
    files = {}
    for k, (name, file) in enumerate(job.inputs.items()):
        files[name] = str(work / f"input-{k}.npy")
        np.save(files[name], np.load(file, mmap_mode="r")[first:end])
    return files


def load_timings(measurement: Measurement, folder: Path) -> dict[str, NDArray[np.int64]] | None:
    """The nanoseconds that `measurement` in `folder` names, or None where they are not known."""
    if measurement.timings is None:
        return None
    try:
        with np.load(folder / measurement.timings, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise EdgetfError(f"{folder / measurement.timings} is missing or damaged", "benchmark again") from error


def _energy_s(course: Course, plan: Plan) -> float:
    told = any(turn.measurement.state_before.get("power_meter") for turn in course.blocks)
    return plan.energy_s if told else 0.0


def _take_turn(
    course: Course, device: Device, job: Job, out: Path, turn: tuple[int, str], on_event: OnEvent
) -> Turn | None:
    """Do one job of a variant; a failure becomes the course's error."""
    target, (number, name) = course.target, turn
    folder = f"{target.name}/{name}"
    job = replace(job, model=str(target.path.resolve()), signature=target.signature)
    try:
        measurement = device.run(job, out / folder, lambda event: on_event(_named(event, target.name)))
    except DeviceError as error:
        course.error = Failure("device", error.message, error.hint)
        return None
    if measurement.error is not None:
        message = f"{measurement.error_phase}: {measurement.error}"
        course.error = Failure("run", message, "see the measurement for what came back")
    return Turn(number, folder, measurement, _median_of(measurement, out / folder))


def _median_of(measurement: Measurement, folder: Path) -> float | None:
    if measurement.told is not None:
        return median_of(measurement.told)
    timings = load_timings(measurement, folder)
    return median_of(timings["invoke_ns"]) if timings else None


def _named(event: Event, variant: str) -> Event:
    return {**event, "phase": f"{variant}, {event['phase']}"} if event["event"] == "phase" else event
