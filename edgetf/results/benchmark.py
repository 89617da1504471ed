"""`benchmark.json`: a Benchmark: what was measured, and how far it is from the Reference."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.figures import Block, Coverage, Energy, Latency, OpTime, Sustained
from edgetf.results.common import Comparable, Failure, LabelsAre, LabelUse, MetricState, SamplesUsed, Source, Status
from edgetf.results.reference import Reference
from edgetf.verdicts import Verdict

# 2: blocks, sustained load, energy, added memory, ops, delegate, warnings
# 3: the reference's noise and latencies, with which outputs are judged; how the run was made
# 4: metrics; references of TensorFlow Serving
# 5: columns of outputs, how labels were used, agreement of positions; outputs that cannot be compared, and their range;
#    the source of each variant, to see whether it has changed since; references of schema 4; classes, distinct samples,
#    metrics of which less is better or that failed; the arena of microcontrollers
# 6: coverage; ops of all devices, with their layers; 5 is still read
BENCHMARK_SCHEMA = 6


@dataclass(frozen=True)
class Agreement:
    """How often the variant decides as the Reference does on `n` samples of `positions` decisions each.

    `same` counts decisions, `share` is of all. The 95 % interval is Wilson's for one decision for each sample, else the
    bootstrap over samples.
    """

    n: int
    same: int
    share: float
    low: float
    high: float
    positions: int = 1


@dataclass(frozen=True)
class ColumnFigures:
    """A group of columns of an output, which may be another quantity than the others: boxes beside scores.

    `axis` is that of the output, samples being axis 0; `spans` are the first and last index of each run of columns.
    `centred_db` with its interval is as in `OutputFigures`, for these columns alone; the intervals of all groups hold
    together with 95 % confidence. `constant`: the variant is the same for every sample, and the Reference is not.
    `max_abs` is the largest error in the group, `max_abs_reference` the largest value there.
    """

    axis: int
    spans: tuple[tuple[int, int], ...]
    centred_db: float | None
    centred_low_db: float | None
    centred_high_db: float | None
    constant: bool
    max_abs: float
    max_abs_reference: float


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy of both on the same labelled samples.

    `drop_points` = 100 * (reference - variant), in percentage points, with its 95 % interval `low` to `high` (Tango)
    and the exact McNemar p-value of "no difference". If samples were run until a decision, the interval holds at any
    time, and there is no p-value.
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
class ClassFigures:
    """One class of an output: the `n` samples that the labels, or without labels the Reference, assign to it.

    `agreement` is with the Reference's decisions on them, `accuracy` is that of both; each has its own interval. If an
    output has a decision for each position, the samples are those where the class occurs.
    """

    label: int
    n: int
    agreement: Agreement
    accuracy: Accuracy | None = None


@dataclass(frozen=True)
class OutputFigures:
    """How far one output is from the Reference, over all samples.

    `sqnr_db` = 10 log10(sum reference^2 / sum error^2). `centred_db` is the same about the mean over the samples of
    each value, so that an offset which all samples share is not a signal (a constant mean would reach 0 dB); verdicts
    use it. `centred_low_db` and `centred_high_db` bound it with 95 % confidence (bootstrap), null if an end is
    infinite. All are null if there is no error at all, or nothing to compare it with. `problems` are reasons to fail
    with any budget, such as NaN; `doubts` are reasons why these samples show nothing. `floor` is how far TensorFlow is
    from itself on this output, on `floor_n` samples (null if that was not measured); `spread` is the range of its
    values there, and `comparable` whether anything can be compared with TensorFlow's answer. `any_time`: the intervals
    hold at any number of samples, and are wider for it. `integer`: its values are integers, which are decisions;
    `constant`: the Reference's values are the same for every sample. `columns` has several groups if the output
    decides between no classes and has such groups. `labels` is what the labels were used for, with the reason if they
    were not. `classes` are those of which most was lost, the worst first; `chance` is the share of samples in the most
    common class, which one answer for all samples would reach. `lost` are classes, or all decisions, that the variant
    has certainly lost, in words; `fading` are those that are in too few samples to be certain.
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
    integer: bool
    constant: bool
    columns: tuple[ColumnFigures, ...]
    labels: LabelUse
    labels_reason: str

    def lowest(self) -> OutputFigures | ColumnFigures:
        """The whole output, or the group of columns with the lowest `centred_db` if that is lower."""
        everything: list[OutputFigures | ColumnFigures] = [self, *self.columns]
        return min(everything, key=lambda one: math.inf if one.centred_db is None else one.centred_db)

    spread: float | None
    comparable: Comparable
    classes: tuple[ClassFigures, ...] = field(default=(), kw_only=True)
    chance: float | None = field(default=None, kw_only=True)
    lost: tuple[str, ...] = field(default=(), kw_only=True)
    fading: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class OutputParity(OutputFigures):
    """The figures of one output, and their verdict with the default budgets."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class MetricFigures:
    """What both sides reach on the same `n` labelled samples by a metric.

    `drop` is what was lost: reference - variant, or variant - reference if `less_is_better`, with its 95 % interval
    `low` to `high` (paired bootstrap). `output` names the output that edgetf itself has compared with the
    labels, in points (of 100); without it, it is the user's function of all outputs, in its own unit. `chance` is what
    the Reference reaches with its outputs for other samples, if that was measured.
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
    less_is_better: bool = field(default=False, kw_only=True)
    chance: float | None = field(default=None, kw_only=True)
    state: MetricState = field(default=MetricState.MEASURED, kw_only=True)


