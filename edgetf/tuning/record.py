"""In: the results of a search and of its proof. Out: `tuning.json`, with the answer and what else could help."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from edgetf import __version__, files
from edgetf.benchmarks.judging.own_metric import metric_name
from edgetf.conversion.layers import layer_of
from edgetf.conversion.splice import Operation
from edgetf.recipes import TUNING_SCHEMA, Ending, Evaluation, FaultFound, Limits, Loss, Stand, Tried, Tuning
from edgetf.results import Conversion, SamplesUsed, Verdict
from edgetf.tuning.candidates import Candidate
from edgetf.tuning.options import TuneOptions
from edgetf.tuning.proof import Proven
from edgetf.tuning.ranking import Ranking, worst
from edgetf.tuning.running import Score, to_db

_WORST = 12  # layers that are listed
_CALIBRATED = 100  # samples; more hardly change ranges


@dataclass
class Entry:
    """A candidate and what is known about it so far."""

    candidate: Candidate
    content: bytes
    score: Score
    latency_ms: float | None = None
    stand: Stand = Stand.LEFT
    reason: str = ""
    evaluation: Evaluation | None = None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def record(self) -> Tried:
        parts = dict(Counter(self.candidate.choice).most_common())
        plain = self.candidate.plain
        return Tried(
            name=self.candidate.name,
            plain=plain,
            why=self.candidate.why,
            parts=parts if plain is None else {plain: len(self.candidate.choice)},
            bytes=len(self.content),
            sha256=self.sha256,
            predicted_db=_db(self.candidate.predicted_db),
            measured_db=None if self.score.problem else _db(self.score.db),
            latency_ms=self.latency_ms,
            partitions=self.score.partitions,
            operations=self.score.operations,
            delegated=self.score.delegated,
            stand=self.stand,
            reason=self.reason,
            evaluation=self.evaluation,
        )


@dataclass(frozen=True)
class Search:
    """A finished search: what it was asked, on which samples, and what it found. `source` is the source of the samples
    of the search: a part of them may lie in a folder that is removed."""

    options: TuneOptions
    device: str
    conversion: Conversion
    operations: Sequence[Operation]
    ranked_on: SamplesUsed
    searched_on: SamplesUsed
    source: str
    ranking: Ranking
    entries: Sequence[Entry]
    winner: Entry | None
    left_out: Mapping[str, str]
    warnings: Sequence[str] = ()


def to_document(search: Search, proven: Proven, seconds: dict[str, float]) -> Tuning:
    """The document of a search and its proof; `seconds` by step."""
    options, winner, criteria = search.options, search.winner, search.options.criteria
    judged = proven.winner if winner is not None else None
    verdict = judged.verdict if judged else None
    ending = _ending(search, verdict)
    return Tuning(
        schema=TUNING_SCHEMA,
        edgetf=__version__,
        created=files.now(),
        ending=ending,
        aim=options.aim,
        limits=Limits(
            max_drop=criteria.budgets.max_drop,
            explicit_drop=criteria.explicit_drop,
            metrics=tuple(metric_name(metric) for metric in criteria.metrics),
            max_metric_drop=criteria.budgets.max_metric_drop,
            max_bytes=options.max_bytes,
            max_latency_ms=options.max_latency_ms,
        ),
        device=search.device,
        runtime=str(options.target) if options.target else None,
        ranked_on=search.ranked_on,
        searched_on=replace(search.searched_on, source=search.source),
        proven_on=proven.document.samples or search.searched_on,
        winner=winner.candidate.name if winner else None,
        verdict=verdict,
        reason=judged.reason if judged else _why_no_winner(search),
        plain=None if ending in (Ending.TUNED, Ending.PLAIN) else proven.plain,
        candidates=tuple(entry.record() for entry in search.entries),
        left_out=dict(search.left_out),
        kept=options.keep,
        faults=tuple(
            FaultFound(one.file, one.kind, _db(one.db), _db(one.rest_db), _db(one.rounding_db))
            for one in search.ranking.faults
        ),
        losses=_losses(search),
        advice=_advice(search, ending, proven.undecided),
        warnings=tuple(search.warnings),
        evaluations=sum(entry.evaluation is not None for entry in search.entries),
        seconds=seconds,
    )


def _ending(search: Search, verdict: Verdict | None) -> Ending:
    if search.winner is None:
        return Ending.UNDECIDED if _open(search) else Ending.NOTHING_PASSES
    if verdict is Verdict.PASS:
        return Ending.PLAIN if search.winner.candidate.plain is not None else Ending.TUNED
    return Ending.NOTHING_PASSES if verdict is Verdict.FAIL else Ending.UNDECIDED


def _open(search: Search) -> list[Entry]:
    return [entry for entry in search.entries if entry.stand is Stand.OPEN]


def _evaluated(search: Search) -> bool:
    return any(entry.evaluation is not None for entry in search.entries)


def _why_no_winner(search: Search) -> str:
    if undecided := _open(search):
        nearest = max(undecided, key=lambda entry: entry.score.db)
        return f"{nearest.candidate.name}: {nearest.reason}"
    if _evaluated(search):
        return "no candidate keeps the budget on the samples of the search"
    beyond = [entry for entry in search.entries if entry.stand is Stand.BEYOND]
    if not beyond:
        return "no candidate runs"
    smallest = min(beyond, key=lambda entry: len(entry.content))
    return f"every candidate is beyond a limit; the smallest has {len(smallest.content):,} bytes"


def _advice(search: Search, ending: Ending, undecided: Collection[str]) -> tuple[str, ...]:
    """What else could help, if nothing was found. `undecided` are the parts of the proof without a verdict."""
    if ending in (Ending.TUNED, Ending.PLAIN):
        return ()
    if search.winner is not None and set(undecided) == {"latency"}:
        return ("a device that is not emulated, and not used by others meanwhile",)
    if ending is Ending.UNDECIDED:
        return ("a reference of more samples: edgetf reference MODEL --samples MORE",)
    if not _evaluated(search):
        return ("wider limits, or a smaller model",)
    found = ["training for int8: edgetf models train --qat", "a wider budget"]
    used = search.conversion.calibration.n if search.conversion.calibration else 0
    if used < _CALIBRATED:
        found.append(f"more samples to calibrate on: there were {used}")
    return tuple(found)


def _losses(search: Search) -> tuple[Loss, ...]:
    """The SQNR with only one kind, or one layer, from a variant, the worst first."""
    ranking = search.ranking
    kinds = [
        Loss(name, kind, None, _db(to_db(worst(noise))))
        for name, found in ranking.kinds.items()
        for kind, noise in found.items()
    ]
    layers = []
    for name, noises in ranking.noise.items():
        for k, (unit, noise) in enumerate(zip(ranking.units, noises, strict=True)):
            if noise and len(unit) == 1:
                operation = search.operations[unit[0]]
                layer = layer_of(operation.tensor, search.conversion.layers)
                if others := len(ranking.together(name, [k])) - 1:
                    layer += f" and {others} equalized with it"
                layers.append(Loss(name, operation.kind, layer, _db(to_db(worst(noise)))))
    by_db = [sorted(part, key=lambda loss: loss.db) for part in (kinds, layers)]
    return (*by_db[0], *by_db[1][:_WORST])


def _db(value: float) -> float:
    return round(value, 2)
