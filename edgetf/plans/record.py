"""`run.json`: the steps of a plan, what became of each, and the answer for each model on each device.

A step's `facts` are digests of all that it depends on, by name. Its key is the digest of these: the same key has the
same result. When a key changes, the names of the facts that differ are the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from edgetf import files
from edgetf.errors import Cause, ExitCode
from edgetf.results import Verdict

# 1: first
RUN_SCHEMA = 1
FILE = "run.json"


class Verb(str, Enum):
    """What a step does: the command of that name."""

    CONVERT = "convert"
    REFERENCE = "reference"
    BENCHMARK = "benchmark"
    TUNE = "tune"
    REPORT = "report"
    BUNDLE = "bundle"


class State(str, Enum):
    """What became of a step. STORED: its result was there already; SKIPPED: it stands on a step that failed;
    NOT_NEEDED: the plan has its answer without it; PENDING: it would run (`--dry-run`)."""

    DONE = "done"
    STORED = "stored"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_NEEDED = "not_needed"
    PENDING = "pending"


class Because(str, Enum):
    """Why a step runs. EARLIER: a step before it runs; LOST: its result is no longer in the store; FAILED: it failed
    the last time; UNSETTLED: its samples or its model are not files whose content can be compared."""

    NEW = "new"
    CHANGED = "changed"
    EARLIER = "earlier"
    LOST = "lost"
    FAILED = "failed"
    FORCED = "forced"
    UNSETTLED = "unsettled"


@dataclass(frozen=True)
class StepRecord:
    """A step: `changed` are the names of the facts that differ from the last run's, `place` is the folder or file of
    its result, `exit_code` that of its error, and `cause` why its device failed. `made_by` is the worker or host that
    made it in this run or the one before. Of a tuning, `why` is what it is for, and `outcome` what it found."""

    verb: Verb
    model: str
    device: str | None
    state: State
    because: Because | None = None
    changed: tuple[str, ...] = ()
    key: str | None = None
    facts: dict[str, str] = field(default_factory=dict)
    place: str | None = None
    seconds: float = 0.0
    exit_code: ExitCode | None = None
    cause: Cause | None = None
    error: str = ""
    hint: str = ""
    made_by: str | None = None
    why: str = ""
    outcome: str = ""

    @property
    def name(self) -> str:
        """Such as "digits: benchmark on pi"."""
        return f"{self.model}: {self.verb.value}{f' on {self.device}' if self.device else ''}"


@dataclass(frozen=True)
class Answer:
    """What to ship of a model on a device: `ran_on` is the member of its class that was measured. `variant` is None if
    nothing passes; then `verdict` says why. `others` has the reasons against the other variants, `warnings` are about
    budgets that nothing can miss. Paths are in the folder of the results, or in the store."""

    model: str
    device: str
    ran_on: str
    variant: str | None
    verdict: Verdict | None
    sentence: str
    bytes: int | None
    sha256: str | None
    file: str | None
    bundle: str | None
    report: str | None
    bench: str
    others: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """A run of a plan. `plan` is the path of its file, if it has one. `earlier` are the last answers for what has none
    in this run: their files are still there."""

    schema: int
    edgetf: str
    created: str
    plan: str | None
    seconds: float
    steps: tuple[StepRecord, ...]
    answers: tuple[Answer, ...]
    earlier: tuple[Answer, ...] = ()

    @property
    def shipped(self) -> tuple[Answer, ...]:
        """The answers whose files are there: those of this run, and the last ones of what has none in it."""
        return (*self.answers, *self.earlier)

    @property
    def targets(self) -> tuple[tuple[str, str], ...]:
        """The models with their devices that the plan has an answer for, or should."""
        return tuple(dict.fromkeys((one.model, one.device) for one in self.steps if one.device is not None))

    @property
    def summary(self) -> str:
        """How many of the targets have a file to ship; empty if there is only one."""
        passed = sum(one.verdict is Verdict.PASS for one in self.answers)
        return f"{passed} of {len(self.targets)} have a file to ship" if len(self.targets) > 1 else ""

    def failure(self, model: str, device: str) -> StepRecord | None:
        """The step that kept a model from having an answer on a device."""
        failed = (one for one in self.steps if one.state is State.FAILED and one.verb is not Verb.TUNE)
        return next((one for one in failed if one.model == model and one.device in (None, device)), None)

    def step(self, verb: Verb, model: str, device: str | None) -> StepRecord | None:
        """The step of this verb, model and device."""
        found = (one for one in self.steps if (one.verb, one.model, one.device) == (verb, model, device))
        return next(found, None)


def read_run(place: Path) -> RunRecord:
    """Read `run.json` at `place` or in that folder. Raises EdgetfError."""
    return files.read_document(files.find_document(place, FILE), RunRecord, RUN_SCHEMA)
