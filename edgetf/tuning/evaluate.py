"""In: a candidate's answers on the samples of the search. Out: a verdict, on no more samples than it takes.

If every output decides between classes, samples come in a random order, and betting stops as soon as there is a
verdict; without one after all samples, they are judged again as a fixed number. Otherwise all samples are judged at
once, as in `edgetf check`. Nothing is proven here: the proof of the winner uses other samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import parity, sequential, verdict
from edgetf.benchmarks.judging.check import Checked, check_one
from edgetf.benchmarks.judging.distinct import find_distinct
from edgetf.benchmarks.judging.ground import Ground, count_rows, figures_of, metrics_of, prepare, with_metrics
from edgetf.benchmarks.judging.labels import largest_decides, reread
from edgetf.benchmarks.judging.loss import loss_of
from edgetf.benchmarks.judging.own_metric import GivenMetric
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.rows import Outputs, together
from edgetf.benchmarks.timing.targets import Target
from edgetf.recipes import Evaluation
from edgetf.results import Parity, Result, Status, Verdict
from edgetf.samples import Array
from edgetf.tuning.running import joined

Rows = NDArray[np.int64]
Answer = Callable[[Rows], Outputs]


@dataclass(frozen=True)
class Criteria:
    """What a variant must keep: budgets, whether the accuracy drop was asked for by its name, and own metrics."""

    budgets: Budgets = Budgets()
    explicit_drop: bool = False
    metrics: tuple[GivenMetric, ...] = ()
    less_is_better: bool = False


class Evaluator:
    """Evaluates candidates against a Reference, whose samples are those of the search.

    With budgets in `ground`, samples come in a random order, and no more are run than it takes.
    """

    def __init__(self, ground: Ground, criteria: Criteria) -> None:
        self._criteria = criteria
        self._kept = _without_limits(criteria.budgets)
        inputs, order = ground.samples.inputs, ground.order
        in_order = inputs if order is None else {name: np.asarray(values)[order] for name, values in inputs.items()}
        self.ground = replace(ground, distinct=find_distinct(in_order))

    @classmethod
    def of(cls, place: Path, targets: Sequence[Target], criteria: Criteria, batch: int = 1) -> Evaluator:
        """For mixtures of `targets`, which take `batch` samples at once, against the Reference at `place`."""
        ground = prepare(targets, place, None, None)
        if criteria.metrics:
            ground = with_metrics(ground, criteria.metrics, criteria.less_is_better)
        elif _stops_early(ground, batch):
            ground = prepare(targets, place, None, _without_limits(criteria.budgets))
        return cls(ground, criteria)

    def __len__(self) -> int:
        return len(self.ground.samples)

    @property
    def classes(self) -> frozenset[str]:
        """The outputs whose largest value decides; none if metrics of the user's own judge."""
        if self._criteria.metrics:
            return frozenset()
        return frozenset(name for name, one in self.ground.read.items() if largest_decides(one))

    def evaluate(self, name: str, scheme: str | None, answer: Answer) -> Evaluation:
        """The verdict on a candidate that returns `answer(rows)` for rows of the samples."""
        begin, n, parts = perf_counter(), len(self), list[Outputs]()
        for first, end in self.ground.pieces():
            rows = np.arange(first, end) if self.ground.order is None else self.ground.order[first:end]
            parts.append(answer(rows))
            parts = [joined(parts)]
            theirs, ours = together(self.ground.outputs, parts[0])
            if end < n and not self._is_decided(scheme, theirs, ours):
                continue
            found = self._judge(name, scheme, theirs, ours, self.ground)
            if found[1].verdict is not Verdict.INCONCLUSIVE:  # as where a class is rare: other samples may decide
                break
        if found[1].verdict is Verdict.INCONCLUSIVE and end == n and self.ground.budgets is not None:
            found = self._judge(name, scheme, theirs, ours, replace(self.ground, budgets=None))
        figures, checked = found
        loss = loss_of(figures)
        return Evaluation(
            verdict=checked.verdict,
            reason=verdict.worst(list(checked.parts.values())).reason,
            n=end,
            of=n,
            kind=loss.kind.value if loss else None,
            value=loss.value if loss else None,
            low=loss.low if loss else None,
            high=loss.high if loss else None,
            seconds=round(perf_counter() - begin, 3),
        )

    def _judge(
        self, name: str, scheme: str | None, theirs: dict[str, Array], ours: dict[str, Array], ground: Ground
    ) -> tuple[Parity, Checked]:
        counted, n = count_rows(ours, ground)
        figures, scores = list(figures_of(theirs, ours, ground)), metrics_of(theirs, ours, ground)
        parity_ = verdict.judge_parity(scheme, counted, figures, self._kept, scores)
        if counted < n:
            parity_ = replace(parity_, n=n, distinct=counted)
        if ground.budgets is not None:
            parity_ = replace(parity_, of=len(self))
        result = Result(name, scheme, "", Status.OK, "", None, None, 1, "", parity=parity_)
        return parity_, check_one(result, self._kept, self._criteria.explicit_drop, compared=True)

    def _is_decided(self, scheme: str | None, theirs: dict[str, Array], ours: dict[str, Array]) -> bool:
        """Whether the evidence so far decides on every output."""
        if self.ground.budgets is None or verdict.is_exact(scheme):
            return False
        read = reread(self.ground.read, self.ground.outputs.values, theirs)
        for name, values in ours.items():
            distinct = None if self.ground.distinct is None else self.ground.distinct.upto(len(values))
            costs = parity.costs(theirs[name], values, read[name], distinct)
            if costs is None:
                return False
            budget = self._kept.max_drop / 100 if costs.labelled else 1 - self._kept.min_agreement
            if sequential.decide(costs.values, costs.bounds, budget) is Verdict.INCONCLUSIVE:
                return False
        return True


def _without_limits(budgets: Budgets) -> Budgets:
    """The budgets of answers: bytes, times and what a delegate takes are judged elsewhere."""
    without = replace(budgets, max_latency_ms=None, max_bytes=None, max_memory_bytes=None)
    return replace(without, min_delegated=None, max_partitions=None)


def _stops_early(ground: Ground, taken: int) -> bool:
    """Whether every output decides once for each sample, so that samples can come in a random order."""
    values = ground.outputs.values
    batch = ground.reference.batch_alone if ground.reference else 1
    if ground.outputs.shapes or any(len(one) != len(ground.samples) for one in values.values()):
        return False
    if len(ground.samples) % batch or batch % taken:  # only complete batches have answers
        return False
    return all(parity.costs(one, one[:1], ground.read[name]) is not None for name, one in values.items())
