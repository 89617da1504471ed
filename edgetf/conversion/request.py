"""What a command asks of the process that converts, and the words of its answers.

The command imports nothing else of it: what converts takes longer to import than a command takes for a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edgetf.conversion.ranges import RangeChoice
from edgetf.pixels import PixelMap
from edgetf.schemes import Scheme

TRIAL = ".trial"  # the files for trial runs, in the output folder


class Engine(str, Enum):
    """Which way a variant was made."""

    FAST = "fast"
    OFFICIAL = "official"


@dataclass(frozen=True)
class Request:
    """A request to a worker: convert `model` by `schemes` and write `SCHEME.tflite` files to `out`.

    A Keras file is first exported to `out/saved_model`. Of the source `samples`, `calibration` rows are used; `ranges`
    is a `ranges.json` that replaces them; `like` is a source to compare the samples with. `trust` allows a Keras file
    with code, and a SavedModel with effects outside of its graph. With `allow_nan` samples may contain NaN. `pixels`
    maps the pixels of inputs, by their names ("": the only one). The schemes in `crashed` are converted the official
    way.
    """

    model: str
    out: str
    schemes: tuple[str, ...]
    signature: str | None
    shapes: dict[str, tuple[int, ...]]
    samples: str | None
    like: str | None
    calibration: int
    choice: RangeChoice
    ranges: str | None
    select_tf_ops: bool
    trust: bool
    runtime: str | None
    allow_nan: bool
    keep_float: tuple[str, ...]
    pixels: dict[str, PixelMap]
    crashed: tuple[str, ...]


def is_learned(scheme: Scheme) -> bool:
    """Whether `scheme` can be made of a model that was trained for int8."""
    return scheme.activations == "int8"
