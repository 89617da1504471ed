"""The documents that edgetf writes: frozen dataclasses, one per noun, without behaviour beyond reading themselves.

`conversion.json` lists Variants, `reference.json` is a Reference, `benchmark.json` lists what was measured and how
far it is from the Reference. (`job.json` and `measurement.json` belong to `device.runner.job`, which also runs where
edgetf is not installed.) Schema history stands above each constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edgetf import files
from edgetf.figures import Block, Energy, Latency, OpTime, Sustained

# 1: first
CONVERSION_SCHEMA = 1
# 2: noise, latencies
# 3: what TensorFlow Serving said, whose precision is not known
REFERENCE_SCHEMA = 3
# 2: blocks, sustained load, energy, added memory, ops, delegate, warnings
# 3: the reference's noise and latencies, with which outputs are judged; how the run was made
# 4: metrics; references of TensorFlow Serving
BENCHMARK_SCHEMA = 4


class Status(str, Enum):
    OK = "ok"
    FAILED = "failed"


class Verdict(str, Enum):
    """Whether a budget is kept: pass and fail only when the evidence excludes the other."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: `shape` has None for an axis of any length; `dtype` is numpy's name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def describe(self) -> str:
        axes = ", ".join("any" if axis is None else str(axis) for axis in self.shape)
        return f"{self.dtype} [{axes}]"


@dataclass(frozen=True)
class Failure:
    """Why something has no result: `code` for programs, `message` and `hint` for people."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class SamplesUsed:
    source: str
    digest: str
    n: int


@dataclass(frozen=True)
class Source:
    """The SavedModel that something was made from, and the signature of it that was used."""

    path: str
    digest: str
    signature: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


# conversion.json --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """One `.tflite` made by one Scheme, or why there is none. `path` is relative to the document.

    `engine` is "fast" (one float conversion and one calibration for all schemes) or "official" (TensorFlow's
    converter), with `why_official` in words; `weight_sparsity` is the share of zeros in weights of two and more axes,
    `compressed_bytes` the size after DEFLATE; `notes` say what else is to be known, such as faults that were mended.
    """

    scheme: str
    status: Status
    path: str | None
    bytes: int | None
    sha256: str | None
    seconds: float
    ops: dict[str, int]
    weight_sparsity: float | None = None
    compressed_bytes: int | None = None
    engine: str | None = None
    why_official: str | None = None
    notes: tuple[str, ...] = ()
    error: Failure | None = None


@dataclass(frozen=True)
class Calibration:
    """The samples that ranges were taken from: `n` of `samples`, drawn with `seed`."""

    samples: SamplesUsed
    n: int
    seed: int


@dataclass(frozen=True)
class Conversion:
    """What `edgetf convert` made. `shapes` are those that inputs were fixed to; `ranges` is a file beside this one.

    `warnings` are about the samples to calibrate on.
    """

    schema: int
    edgetf: str
    created: str
    source: Source
    shapes: dict[str, tuple[int | None, ...]]
    calibration: Calibration | None
    ranges: str | None
    warnings: tuple[str, ...]
    versions: dict[str, str]
    variants: tuple[Variant, ...]


# reference.json ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReferenceDevice:
    """Where TensorFlow ran: `kind` is "gpu", "cpu" or "serving"; `sentence` says it in plain words."""

    kind: str
    name: str
    sentence: str


@dataclass(frozen=True)
class Precision:
    """The settings that decide TensorFlow's arithmetic; null where a server keeps them to itself."""

    dtype: str
    tf32: bool | None
    deterministic: bool | None
    onednn: bool | None


@dataclass(frozen=True)
class ArrayFile:
    """One output's values for all samples, sample by sample, in a `.npy` file relative to the document."""

    name: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Noise:
    """TensorFlow beside itself: the same model computed in another way, on the first `n` samples.

    `max_abs` is the largest difference by output; `why_not` says why there is none. `counts` is false for what is
    only told and does not make the floor: TF32, which is another precision.
    """

    way: str
    n: int
    max_abs: dict[str, float]
    counts: bool
    why_not: str = ""


@dataclass(frozen=True)
class ReferenceLatency:
    """TensorFlow's latency for `batch` samples at once, compiled by XLA or as it comes."""

    batch: int
    compiled: bool
    latency_ms: Latency


@dataclass(frozen=True)
class Reference:
    """What TensorFlow says on the Samples.

    `batch` is how many it computed at once; `latency_ms` is of `batch_alone`: 1, or the model's own batch;
    `latencies` are the other ways. `noise` is how far TensorFlow is from itself.
    """

    schema: int
    edgetf: str
    created: str
    source: Source
    samples: SamplesUsed
    device: ReferenceDevice
    precision: Precision
    versions: dict[str, str]
    batch: int
    batch_alone: int
    latency_ms: Latency
    latencies: tuple[ReferenceLatency, ...]
    noise: tuple[Noise, ...]
    outputs: tuple[ArrayFile, ...]

    def floor(self, output: str) -> float | None:
        """The largest difference of an output from itself, over the ways that count; None where none was measured."""
        known = [noise.max_abs[output] for noise in self.noise if noise.counts and output in noise.max_abs]
        return max(known, default=None)

    def floor_n(self, output: str) -> int | None:
        """The fewest samples that one of these ways was computed on."""
        known = [noise.n for noise in self.noise if noise.counts and output in noise.max_abs]
        return min(known, default=None)