@dataclass(frozen=True)
class MetricParity(MetricFigures):
    """The figures of one metric, and their verdict with the default budgets."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Parity:
    """A Measurement compared with the Reference on `n` samples: the worst verdict, with its reason.

    `metrics` judge instead of the outputs, if there are any. `of` is how many samples there were, if they were run
    until there was a verdict. `distinct` is how many of the `n` are not copies of others, if some are: intervals are
    of these.
    """

    verdict: Verdict
    reason: str
    n: int
    outputs: tuple[OutputParity, ...]
    metrics: tuple[MetricParity, ...] = ()
    of: int | None = None
    distinct: int | None = None

    @property
    def counted(self) -> int:
        """How many samples there are to draw conclusions from."""
        return self.n if self.distinct is None else self.distinct


@dataclass(frozen=True)
class Culprit:
    """The first operation of which a delegate gives another answer than TFLite's own kernels, on the same inputs.

    It is the one at `position` of all `operations` of the first graph, of that `kind` and Keras `layer`; `db` is the
    ratio of signal to noise of its answer, with the graph before it on the delegate too.
    """

    kind: str
    layer: str
    position: int
    operations: int
    db: float


@dataclass(frozen=True)
class Result:
    """One Variant on one Device. For a failed run `error` is the reason, and the figures are those until then.

    `latency_ms` is `invoke` alone, over all `blocks`; `end_to_end_ms` includes copying and converting inputs and
    outputs. `peak_rss_bytes` is the process's, `added_rss_bytes` the part that the variant added; `arena_bytes` is the
    memory on a microcontroller, of which nothing else is measured but parity. `measurement` is the
    folder with all raw data, relative to the document, `path` the place of the variant's file. `emulated`: the times
    are not those of the named hardware. `delegate_sha256` is the digest of a delegate that is a library. `coverage`
    is what the delegate took of the graph (null if unknown), `ops` are the operations by their time, the longest first
    (empty if they were not timed). `culprit` is known if the answers on a delegate fail, and it is to blame.
    """

    variant: str
    scheme: str | None
    device: str
    status: Status
    runtime: str
    bytes: int | None
    sha256: str | None
    threads: int
    delegate: str
    delegate_options: dict[str, str] = field(default_factory=dict)
    delegate_sha256: str | None = None
    affinity: tuple[int, ...] = ()
    nice: int = 0
    threads_effective: int | None = None
    latency_ms: Latency | None = None
    end_to_end_ms: Latency | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_rss_bytes: int | None = None
    added_rss_bytes: int | None = None
    arena_bytes: int | None = None
    blocks: tuple[Block, ...] = ()
    sustained: Sustained | None = None
    energy: Energy | None = None
    ops: tuple[OpTime, ...] = ()
    coverage: Coverage | None = None
    samples_per_second: float | None = None
    stable: bool | None = None
    stable_reason: str = "it was not timed"
    parity: Parity | None = None
    culprit: Culprit | None = None
    measurement: str | None = None
    emulated: bool = False
    error: Failure | None = None
    source: Source | None = None
    path: str | None = None

    @property
    def delegate_with_options(self) -> str:
        """The delegate with its options, which decide on answers and times: "gpu (precision=float32)"."""
        options = ", ".join(f"{name}={value}" for name, value in self.delegate_options.items())
        return f"{self.delegate} ({options})" if options else self.delegate


@dataclass(frozen=True)
class Benchmark:
    """What was measured. `inputs` describes the inputs of the variants, `warnings` what disturbed the times.

    `labels_are` is what the user stated about labels that could be classes or values.
    """

    schema: int
    edgetf: str
    created: str
    machine: dict[str, str]
    inputs: str
    warnings: tuple[str, ...]
    samples: SamplesUsed | None
    reference: Reference | None
    labels_are: LabelsAre | None
    results: tuple[Result, ...]


def find_benchmarks(place: Path) -> tuple[Path, ...]:
    """`place`, or the folders in it with one benchmark each, if it was made on several devices."""
    inside = sorted(path.parent for path in place.glob("*/benchmark.json")) if place.is_dir() else []
    return tuple(inside) if inside and not (place / "benchmark.json").is_file() else (place,)


def read_benchmark(place: Path) -> Benchmark:
    """Read `benchmark.json` at `place` (the file or its folder)."""
    return files.read_document(files.find_document(place, "benchmark.json"), Benchmark, BENCHMARK_SCHEMA, _upgrade)


def _upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """A document of schema 5, which knew nothing of coverage, as one of this schema; any other as it is."""
    return plain | {"schema": BENCHMARK_SCHEMA} if plain.get("schema") == 5 else plain
