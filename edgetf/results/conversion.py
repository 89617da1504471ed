"""`conversion.json`: a Conversion, which lists Variants. Schema history stands above the constant."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.pixels import PixelMap
from edgetf.results.common import Failure, SamplesUsed, Source, Status

# 1: first
# 2: which inputs have an axis for samples; what a source was exported from; layers; schemes that were left out;
#    the runtime that ran a variant; repairs, and where each operation of a mixture is from, which older documents of
#    this schema lack
# 3: what a variant does with pixels; edgetf still reads 2
CONVERSION_SCHEMA = 3


class RepairKind(str, Enum):
    """What may be changed in a quantized variant so that it loses less."""

    ROUNDING = "rounding"  # constants are rounded for the inputs of their layers, not to the nearest step
    BIAS = "bias"  # biases compensate the mean error of each channel, operation after operation
    RANGES = "ranges"  # ranges are chosen by their result, not by the smallest and largest values
    EQUALIZATION = "equalization"  # channels between two layers are brought to one size, and weights make up for it


class RepairState(str, Enum):
    """The result of a repair; a refused one did not improve the outputs on the held-out samples."""

    KEPT = "kept"
    REFUSED = "refused"
    NOT_TRIED = "not-tried"
    FAILED = "failed"


@dataclass(frozen=True)
class Repair:
    """A repair, judged on `n` held-out inferences.

    `before_db` and `after_db` are the signal-to-quantization-noise ratios of the worst output without it and with it,
    within -200 and 200; null if they were not measured. `reason` is why it was not tried, or how it failed; `detail`
    is what was kept, if there were several.
    """

    kind: RepairKind
    state: RepairState
    before_db: float | None
    after_db: float | None
    n: int
    seconds: float
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class OperationFrom:
    """An operation of a mixture: the Keras layer it belongs to, its kind, its output's tensor, and the variant that it
    is from."""

    layer: str
    kind: str
    tensor: str
    variant: str


@dataclass(frozen=True)
class Variant:
    """One `.tflite` made by one Scheme, or why there is none. `path` is relative to the document.

    `engine` is "fast" (one float conversion and one calibration for all schemes) or "official" (TensorFlow's
    converter), with `why_official` in words; `weight_sparsity` is the share of zeros in weights of two and more axes,
    `compressed_bytes` the size after DEFLATE (of more than 8 MB an estimate); `ran_in` is the runtime, with its
    version, that ran it after conversion; `notes` are other facts, such as faults that were repaired; `repairs` are
    those that were tried, kept or not.
    `error` has the reason for "left-out", too. `operations` of a mixture (`edgetf tune`) are the sources of its
    operations. `pixels` has the maps of the inputs that take uint8 pixels, by input name: the file applies them.
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
    ran_in: str | None = None
    notes: tuple[str, ...] = ()
    error: Failure | None = None
    repairs: tuple[Repair, ...] = ()
    operations: tuple[OperationFrom, ...] = ()
    pixels: dict[str, PixelMap] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """The samples that ranges were taken from: `n` of `samples`, drawn with `seed`."""

    samples: SamplesUsed
    n: int
    seed: int


@dataclass(frozen=True)
class Conversion:
    """What `edgetf convert` made. `shapes` are those that inputs were fixed to; `ranges` is a file beside this one.

    `warnings` are about the samples to calibrate on. `layers` are Keras's names for scopes of the graph with other
    names, and for its outputs.
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
    layers: dict[str, str] = field(default_factory=dict)


def read_conversion(place: Path) -> Conversion:
    """Read `conversion.json` at `place` (the file or its folder)."""
    return files.read_document(files.find_document(place, "conversion.json"), Conversion, CONVERSION_SCHEMA, _upgrade)


def _upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """A document of schema 2 in this one: it lacks the maps of pixels, which are then none."""
    return {**plain, "schema": CONVERSION_SCHEMA} if plain.get("schema") == 2 else plain
