"""The table of Schemes: how a Variant stores and computes numbers.

It is only data: `edgetf.conversion` turns a row into settings of the converter. A new combination of these columns is a
new row; a new dtype also needs `conversion/engine.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgetf.errors import EdgetfError, nearest

_ENDS = {"int8": ("int8", "uint8"), "int16": ("int16",)}  # by activations: what io may be in addition to float32


@dataclass(frozen=True)
class Scheme:
    """How numbers are stored and computed.

    `weights` and `activations` name dtypes; `io` is the dtype of the model's inputs and outputs. `min_sqnr_db` is the
    minimum signal-to-quantization-noise ratio of outputs without classes; None if the numbers themselves must be
    reproduced (see `benchmarks.judging.verdict`). `on_request` means that it is made only if asked for by name.
    `unpacks` means that the interpreter converts the weights to float32 when it loads them: arithmetic and memory are
    those of float32. `untuned` is the reason why `tune` does not mix it with others; `tail` is the number of a model's
    last operations that `tune` may take from it, 0 for all. `golden_share` is the tolerance of a bundle's golden
    outputs, as a share of their spread: that of float arithmetic. None where outputs have steps: 1 %, or two steps.
    """

    name: str
    weights: str
    activations: str
    io: str
    min_sqnr_db: float | None
    summary: str
    on_request: bool = False
    unpacks: bool = False
    untuned: str = ""
    tail: int = 0
    golden_share: float | None = None

    def __post_init__(self) -> None:
        if self.needs_samples and self.weights != "int8":
            raise ValueError(f"{self.name}: no converter combines {self.activations} activations with {self.weights}")
        quantized = self.needs_samples or self.unpacks  # the converter itself refuses other floats with another io
        if quantized and self.io not in ("float32", *_ENDS.get(self.activations, ())):
            ends = f"inputs and outputs of {self.io}"
            raise ValueError(f"{self.name}: no converter combines {self.activations} activations with {ends}")

    @property
    def needs_samples(self) -> bool:
        """Whether activations are quantized: then their ranges must be calibrated on real samples."""
        return self.activations != "float32"


_TABLE = (
    Scheme(
        *("float32", "float32", "float32", "float32", None),
        "no quantization; the yardstick for the others",
        golden_share=1e-4,
    ),
    Scheme(
        *("float16", "float16", "float32", "float32", 40.0),
        "half the size; computes in float32 on a CPU",
        unpacks=True,
        golden_share=1e-3,
    ),
    Scheme(
        *("weights", "int8", "float32", "float32", 20.0),
        "int8 weights, everything computed in float32",
        unpacks=True,
        golden_share=1e-3,
    ),
    Scheme("dynamic", "int8", "float32", "float32", 20.0, "int8 weights, ranges of activations found at run time"),
    Scheme("int8", "int8", "int8", "float32", 20.0, "int8 throughout, float inputs and outputs; needs samples"),
    Scheme(
        *("int8-io", "int8", "int8", "int8", 20.0),
        "int8 throughout, inputs and outputs included; needs samples",
        untuned="its operations are those of int8",
    ),
    Scheme(
        *("uint8-io", "int8", "int8", "uint8", 20.0),
        "int8-io, but in and out are uint8; needs samples; not made unless asked for",
        on_request=True,  # a benchmark of everything need not run the operations of int8 three times
        untuned="its operations are those of int8",
    ),
    Scheme(
        *("int16x8", "int8", "int16", "float32", 30.0),
        "int8 weights, int16 activations; needs samples",
        tail=4,  # it has no fast kernels on a CPU: in the middle of a graph it costs 50 times the time of int8
    ),
)

SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in _TABLE}
DEFAULT_SCHEMES: dict[str, Scheme] = {name: scheme for name, scheme in SCHEMES.items() if not scheme.on_request}


def find_scheme(name: str) -> Scheme:
    """The Scheme called `name`. Raises EdgetfError with the nearest known name."""
    if name not in SCHEMES:
        raise EdgetfError(f"unknown scheme {name!r}", nearest(name, SCHEMES))
    return SCHEMES[name]
