"""How often sessions of one file are called different: `python -m tests.performance.sessions [REPEATS] [BENCH ...]`.

Simulated pairs of sessions of five blocks each: the medians of a session have an error in common, and each block has
one of its own. Prints the share of pairs of equal files that are called different at 5 %, and the share of files 10 %
apart that is found: by the blocks of two sessions alone (Welch's t-test, which was the rule before), and as `edgetf
history compare` does. With at least four BENCH, folders of `edgetf benchmark` of one file that were measured one after
another: the share of all their pairs that each rule calls different, which should be 5 %.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import variance

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

from edgetf.benchmarks.history.sessions import ASSUMED, Session, Side, compare_sides, spread_of
from edgetf.results import read_benchmark

Floats = NDArray[np.float64]
ALPHA, BLOCKS = 0.05, 5
APART = 1.10
# deviations between sessions and of blocks, the sessions of each commit, and those of the old file before
CASES = [
    (0.0, 0.01, 1, 0),
    (ASSUMED / 2, 0.01, 1, 0),
    (ASSUMED, 0.01, 1, 0),
    (ASSUMED, 0.01, 1, 10),
    (ASSUMED, 0.01, 3, 0),
    (ASSUMED, 0.04, 1, 0),
    (2 * ASSUMED, 0.01, 1, 0),
    (2 * ASSUMED, 0.01, 1, 10),
    (2 * ASSUMED, 0.01, 3, 30),
]


def draw(deviation: float, noise: float, sessions: int, random: np.random.Generator) -> Floats:
    """The medians of blocks, of shape (sessions, BLOCKS)."""
    common = random.normal(0.0, deviation, (sessions, 1))
    return np.asarray(np.exp(common + random.normal(0.0, noise, (sessions, BLOCKS))))


def by_blocks(old: Sequence[Floats], new: Sequence[Floats], before: Sequence[Floats]) -> bool:
    """Whether the last sessions differ, by their blocks alone."""
    return float(stats.ttest_ind(np.log(old[-1]), np.log(new[-1]), equal_var=False).pvalue) < ALPHA


def by_sessions(old: Sequence[Floats], new: Sequence[Floats], before: Sequence[Floats]) -> bool:
    """Whether the commits differ, as `edgetf history compare` finds it."""
    named = {"old": old, "new": new, "before": before}
    file = {"old": "a", "new": "b", "before": "a"}
    known = [Session(name, file[name], float(np.median(one))) for name, found in named.items() for one in found]
    one, other = (_side(named[name]) for name in ("old", "new"))
    return compare_sides(one, other, spread_of(known, ("old", "new")), ALPHA).p < ALPHA


def _side(sessions: Sequence[Floats]) -> Side:
    last = sessions[-1]
    error2 = math.pi / 2 * variance(np.log(last).tolist()) / len(last)
    return Side([float(np.median(one)) for one in sessions], error2, len(last))


Rule = Callable[[Sequence[Floats], Sequence[Floats], Sequence[Floats]], bool]
RULES: dict[str, Rule] = {"by blocks": by_blocks, "by sessions": by_sessions}


def simulate(case: tuple[float, float, int, int], repeats: int) -> list[float]:
    """For each rule the share of equal files called different, and of different ones found."""
    deviation, noise, sessions, before = case
    shares = []
    for rule in RULES.values():
        for ratio in (1.0, APART):
            random = np.random.default_rng(1)
            found = 0
            for _ in range(repeats):
                old, new, earlier = (draw(deviation, noise, n, random) for n in (sessions, sessions, before))
                found += rule(list(old), list(ratio * new), list(earlier))
            shares.append(found / repeats)
    return shares


def compare_measured(sessions: Sequence[Floats]) -> dict[str, float]:
    """For each rule the share of pairs of sessions of one file that it calls different, by the others before."""
    pairs = list(combinations(range(len(sessions)), 2))
    shares = {name: _share(rule, sessions, pairs, True) for name, rule in RULES.items()}
    return shares | {"by sessions, none before": _share(by_sessions, sessions, pairs, False)}


def _share(rule: Rule, sessions: Sequence[Floats], pairs: Sequence[tuple[int, int]], others: bool) -> float:
    """The share of pairs that are called different, with all other sessions before them if `others`."""
    called = 0
    for a, b in pairs:
        before = [one for k, one in enumerate(sessions) if k not in (a, b)] if others else []
        called += rule([sessions[a]], [sessions[b]], before)
    return called / len(pairs)


def blocks_of(bench: Path) -> Floats:
    """The medians of the blocks of the only variant in the folder of a benchmark."""
    [result] = read_benchmark(bench).results
    return np.array([block.median_ms for block in result.blocks])


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    table = Table(title=f"{repeats:,} pairs of sessions, equal or {APART - 1:.0%} apart: the share called different")
    columns = ["between sessions", "blocks", "sessions of each", "before"]
    for column in columns + [f"{rule}, {files}" for rule in RULES for files in ("equal", "apart")]:
        table.add_column(column)
    for case in CASES:
        deviation, noise, sessions, before = case
        shares = (f"{share:.1%}" for share in simulate(case, repeats))
        table.add_row(f"{deviation:.1%}", f"{noise:.0%}", str(sessions), str(before), *shares)
    console = Console(width=150)
    console.print(table)
    if benches := sys.argv[2:]:
        measured = compare_measured([blocks_of(Path(one)) for one in benches])
        console.print("; ".join(f"{name}: {share:.1%} of the pairs" for name, share in measured.items()))


if __name__ == "__main__":
    main()
