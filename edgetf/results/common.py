"""What documents have in common: states, tensors, sources, samples, failures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """`left-out` is a scheme that cannot be made of the model and was not asked for by its name."""

    OK = "ok"
    FAILED = "failed"
    LEFT_OUT = "left-out"


class LabelsAre(str, Enum):
    """What the user states about labels that could be both."""

    CLASS = "class"
    VALUE = "value"


class LabelUse(str, Enum):
    """What the labels of an output are used for."""

    CLASS = "class"  # one class for each sample: accuracy
    POSITIONS = "positions"  # a class for each position: the share of correct ones
    VALUE = "value"  # the correct numbers: an error
    UNFIT = "unfit"  # classes or values on which the Reference is not better than one answer for all samples
    IGNORED = "ignored"  # they cannot be its labels, or are ambiguous
    NONE = "none"  # there are none, or they are those of another output


class MetricState(str, Enum):
    """Whether a metric returned numbers: if it failed, its figures are 0, and its doubts are the reason."""

    MEASURED = "measured"
    FAILED = "failed"


class Comparable(str, Enum):
    """Whether a variant can be compared with an answer of TensorFlow.

    If it depends on the other samples of a batch, it was computed one sample at a time, as in variants, and it can.
    """

    YES = "yes"
    ALONE = "alone"
    RANDOM = "random"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: `shape` has None for an axis of any length; `dtype` is numpy's name.

    `batched` is whether axis 0 is that of samples, as the samples have shown: without it, one sample is the whole
    input. None if there were no samples.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    batched: bool | None = None

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
    """Which samples; `allow_nan` is whether their inputs may contain NaN, because the model imputes them.

    `inputs_digest` is without the labels; older documents do not have it.
    """

    source: str
    digest: str
    n: int
    allow_nan: bool = False
    inputs_digest: str | None = None


@dataclass(frozen=True)
class Origin:
    """The Keras file or SavedModel folder that the user gave, by its absolute path.

    `digest` shows whether it has changed since: for a Keras file it is of its configuration and weights, for a folder
    of its bytes. `notes` are what the export of a Keras file changed.
    """

    path: str
    digest: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """The SavedModel that something was made from, and the signature of it that was used.

    `digest` is of what the signature computes: two exports of the same weights have the same.
    """

    path: str
    digest: str
    signature: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    origin: Origin | None = None
