"""How often a tuning is wrong: `python -m tests.performance.tuning`.

Every candidate loses exactly the budget (a true drop of two points), so that any file that is called good is called so
by luck. 1,000 tunings as `edgetf tune` does them, of ten candidates each: bisection with a sequential verdict on half
of the samples, and the proof of the winner on the other half. Beside it the same without a proof, as if the search's
own verdict counted. Prints both error rates; the first is to be at most 5 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.ground import Ground, random_order
from edgetf.benchmarks.judging.labels import interpret
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.rows import Outputs
from edgetf.figures import Latency
from edgetf.results import (
    REFERENCE_SCHEMA,
    Precision,
    Reference,
    ReferenceDevice,
    SamplesUsed,
    Source,
    Verdict,
)
from edgetf.samples import make_samples
from edgetf.tuning.evaluate import Answer, Criteria, Evaluator, Rows
from edgetf.tuning.halves import halves
from edgetf.tuning.options import EVALUATIONS
from edgetf.tuning.search import bisect

N, CLASSES, CANDIDATES, TUNINGS = 2_000, 5, 10, 1_000
BUDGETS = Budgets(max_drop=2.0)
LOST, WON = 0.025, 0.005  # shares of answers: a drop of exactly the budget
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Tally:
    """Of so many tunings, how many called a file good: with the proof, and by the search alone."""

    tunings: int
    proven: int
    found: int
    evaluations: int


def simulate(tunings: int, seed: int = 0, lost: float = LOST, won: float = WON, n: int = N) -> Tally:
    """Tune so often among candidates that lose `lost` and win `won` of the answers."""
    random = np.random.default_rng(seed)
    with patch.object(statistics, "_RESAMPLES", 20):  # of the SQNR's interval, which judges nothing here
        found = [_tune(random, (lost, won), n) for _ in range(tunings)]
    proven, by_search, evaluations = (sum(column) for column in zip(*found, strict=True))
    return Tally(tunings, proven, by_search, evaluations)


def _tune(random: np.random.Generator, rates: tuple[float, float], n: int) -> tuple[int, int, int]:
    """One tuning: whether a winner was proven, whether the search had one, and its evaluations."""
    truth = random.integers(0, CLASSES, n)
    right = random.random(n) < 0.9
    theirs = np.where(right, truth, (truth + 1) % CLASSES)
    variants = [_changed(random, theirs, truth, *rates) for _ in range(CANDIDATES)]
    search, proof = (np.asarray(rows) for rows in halves(make_samples("s", {"x": np.arange(n)}, None)))
    evaluator = Evaluator(_ground(theirs[search], truth[search], sequential=True), Criteria(BUDGETS))
    counted: list[int] = []

    def evaluate(number: int) -> Verdict:
        counted.append(number)
        return evaluator.evaluate("v", "int8", _answer(variants[number][search])).verdict

    winner = bisect(CANDIDATES, evaluate, EVALUATIONS)
    if winner is None:
        return 0, 0, len(counted)
    last = Evaluator(_ground(theirs[proof], truth[proof], sequential=False), Criteria(BUDGETS))
    verdict = last.evaluate("v", "int8", _answer(variants[winner][proof])).verdict
    return int(verdict is Verdict.PASS), 1, len(counted)


def _answer(chosen: Labels) -> Answer:
    def answer(rows: Rows) -> Outputs:
        return _outputs(chosen[rows])

    return answer


def _changed(random: np.random.Generator, theirs: Labels, truth: Labels, lost: float, won: float) -> Labels:
    """Decisions of a variant: as many right ones lost and wrong ones won, of all, as are asked for in the mean."""
    right = theirs == truth
    u = random.random(len(theirs))
    now_wrong, now_right = right & (u < lost / right.mean()), ~right & (u < won / (1 - right.mean()))
    return np.where(now_wrong, (truth + 2) % CLASSES, np.where(now_right, truth, theirs))


def _outputs(decisions: Labels) -> Outputs:
    return Outputs({"y": np.eye(CLASSES, dtype=np.float32)[decisions]})


def _ground(theirs: Labels, truth: Labels, sequential: bool) -> Ground:
    n = len(theirs)
    samples = make_samples("simulated", {"x": np.arange(n)}, truth)
    outputs = _outputs(theirs)
    read = interpret(outputs.values, truth)
    ground = Ground(samples, False, _reference(samples.used()), outputs, read)
    if not sequential:
        return ground
    order = random_order(n)
    read = {name: one.shuffled(order) for name, one in read.items()}
    samples = replace(samples, labels=truth[order])
    return replace(ground, samples=samples, outputs=outputs.take(order), read=read, order=order, budgets=BUDGETS)


def _reference(used: SamplesUsed) -> Reference:
    latency = Latency(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 2)
    return Reference(
        schema=REFERENCE_SCHEMA,
        edgetf="",
        created="",
        source=Source("", "", "", (), ()),
        samples=used,
        device=ReferenceDevice("cpu", "", ""),
        precision=Precision("float32", None, None, None),
        versions={},
        batch=1,
        batch_alone=1,
        latency_ms=latency,
        latencies=(),
        noise=(),
        outputs=(),
    )


def main() -> None:
    begin = perf_counter()
    tally = simulate(TUNINGS)
    table = Table(title=f"{tally.tunings:,} tunings of {CANDIDATES} candidates at the budget, {N:,} samples")
    for column in ("what counts", "called good", "error rate"):
        table.add_column(column)
    for what, count in (("the proof", tally.proven), ("the search's own verdict", tally.found)):
        table.add_row(what, f"{count}", f"{count / tally.tunings:.1%}")
    console = Console(width=110)
    console.print(table)
    console.print(f"evaluations: {tally.evaluations / tally.tunings:.1f} in the mean; {perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
