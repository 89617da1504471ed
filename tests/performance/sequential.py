"""The savings and the error rate of a sequential test: `python -m tests.performance.sequential [REPEATS]`.

Simulated variants on a set of 10,000 samples, looked at as `edgetf benchmark --sequential` does. Clearly good and
clearly broken ones: how many samples were needed (the median and the most of REPEATS / 5 each). At the budget's edge (a
true drop of exactly one point): how often REPEATS (by default 1,000) of them are called good or bad, either of which is
wrong.
"""

from __future__ import annotations

import sys

import numpy as np
from rich.console import Console
from rich.table import Table

from edgetf.benchmarks.judging.sequential import Bounds, Floats, decide, looks
from edgetf.results import Verdict

N, BUDGET, RANDOM = 10_000, 0.01, np.random.default_rng(1)
PAIRED = Bounds(-1.0, 1.0)


def draw(lost: float, won: float) -> Floats:
    """Costs of N samples: 1 with the chance `lost`, -1 with the chance `won`."""
    u = RANDOM.random(N)
    return np.where(u < lost, 1.0, np.where(u < lost + won, -1.0, 0.0))


def stop(costs: Floats) -> tuple[int, Verdict]:
    """After how many samples a verdict was there, and which."""
    verdict = Verdict.INCONCLUSIVE
    for count in looks(N):
        verdict = decide(costs[:count], PAIRED, BUDGET)
        if verdict is not Verdict.INCONCLUSIVE:
            return count, verdict
    return N, verdict


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    table = Table(title=f"One point of accuracy as the budget, {N:,} samples")
    for column in ("variant", "lost / won", "right verdicts", "samples, median", "most"):
        table.add_column(column)
    cases = [
        ("the same", 0.0, 0.0, Verdict.PASS),
        ("good, 0.4 % of answers change", 0.002, 0.002, Verdict.PASS),
        ("good, 1 % of answers change", 0.005, 0.005, Verdict.PASS),
        ("broken by 3 points", 0.035, 0.005, Verdict.FAIL),
        ("broken by 5 points", 0.06, 0.01, Verdict.FAIL),
        ("broken by 20 points", 0.22, 0.02, Verdict.FAIL),
    ]
    for name, lost, won, expected in cases:
        runs = [stop(draw(lost, won)) for _ in range(repeats // 5)]
        right = np.mean([verdict is expected for _, verdict in runs])
        counts = [count for count, _ in runs]
        table.add_row(name, f"{lost:.1%} / {won:.1%}", f"{right:.1%}", f"{np.median(counts):.0f}", f"{max(counts)}")
    console = Console(width=110)
    console.print(table)
    for lost, won in ((0.01, 0.0), (0.015, 0.005), (0.06, 0.05)):
        wrong = np.mean([stop(draw(lost, won))[1] is not Verdict.INCONCLUSIVE for _ in range(repeats)])
        console.print(
            f"at the edge, {lost:.1%} lost and {won:.1%} won: {wrong:.1%} of {repeats:,} got a verdict (at most 5 %)"
        )


if __name__ == "__main__":
    main()
