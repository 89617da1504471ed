"""`tuning.json`: what `edgetf tune` tried, what it found about each mixture, and what was proven in the end.

Frozen dataclasses without behaviour beyond reading themselves, as in `results`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.results import SamplesUsed, Verdict

# 1: first
# 2: what XNNPACK takes of each candidate; edgetf still reads 1
TUNING_SCHEMA = 2
TUNED = "tuned"  # the name of the variant, instead of a scheme's


class Aim(str, Enum):
    """What tuning minimizes."""

    SIZE = "size"
    LATENCY = "latency"


class Ending(str, Enum):
    """How a tuning ended. TUNED: a mixture is proven; PLAIN: one of the given variants is, and no mixture is better;
    NOTHING_PASSES; UNDECIDED: more samples would decide."""

    TUNED = "tuned"
    PLAIN = "plain"
    NOTHING_PASSES = "nothing_passes"
    UNDECIDED = "undecided"


class Stand(str, Enum):
    """Where a candidate stands. CHOSEN is the winner of the search; PASSES, FAILS and OPEN were evaluated; USELESS is
    neither smaller nor faster than another that is nearer to float32; BEYOND a limit of bytes or milliseconds; REFUSED
    by the runtime or the interpreter; LEFT was not evaluated, because a better one passes or a nearer one fails."""

    CHOSEN = "chosen"
    PASSES = "passes"
    FAILS = "fails"
    OPEN = "open"
    USELESS = "useless"
    BEYOND = "beyond"
    REFUSED = "refused"
    LEFT = "left"


@dataclass(frozen=True)
class Evaluation:
    """A candidate on the samples of the search: `n` of `of` were run. `value` with its interval is the loss, the
    agreement or the SQNR (`kind`, as in `judging.loss`)."""

    verdict: Verdict
    reason: str
    n: int
    of: int
    kind: str | None
    value: float | None
    low: float | None
    high: float | None
    seconds: float


@dataclass(frozen=True)
class Tried:
    """A candidate. `plain` is the variant that it is all from, if there is one; `parts` counts operations by variant;
    `predicted_db` and `measured_db` are the SQNR on calibration samples; `why` is its purpose, `reason` the reason for
    its `stand`. Where it was searched, XNNPACK took `delegated` of its `operations` in `partitions` pieces (null:
    unknown)."""

    name: str
    plain: str | None
    why: str
    parts: dict[str, int]
    bytes: int
    sha256: str | None
    predicted_db: float | None
    measured_db: float | None
    latency_ms: float | None
    partitions: int | None
    stand: Stand
    reason: str
    evaluation: Evaluation | None = None
    operations: int | None = None
    delegated: int | None = None


@dataclass(frozen=True)
class FaultFound:
    """A kind of operation that a converter or a kernel computes wrongly in a variant."""

    variant: str
    kind: str
    db: float
    rest_db: float
    rounding_db: float


@dataclass(frozen=True)
class Loss:
    """The SQNR of the model if only this layer or kind is from a variant."""

    variant: str
    kind: str
    layer: str | None
    db: float


@dataclass(frozen=True)
class Limits:
    """What the winner may cost: the options of the command. `explicit_drop` is whether the accuracy drop was asked for
    by its name, so that nothing else replaces it."""

    max_drop: float
    explicit_drop: bool
    metrics: tuple[str, ...]
    max_metric_drop: float | None
    max_bytes: int | None
    max_latency_ms: float | None


@dataclass(frozen=True)
class Tuning:
    """What `edgetf tune` did. `left_out` has variants that could not take part, with the reason; `kept` the layers that
    stayed in float; `searched_on` and `proven_on` the samples, which have none in common; `winner` the candidate that
    was to be proven; `verdict` and `reason` the result. `plain` is the smallest variant that passes, if no winner
    does. `losses` are by kind and by layer, the worst first; `seconds` by step."""

    schema: int
    edgetf: str
    created: str
    ending: Ending
    aim: Aim
    limits: Limits
    device: str
    runtime: str | None
    ranked_on: SamplesUsed
    searched_on: SamplesUsed
    proven_on: SamplesUsed
    winner: str | None
    verdict: Verdict | None
    reason: str
    plain: str | None
    candidates: tuple[Tried, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    faults: tuple[FaultFound, ...] = ()
    losses: tuple[Loss, ...] = ()
    advice: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    evaluations: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def candidate(self, name: str | None) -> Tried | None:
        """The candidate of that name."""
        return next((one for one in self.candidates if one.name == name), None)


def read_tuning(place: Path) -> Tuning:
    """Read `tuning.json` at `place` (the file or its folder)."""
    return files.read_document(files.find_document(place, "tuning.json"), Tuning, TUNING_SCHEMA, _upgraded)


def _upgraded(plain: dict[str, Any]) -> dict[str, Any]:
    """A document of schema 1, which lacks what XNNPACK takes, as one of this schema; any other as it is."""
    return plain | {"schema": TUNING_SCHEMA} if plain.get("schema") == 1 else plain
