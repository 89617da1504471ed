"""What the runner is asked to do (Job) and what it brings back (Measurement), with their JSON.

Frozen dataclasses of plain values, read on the device by this module and on the host by edgetf's own reader.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

# 2: delegate, affinity, nice, sustained_s, energy_s; timing may be null
JOB_SCHEMA = 2
# 2: one block of several; delegate, affinity, nice, added_rss_bytes, told, sustained, power, ops
MEASUREMENT_SCHEMA = 2


@dataclass(frozen=True)
class TimingPlan:
    """How long to measure one block. Warm-up ends when two windows of runs agree, or at `max_warmup_s`.

    Then come at least `min_runs` runs and at least `min_s` seconds, but no more than `max_s` seconds.
    """

    max_warmup_s: float = 2.0
    min_runs: int = 10
    min_s: float = 0.3
    max_s: float = 6.0


@dataclass(frozen=True)
class Job:
    """One variant to run. Paths are relative to the folder of `job.json`, or absolute.

    `inputs` maps input names of the signature to `.npy` files with the samples along axis 0. `runtime` is "litert",
    "tflite-runtime" or "auto"; `delegate` is "xnnpack", "none" or "gpu". `threads` are the interpreter's; `workers`
    are the processes of the pass over all samples, each with one single-threaded interpreter; 0 means one for every
    core. `affinity` are the CPUs that the timed process may use, `nice` is its priority as of nice(1).

    What is done: one block of timing where there is a plan, `sustained_s` seconds of load, `energy_s` seconds of load
    with the power read meanwhile, and with `outputs` all samples.
    """

    model: str
    inputs: dict[str, str]
    signature: str | None = None
    runtime: str = "auto"
    delegate: str = "xnnpack"
    threads: int = 1
    workers: int = 0
    affinity: list[int] | None = None
    nice: int = 0
    timing: TimingPlan | None = TimingPlan()
    sustained_s: float = 0.0
    energy_s: float = 0.0
    outputs: bool = True
    schema: int = JOB_SCHEMA


@dataclass(frozen=True)
class Told:
    """What a tool said of its runs where it keeps them to itself; times in nanoseconds."""

    n: int
    mean_ns: float
    stdev_ns: float
    min_ns: float
    max_ns: float
    median_ns: float | None = None


@dataclass(frozen=True)
class Window:
    """About a second of sustained load: when it ended, its runs, their median, and the machine's state then."""

    at_s: float
    runs: int
    median_ns: float
    state: dict[str, str]


@dataclass(frozen=True)
class Power:
    """Watts, read one after another from `source` while nothing ran and while the variant did (`runs` in `seconds`)."""

    source: str
    idle_w: list[float]
    active_w: list[float]
    runs: int
    seconds: float


@dataclass(frozen=True)
class OpTime:
    """One op of the graph, as the tool's profiler names it, and its mean time in one inference."""

    kind: str
    name: str
    mean_ms: float
    share: float


@dataclass(frozen=True)
class Output:
    """Where one output's values lie: a `.npy` file, float32 (dequantized) or the tensor's type, sample by sample."""

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

    `threads`, `delegate`, `affinity` and `nice` were asked for; `threads_effective` were running after the first
    inference, and `affinity_effective` and `nice_effective` are what the system granted. `delegate_partitions` counts
    the pieces of the graph that a delegate such as XNNPACK took (null where the runtime does not tell).
    `baseline_rss_bytes` is the process before the variant was loaded, `added_rss_bytes` what the variant added to it.
    `timings` is an `.npz` with the nanoseconds of single runs, int64 in order: `warmup_ns`, `invoke_ns`, and
    `end_to_end_ns` with the input and output copies; or `told` sums them up. `state_after` is that after the timing.
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
    delegate: str = "xnnpack"
    affinity: list[int] | None = None
    nice: int = 0
    threads_effective: int | None = None
    affinity_effective: list[int] | None = None
    nice_effective: int | None = None
    delegate_partitions: int | None = None
    load_ns: int | None = None
    first_ns: int | None = None
    peak_rss_bytes: int | None = None
    baseline_rss_bytes: int | None = None
    added_rss_bytes: int | None = None
    timings: str | None = None
    told: Told | None = None
    sustained: list[Window] | None = None
    power: Power | None = None
    ops: list[OpTime] | None = None
    samples: Pass | None = None
    error_phase: str | None = None
    error: str | None = None


def read_job(path: Path) -> Job:
    """Read `job.json`. Raises OSError, ValueError, KeyError or TypeError for what is not a job of this schema."""
    fields = json.loads(path.read_text())
    if fields["schema"] != JOB_SCHEMA:
        raise ValueError(f"it has schema {fields['schema']}, this runner reads {JOB_SCHEMA}")
    fields["timing"] = None if fields["timing"] is None else TimingPlan(**fields["timing"])
    fields["model"] = str(path.parent / fields["model"])
    fields["inputs"] = {name: str(path.parent / file) for name, file in fields["inputs"].items()}
    return Job(**fields)


def write_json(path: Path, record: Job | Measurement) -> None:
    """Write a Job or Measurement beside its place, then rename it there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(to_json(record))
    beside.replace(path)


def to_json(record: Job | Measurement) -> str:
    """The text of `job.json` or `measurement.json`."""
    return json.dumps(dataclasses.asdict(record), allow_nan=False) + "\n"
