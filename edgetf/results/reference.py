"""`reference.json`: a Reference, TensorFlow's own outputs and latency. Schema history stands above the constant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgetf import files
from edgetf.figures import Latency
from edgetf.results.common import Comparable, LabelsAre, LabelUse, SamplesUsed, Source

# 2: noise, latencies
# 3: outputs of TensorFlow Serving, whose precision is not known
# 4: outputs that are random or depend on their batch, that have no axis for samples, or differ in length; their range;
#    what a source was exported from; what it reaches on the labels
REFERENCE_SCHEMA = 4


@dataclass(frozen=True)
class ReferenceDevice:
    """Where TensorFlow ran: `kind` is "gpu", "cpu" or "serving"; `sentence` describes it for people."""

    kind: str
    name: str
    sentence: str


# share of an output's range up to which TensorFlow's noise is a tolerance: float32 was observed at 1e-6 of it, half
# precision at some thousandths
MOST_NOISE = 0.01


@dataclass(frozen=True)
class Precision:
    """The settings that decide TensorFlow's arithmetic; null if a server does not report them."""

    dtype: str
    tf32: bool | None
    deterministic: bool | None
    onednn: bool | None


@dataclass(frozen=True)
class ArrayFile:
    """One output's values for all samples, sample by sample, in a `.npy` file relative to the document.

    An output that is not `batched` has no axis for samples in the model: it has one row for each inference. If its
    shape differs from sample to sample, values are padded with zeros, and `shapes` is a `.npy` file with the shapes,
    int64 (n, axes). `spread` is the largest less the smallest value of the samples that the noise was measured on.
    """

    name: str
    file: str
    sha256: str
    batched: bool = True
    shapes: str | None = None
    shapes_sha256: str | None = None
    spread: float | None = None


@dataclass(frozen=True)
class Noise:
    """TensorFlow compared with itself: the same model computed in another way, on the first `n` samples.

    `max_abs` is the largest difference by output; `why_not` is the reason if there is none. `counts` is false for what
    is only reported and not part of the floor: TF32, which is another precision.
    """

    way: str
    n: int
    max_abs: dict[str, float]
    counts: bool
    why_not: str = ""


@dataclass(frozen=True)
class LabelScore:
    """What the Reference itself reaches on the labels of one output, and what one answer for all would (`chance`).

    Both are shares of correct answers, from 0 to 1, or for values mean absolute errors in their unit; null if the
    labels are not used, for the `reason`.
    """

    output: str
    use: LabelUse
    reason: str
    reached: float | None
    chance: float | None


@dataclass(frozen=True)
class ReferenceLatency:
    """TensorFlow's latency for `batch` samples at once, compiled by XLA or as it comes."""

    batch: int
    compiled: bool
    latency_ms: Latency


@dataclass(frozen=True)
class Reference:
    """TensorFlow's outputs on the Samples.

    `random_outputs` differ when the same samples are computed twice: nothing can be compared with them. `batch_outputs`
    depend on the other samples of a batch, for which `batch` is the smallest. `batch` is how many it computed at once;
    `latency_ms` is of `batch_alone`: 1, or the model's own batch;
    `latencies` are the other ways. `noise` is how far TensorFlow is from itself. `labels_are` is what the user stated
    about labels that could be classes or values, `labels` the scores on them.
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
    random_outputs: tuple[str, ...] = ()
    batch_outputs: tuple[str, ...] = ()
    labels_are: LabelsAre | None = None
    labels: tuple[LabelScore, ...] = ()

    def comparable(self, output: str) -> Comparable:
        """Whether variants can be compared with this output, or with its `:rows`."""
        name = output.partition(":")[0]
        if name in self.random_outputs:
            return Comparable.RANDOM
        return Comparable.ALONE if name in self.batch_outputs else Comparable.YES

    def spread(self, output: str) -> float | None:
        """The range of an output's values, if it is known."""
        return next((one.spread for one in self.outputs if one.name == output), None)

    def floor(self, output: str) -> float | None:
        """The largest difference of an output from itself, over the ways that count; None if none was measured."""
        known = [noise.max_abs[output] for noise in self.noise if noise.counts and output in noise.max_abs]
        return max(known, default=None)

    def is_noisy(self, output: str) -> bool:
        """Whether the noise floor of an output is more than `MOST_NOISE` of its range: no tolerance could be used."""
        floor, spread = self.floor(output), self.spread(output)
        return floor is not None and spread is not None and floor > MOST_NOISE * spread > 0

    def floor_n(self, output: str) -> int | None:
        """The fewest samples that one of these ways was computed on."""
        known = [noise.n for noise in self.noise if noise.counts and output in noise.max_abs]
        return min(known, default=None)


def read_reference(place: Path) -> Reference:
    """Read `reference.json` at `place` (the file or its folder)."""
    return files.read_document(files.find_document(place, "reference.json"), Reference, REFERENCE_SCHEMA)
