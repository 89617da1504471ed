"""How a reference is made: where TensorFlow runs, and the other options."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edgetf.results import LabelsAre

FOLDER = "reference"  # of the outputs
CLAIMS = (FOLDER, "reference.json")  # what is written


class Place(str, Enum):
    """Where TensorFlow is to run."""

    AUTO = "auto"
    GPU = "gpu"
    CPU = "cpu"


@dataclass(frozen=True)
class Hosts:
    """The workers of a scheduler that compute instead of this process, and the folder of the certificates for it.

    Those whose outputs differ are refused, or, if they may be `mixed`, their difference is part of the noise."""

    scheduler: str
    certificates: str | None = None
    mixed: bool = False


@dataclass(frozen=True)
class ReferenceOptions:
    """`serving` is the address of a TensorFlow Serving that computes instead of `on`; `allow_nan` is for
    samples with NaN, which the model imputes; `trust` lets a Keras file contain code, and a SavedModel reach outside of
    its graph; `labels_are` is for labels that could be classes or values."""

    on: Place = Place.AUTO
    serving: str | None = None
    signature: str | None = None
    allow_nan: bool = False
    force: bool = False
    trust: bool = False
    labels_are: LabelsAre | None = None
    hosts: Hosts | None = None
