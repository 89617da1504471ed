"""When a benchmark ends, and how often it is wrong: `python -m tests.performance.turns [REPEATS]`.

Simulated variants under three kinds of noise, as `edgetf benchmark` sees them: normal, normal with blocks that another
program makes slower by a third, and normal around a machine that drifts. Prints, for the rule of now and for the one
before it (all variants take turns until each interval is within 2.5 %; disjoint intervals of 95 % are an order): the
turns of five variants, the share of equal pairs that are called different, and that of different ones found to be so.
Then budgets: variants exactly at the budget, how many of which get a verdict (each of which is wrong), and clear ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edgetf.benchmarks.timing.times import ALPHA, is_precise, reach_of
from edgetf.benchmarks.timing.turns import find_undecided, is_faster, looks_of
from edgetf.defaults import BLOCKS, PATIENCE

Floats = NDArray[np.float64]
LOOKS = looks_of(BLOCKS, BLOCKS * PATIENCE)
MOST = LOOKS[-1]
SPEEDS = {
    "all equal": (1.0, 1.0, 1.0, 1.0, 1.0),
    "two are equal": (3.0, 3.0, 2.0, 1.2, 1.0),
    "8 % apart": (1.0, 1.08, 1.17, 1.26, 1.36),
    "clear": (5.0, 4.0, 3.0, 2.0, 1.0),
}


def draw(speeds: tuple[float, ...], noise: str, sigma: float, random: np.random.Generator) -> Floats:
    """The medians of blocks, of shape (variants, MOST)."""
    shape = len(speeds), MOST
    logs = random.normal(0.0, sigma, shape)
    if noise == "interrupted":
        logs += np.log(1.33) * (random.random(shape) < 0.15)
    if noise == "drifting":  # what all variants share, and grows
        logs += np.cumsum(random.normal(0.0, 2 * sigma, MOST))
    return np.asarray(np.exp(logs) * np.asarray(speeds)[:, np.newaxis])


def now(blocks: Floats) -> list[list[float]]:
    """What each variant has measured at the end of a run."""
    due = list(range(len(blocks)))
    taken = [0] * len(blocks)
    for look in LOOKS:
        for k in due:
            taken[k] = look
        due = (
            [due[k] for k in find_undecided([blocks[k, :look].tolist() for k in due], len(LOOKS), None)] if due else []
        )
    return [row[:count].tolist() for row, count in zip(blocks, taken, strict=True)]


def before(blocks: Floats) -> list[list[float]]:
    """The same by the rule before this one."""
    count = next((n for n in range(BLOCKS, MOST) if all(is_precise(row[:n]) for row in blocks)), MOST)
    return [row[:count].tolist() for row in blocks]


def are_disjoint(one: list[float], other: list[float]) -> bool:
    """The order before this one: whether `one` is faster."""
    return float(np.median(one) + reach_of(one)) < float(np.median(other) - reach_of(other))


def judge_budget(blocks: Floats) -> tuple[int, int]:
    """The turns that a variant took for a budget of 1, and -1 if it is within it, 1 if beyond, 0 if not decided."""
    for look in LOOKS:
        taken = blocks[:look].tolist()
        if not find_undecided([taken], len(LOOKS), 1.0):
            centre, reach = float(np.median(taken)), reach_of(taken, ALPHA / len(LOOKS))
            return look, -1 if centre + reach <= 1.0 else 1 if centre - reach > 1.0 else 0
    return MOST, 0


Rule = tuple[Callable[[Floats], list[list[float]]], Callable[[list[float], list[float]], bool]]
RULES: dict[str, Rule] = {"before": (before, are_disjoint), "now": (now, is_faster)}


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    console = Console(width=120)
    table = Table(title=f"Five variants, {repeats:,} runs: {5 * BLOCKS} to {5 * MOST} turns; each pair counts")
    for column in ("noise", "variants", "rule", "turns", "equal, called different", "different, found", "wrong order"):
        table.add_column(column)
    for noise, sigma in (("normal", 0.01), ("normal", 0.04), ("interrupted", 0.02), ("drifting", 0.02)):
        for name, speeds in SPEEDS.items():
            for rule in RULES:
                table.add_row(f"{noise}, {sigma:.0%}", name, rule, *of_rule(rule, speeds, noise, sigma, repeats))
    console.print(table)
    for noise, sigma in (("normal", 0.04), ("interrupted", 0.02)):
        for speed in (1.0, 0.97, 0.9, 1.2):
            random = np.random.default_rng(2)
            # the true median of disturbed blocks is that of many
            centre = float(np.median([draw((1.0,), noise, sigma, random) for _ in range(2000)]))
            runs = [judge_budget(draw((speed / centre,), noise, sigma, random)[0]) for _ in range(repeats)]
            turns, sides = zip(*runs, strict=True)
            shares = ", ".join(f"{name} {np.mean([side == k for side in sides]):.1%}" for name, k in SIDES.items())
            console.print(f"{noise}, {sigma:.0%}, at {speed:.0%} of the budget: {np.mean(turns):.1f} turns; {shares}")


SIDES = {"within it": -1, "beyond it": 1, "not decided": 0}


def of_rule(rule: str, speeds: tuple[float, ...], noise: str, sigma: float, repeats: int) -> tuple[str, ...]:
    """The cells of one row of the table."""
    run, faster = RULES[rule]
    random = np.random.default_rng(1)
    turns, equal, different, wrong = [], [], [], []
    for _ in range(repeats):
        taken = run(draw(speeds, noise, sigma, random))
        turns.append(sum(map(len, taken)))
        for one, other in combinations(range(len(speeds)), 2):
            below, above = faster(taken[one], taken[other]), faster(taken[other], taken[one])
            if speeds[one] == speeds[other]:
                equal.append(below or above)
            else:
                different.append(below or above)
                wrong.append(below if speeds[one] > speeds[other] else above)
    shares = (f"{np.mean(found):.1%}" if found else "" for found in (equal, different, wrong))
    return (f"{np.mean(turns):.1f}", *shares)


if __name__ == "__main__":
    main()
