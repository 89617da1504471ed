"""The request to the runner (Job) and its result (Measurement), with their JSON.

Frozen dataclasses of plain values, read on the device by this module and on the host by edgetf's own reader.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .answers import line
from .delegates import AUTO, DEFAULT_DELEGATE

# 2: delegate, affinity, nice, sustained_s, energy_s; timing may be null
# 3: inputs and outputs without an axis for samples
# 4: `operations`
# 5: `delegate_options`
# 6: `known_inputs`
# 7: `raw_inputs`
JOB_SCHEMA = 7
# 2: one block of several; delegate, affinity, nice, added_rss_bytes, told, sustained, power, ops
# 3: shapes of outputs whose length differs from sample to sample; the digests of what ran
# 4: `told` is called `summary`; edgetf still reads 3 in stored results
# 5: coverage; times of operations by all runtimes, and what is not known; edgetf still reads 3 and 4
MEASUREMENT_SCHEMA = 5

DELEGATE_PHASE = "delegate"  # of an error: the delegate runs no variant at all on this device
_MOST_SECONDS = 1e7  # four months
_MOST_COUNT = 1 << 31
_LONGEST = 1000  # characters of an error


class JobError(Exception):
    """The job cannot be run as requested; the message is the reason, in one line."""

    is_of_delegate = False

    def __init__(self, message: str) -> None:
        super().__init__(line(message, _LONGEST))


class DelegateError(JobError):
    """The delegate runs no variant at all on this device: it, or what it needs, is missing."""

    is_of_delegate = True


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
class RawArray:
    """Where the values of an array are in a file: from byte `offset`, `dtype` (as numpy writes it), in C order."""

    offset: int
    dtype: str
    shape: list[int]


@dataclass(frozen=True)
class Job:
    """One variant to run. Paths are relative to the folder of `job.json`, or absolute.

    `inputs` maps input names of the signature to `.npy` files with the samples along axis 0. For `unbatched_inputs` one
    sample is the whole input; `unbatched_outputs` have one value an inference (null: those whose axis 0 is no batch).
    `runtime` and `delegate` are names of `delegates`; a delegate may also be a library (see `find_delegate`), whose
    own `delegate_options` are then given to it. `threads` are the interpreter's; `workers` are the processes of
    the pass over all samples, each with one single-threaded interpreter; 0 means one for every core. `affinity` are the
    CPUs that the timed process may use, `nice` is its priority as of nice(1). `known_inputs` has, for files of inputs
    whose digests the caller knows, the SHA-256 and then the state in which it is right, see `state_of`. The files of
    `raw_inputs` are no `.npy` files but have the samples in them, and run only in the known state.

    The job runs one block of timing if there is a plan, with `operations` some runs more in which each operation is
    timed, `sustained_s` seconds of load, `energy_s` seconds of load with the power read meanwhile, and with `outputs`
    all samples.
    """

    model: str
    inputs: dict[str, str]
    signature: str | None = None
    unbatched_inputs: list[str] = field(default_factory=list)
    unbatched_outputs: list[str] | None = None
    runtime: str = AUTO
    delegate: str = DEFAULT_DELEGATE
    delegate_options: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    workers: int = 0
    affinity: list[int] | None = None
    nice: int = 0
    timing: TimingPlan | None = TimingPlan()
    sustained_s: float = 0.0
    energy_s: float = 0.0
    outputs: bool = True
    operations: bool = False
    known_inputs: dict[str, list[Any]] = field(default_factory=dict)
    raw_inputs: dict[str, RawArray] = field(default_factory=dict)
    schema: int = JOB_SCHEMA


@dataclass(frozen=True)
class TimeSummary:
    """The summary of a tool that does not report single times; times in nanoseconds."""

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
    """One operation of the graph, and its time in one inference: the mean of a tool, or the median of the runner.

    `name` is that of the tool's profiler, or of the operation's first output. `delegated` is whether a delegate took
    it (null if unknown). A piece of the graph that a delegate took is timed as a whole: the time of an operation
    inside of it is `estimated`, its share of the piece's time being that in a run on TFLite's own kernels.
    """

    kind: str
    name: str
    mean_ms: float
    share: float
    delegated: bool | None = None
    estimated: bool = False


@dataclass(frozen=True)
class LeftOperations:
    """The operations of one kind that a delegate left to TFLite's own kernels, and their share of an inference's time
    (null if they were not timed)."""

    kind: str
    count: int
    reason: str = ""
    time_share: float | None = None


@dataclass(frozen=True)
class Coverage:
    """What a delegate took of the first graph: of all `operations` those `delegated`, in `partitions` pieces.

    `left` are the others, the most common kind first (empty if their kinds are unknown). `crossing_bytes` go from and
    to the pieces in an inference, without the graph's own inputs and outputs. `accelerator` is the delegate's name
    for messages (empty: none was asked for), `software` whether it is emulated in software, as a GPU may be (null if
    unknown). `source` is how this is known: "nodes" (the interpreter's list) or "log" (what the program printed).
    """

    operations: int
    delegated: int
    partitions: int
    left: list[LeftOperations]
    crossing_bytes: int | None
    accelerator: str
    software: bool | None
    source: str


@dataclass(frozen=True)
class Output:
    """The values of one output: a `.npy` file, float32 (dequantized) or the tensor's type, sample by sample.

    If their shapes differ from sample to sample, values are padded with zeros, and `shapes` is a `.npy` file with
    the shape of each sample's, int64.
    """

    name: str
    file: str
    shapes: str | None = None


@dataclass(frozen=True)
class Pass:
    """The pass over all samples: their number, the number of processes, the duration, and the files of the outputs."""

    n: int
    workers: int
    seconds: float
    outputs: list[Output]


@dataclass(frozen=True)
class Measurement:
    """The result of a job. On failure, `error` has the phase and the reason, and earlier results are kept.

    `threads`, `delegate`, `affinity` and `nice` were asked for; `threads_effective` were running after the first
    inference, and `affinity_effective` and `nice_effective` are what the system granted. `delegate_sha256` is the
    digest of a delegate that is a library (null for others, and if it is unknown). `delegate_partitions` counts
    the pieces of the graph that a delegate such as XNNPACK took (null if the runtime does not report them).
    `arena_bytes` is the memory that a microcontroller needs for the variant; such a measurement has no times and no
    memory of the process, which are those of another machine.
    `baseline_rss_bytes` is the process before the variant was loaded, `added_rss_bytes` what the variant added to it.
    `model_sha256` and, with all samples, `inputs_sha256` by input name are the digests of the files that really ran
    (null if a tool does not report them); for `raw_inputs` that of all their samples, which the caller knew.
    `timings` is an `.npz` with the nanoseconds of single runs, int64 in order:
    `warmup_ns`, `invoke_ns`, and `end_to_end_ns` with the input and output copies; and `invoke_waited_ns` and
    `end_to_end_waited_ns`, how much of these other programs had the CPU (missing if unknown); or `summary` is
    what a tool reports instead. `state_after` is that after the timing. `unknown` has the reasons why facts that only
    inform are missing, by their names here.
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
    delegate: str = DEFAULT_DELEGATE
    delegate_options: dict[str, str] = field(default_factory=dict)
    delegate_sha256: str | None = None
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
    arena_bytes: int | None = None
    timings: str | None = None
    summary: TimeSummary | None = None
    sustained: list[Window] | None = None
    power: Power | None = None
    ops: list[OpTime] | None = None
    coverage: Coverage | None = None
    unknown: dict[str, str] = field(default_factory=dict)
    samples: Pass | None = None
    model_sha256: str | None = None
    inputs_sha256: dict[str, str] | None = None
    error_phase: str | None = None
    error: str | None = None


def state_of(file: str) -> list[int]:
    """What identifies the content of a file: device, inode, size, times of modification and of change."""
    found = Path(file).stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def read_job(path: Path) -> Job:
    """Read `job.json`. Raises JobError for what is not a job of this schema."""
    try:
        return _job_of(json.loads(path.read_text()), path.parent)
    except Exception as error:  # any exception means that it is not a valid job
        raise JobError(f"{path} is not a job for this runner: {str(error) or type(error).__name__}") from error


def _job_of(fields: Any, folder: Path) -> Job:
    if not isinstance(fields, dict) or fields.get("schema") != JOB_SCHEMA:
        found = fields.get("schema") if isinstance(fields, dict) else None
        raise ValueError(f"it has schema {found}, this runner reads {JOB_SCHEMA}")
    timing = fields["timing"]
    fields["timing"] = None if timing is None else TimingPlan(**timing)
    fields["model"] = str(folder / fields["model"])
    fields["inputs"] = {name: str(folder / file) for name, file in fields["inputs"].items()}
    fields["raw_inputs"] = {name: RawArray(**raw) for name, raw in fields["raw_inputs"].items()}
    job = Job(**fields)
    check(job)
    return job


def check(job: Job) -> None:
    """Raise ValueError for values that no job has."""
    plan = job.timing or TimingPlan()
    seconds = [plan.max_warmup_s, plan.min_s, plan.max_s, job.sustained_s, job.energy_s]
    counts = [plan.min_runs, job.threads, job.workers, *(job.affinity or [])]
    if not all(isinstance(one, (int, float)) and 0 <= one <= _MOST_SECONDS for one in seconds):
        raise ValueError("it has times that are none")
    if not all(type(one) is int and 0 <= one <= _MOST_COUNT for one in counts) or type(job.nice) is not int:
        raise ValueError("it has counts that are none")
    unbatched = [*job.unbatched_inputs, *(job.unbatched_outputs or [])]
    options = [*job.delegate_options, *job.delegate_options.values()]
    texts = [job.runtime, job.delegate, job.signature or "", *job.inputs, *unbatched, *options]
    if (
        not all(isinstance(one, str) for one in texts)
        or type(job.outputs) is not bool
        or type(job.operations) is not bool
    ):
        raise ValueError("it has names that are none")
    if not all(known and isinstance(known, list) and isinstance(known[0], str) for known in job.known_inputs.values()):
        raise ValueError("it has digests that are none")
    for name, raw in job.raw_inputs.items():
        if name not in job.inputs or name not in job.known_inputs:
            raise ValueError(f"it has no file or no digest for {name!r}")
        if not all(type(one) is int and one >= 0 for one in (raw.offset, *raw.shape)):
            raise ValueError("it has arrays that are none")


def write_json(path: Path, record: Job | Measurement) -> None:
    """Write a Job or Measurement to a temporary file next to its path, then rename it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(to_json(record))
    beside.replace(path)


def to_json(record: Job | Measurement) -> str:
    """The text of `job.json` or `measurement.json`."""
    return json.dumps(dataclasses.asdict(record), allow_nan=False) + "\n"
