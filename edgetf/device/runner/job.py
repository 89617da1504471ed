"""What the runner is asked to do (Job) and what it brings back (Measurement), with their JSON.

Frozen dataclasses of plain values, read on the device by this module and on the host by edgetf's own reader.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

# 1: first
JOB_SCHEMA = 1
# 1: first
MEASUREMENT_SCHEMA = 1


@dataclass(frozen=True)
class TimingPlan:
    """How long to measure. Warm-up ends when two windows of runs agree, or at `max_warmup_s`.

    Then come at least `min_runs` runs and at least `min_s` seconds, but no more than `max_s` seconds.
    """

    max_warmup_s: float = 2.0
    min_runs: int = 50
    min_s: float = 1.0
    max_s: float = 30.0


@dataclass(frozen=True)
class Job:
    """One variant to run. Paths are relative to the folder of `job.json`, or absolute.

    `inputs` maps input names of the signature to `.npy` files with the samples along axis 0. `runtime` is "litert",
    "tflite-runtime" or "auto". `threads` are the interpreter's; `workers` are the processes of the pass over
    all samples, each with one single-threaded interpreter; 0 means one for every core. Without `outputs` only the timing is done.
    """

    model: str
    inputs: dict[str, str]
    signature: str | None = None
    runtime: str = "auto"
    threads: int = 1
    workers: int = 0
    outputs: bool = True
    timing: TimingPlan = TimingPlan()
    schema: int = JOB_SCHEMA


@dataclass(frozen=True)
class Output:
    """Where one output's values lie: a `.npy` file, float32 (dequantized) or the tensor's own type, sample by sample."""

    name: str
    file: str


@dataclass(frozen=True)
class Pass:
    """The pass over all samples: how many, in how many processes, how long, and where the outputs lie."""

    n: int
    workers: int
    seconds: float
    outputs: list[Output]


@dataclass(frozen=True)
class Measurement:
    """What came back. On failure `error` says at which phase and why; what was measured until then is kept.

    `threads` were asked for, `threads_effective` were running after the first inference. `delegate_partitions` counts
    the pieces of the graph that a delegate such as XNNPACK took (null where the runtime does not tell).
    `baseline_rss_bytes` is the process before the variant was loaded. `timings` is an `.npz` with the nanoseconds of
    single runs, int64 in order: `warmup_ns`, `invoke_ns`, and `end_to_end_ns` with the input and output copies.
    """

    schema: int
    runtime: str
    runtime_version: str
    python: str
    numpy: str
    machine: dict[str, str]
    state_before: dict[str, str]
    state_after: dict[str, str]
    threads: int
    threads_effective: int | None = None
    delegate_partitions: int | None = None
    load_ns: int | None = None
    first_ns: int | None = None
    peak_rss_bytes: int | None = None
    baseline_rss_bytes: int | None = None
    timings: str | None = None
    samples: Pass | None = None
    error_phase: str | None = None
    error: str | None = None


def read_job(path: Path) -> Job:
    """Read `job.json`. Raises OSError, ValueError, KeyError or TypeError for what is not a job of this schema."""
    fields = json.loads(path.read_text())
    if fields["schema"] != JOB_SCHEMA:
        raise ValueError(f"it has schema {fields['schema']}, this runner reads {JOB_SCHEMA}")
    fields["timing"] = TimingPlan(**fields["timing"])
    fields["model"] = str(path.parent / fields["model"])
    fields["inputs"] = {name: str(path.parent / file) for name, file in fields["inputs"].items()}
    return Job(**fields)


def write_json(path: Path, record: Job | Measurement) -> None:
    """Write a Job or Measurement beside its place, then rename it there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(to_json(record))
    os.replace(beside, path)


def to_json(record: Job | Measurement) -> str:
    """The text of `job.json` or `measurement.json`."""
    return json.dumps(dataclasses.asdict(record), allow_nan=False) + "\n"