# benchmark.json ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """On how many of `n` samples the variant's top-1 is the Reference's; 95 % Wilson interval of the share."""

    n: int
    same: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy of both on the same labelled samples.

    `drop_points` = 100 * (reference - variant), in percentage points, with its 95 % interval `low` to `high` (Tango)
    and the exact McNemar p-value of "no difference". Of samples that were run until decided, the interval is one that
    holds at any time, and there is no p-value.
    """

    n: int
    reference: float
    variant: float
    only_reference_right: int
    only_variant_right: int
    drop_points: float
    low: float
    high: float
    mcnemar_p: float | None


@dataclass(frozen=True)
class OutputFigures:
    """How far one output is from the Reference, over all samples.

    `sqnr_db` = 10 log10(sum reference^2 / sum error^2). `centred_db` is the same about the mean over the samples of
    each value, so that an offset which all samples share is no signal (0 dB is what always giving the mean would
    reach); it is what verdicts look at. `centred_low_db` and `centred_high_db` bound it with 95 % confidence
    (bootstrap), null where an end is infinite. All are null where there is no error at all, or nothing to compare it
    with. `problems` are reasons to fail whatever the budget, such as NaN; `doubts` are reasons why these samples show
    nothing. `floor` is how far TensorFlow is from itself on this output, on `floor_n` samples (null where that was not
    measured). `any_time` says that the intervals hold whenever one stops looking, and are wider for it.
    """

    name: str
    max_abs: float
    mean_abs: float
    max_abs_reference: float
    sqnr_db: float | None
    centred_db: float | None
    centred_low_db: float | None
    centred_high_db: float | None
    cosine: float
    agreement: Agreement | None
    accuracy: Accuracy | None
    problems: tuple[str, ...]
    doubts: tuple[str, ...]
    floor: float | None
    floor_n: int | None
    any_time: bool


@dataclass(frozen=True)
class OutputParity(OutputFigures):
    """The figures of one output, and what they mean for the default budgets."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class MetricFigures:
    """What both sides reach on the same `n` labelled samples by a metric of which more is better.

    `drop` = reference - variant, with its 95 % interval `low` to `high` (paired bootstrap). `output` names the one that
    edgetf itself beside the labels has measured, in points (of 100); without it, it is the user's function of all
    outputs, in its own unit.
    """

    name: str
    output: str | None
    n: int
    reference: float
    variant: float
    drop: float
    low: float
    high: float
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class MetricParity(MetricFigures):
    """The figures of one metric, and what they mean for the default budgets."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Parity:
    """A Measurement beside the Reference on `n` samples: the worst verdict, with its reason.

    `metrics` judge in the place of the outputs, where there are any. `of` is how many samples there were, where they
    were run until there was a verdict.
    """

    verdict: Verdict
    reason: str
    n: int
    outputs: tuple[OutputParity, ...]
    metrics: tuple[MetricParity, ...] = ()
    of: int | None = None


@dataclass(frozen=True)
class Result:
    """One Variant on one Device. For a failed run `error` says why, and the figures are what came until then.

    `latency_ms` is `invoke` alone, over all `blocks`; `end_to_end_ms` includes copying and converting inputs and
    outputs. `peak_rss_bytes` is the process's, `added_rss_bytes` the part that the variant added. `measurement` is the
    folder with everything raw, relative to the document. `emulated` says that the times are not those of the
    hardware that is told.
    """

    variant: str
    scheme: str | None
    device: str
    status: Status
    runtime: str
    bytes: int | None
    sha256: str | None
    threads: int
    delegate: str = "xnnpack"
    affinity: tuple[int, ...] = ()
    nice: int = 0
    threads_effective: int | None = None
    latency_ms: Latency | None = None
    end_to_end_ms: Latency | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_rss_bytes: int | None = None
    added_rss_bytes: int | None = None
    blocks: tuple[Block, ...] = ()
    sustained: Sustained | None = None
    energy: Energy | None = None
    ops: tuple[OpTime, ...] = ()
    samples_per_second: float | None = None
    stable: bool | None = None
    stable_reason: str = "it was not timed"
    parity: Parity | None = None
    measurement: str | None = None
    emulated: bool = False
    error: Failure | None = None


@dataclass(frozen=True)
class Benchmark:
    """What was measured. `inputs` says what the variants were fed with, `warnings` what disturbed the times."""

    schema: int
    edgetf: str
    created: str
    machine: dict[str, str]
    inputs: str
    warnings: tuple[str, ...]
    samples: SamplesUsed | None
    reference: Reference | None
    results: tuple[Result, ...]


def read_conversion(place: Path) -> Conversion:
    """Read `conversion.json` at `place` (the file or its folder)."""
    return files.read_document(files.find_document(place, "conversion.json"), Conversion, CONVERSION_SCHEMA)


def read_reference(place: Path) -> Reference:
    """Read `reference.json` at `place` (the file or its folder)."""
    return files.read_document(files.find_document(place, "reference.json"), Reference, REFERENCE_SCHEMA)


def read_benchmark(place: Path) -> Benchmark:
    """Read `benchmark.json` at `place` (the file or its folder)."""
    return files.read_document(files.find_document(place, "benchmark.json"), Benchmark, BENCHMARK_SCHEMA)
