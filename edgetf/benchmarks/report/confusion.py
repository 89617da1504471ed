"""The decisions of the Reference that a variant changes, and to which: a matrix for few classes, a list for many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.report.evidence import Pair

MOST_CLASSES = 20  # maximum number of classes for a matrix
MOST_SWAPS = 10


@dataclass(frozen=True)
class Swap:
    """On `n` samples, Reference and variant decide for different classes; if known, how often each is right."""

    reference: int
    variant: int
    n: int
    reference_right: int | None
    variant_right: int | None


@dataclass(frozen=True)
class Confusion:
    """The `differ` of `n` samples on which the decisions of one output differ.

    `classes` are the affected ones, for a matrix; empty if the output has too many. `swaps` are sorted by frequency,
    and `more` of them are left out. With labels, `reference_right` and so on count the samples that differ.
    """

    variant: str
    output: str
    n: int
    differ: int
    classes: tuple[int, ...]
    swaps: tuple[Swap, ...]
    more: int
    reference_right: int | None
    variant_right: int | None

    def count(self, reference: int, variant: int) -> int:
        return next((s.n for s in self.swaps if (s.reference, s.variant) == (reference, variant)), 0)

    def shade(self, count: int) -> int:
        """0 for none to 4 for the most."""
        return int(np.ceil(4 * count / self.swaps[0].n)) if count else 0


def confuse(pairs: Sequence[Pair]) -> list[Confusion]:
    """The confusion of each output that decides between classes."""
    found = []
    for pair in pairs:
        decided = pair.decisions()
        if decided is not None:
            classes = 1 + max(int(side.max()) for side in decided)
            columns = pair.variant.shape[1] if pair.variant.ndim > 1 and not pair.figures.integer else classes
            names = pair.result.variant, pair.figures.name
            found.append(count_swaps(*names, *decided, classes=max(columns, 2), truth=pair.truth))
    return found


def count_swaps(
    variant: str,
    output: str,
    theirs: NDArray[np.int64],
    ours: NDArray[np.int64],
    *,
    classes: int,
    truth: NDArray[np.int64] | None,
) -> Confusion:
    """Count where decisions (n,) differ: `theirs` of the Reference, `ours` of the variant, between so many classes."""
    rows = np.flatnonzero(theirs != ours)
    pairs = list(zip(theirs[rows].tolist(), ours[rows].tolist(), strict=True))
    counted = sorted(Counter(pairs).items(), key=lambda item: (-item[1], item[0]))
    right: tuple[Counter[tuple[int, int]], ...] | None = None
    if truth is not None:
        joined = list(zip(pairs, truth[rows].tolist(), strict=True))
        right = tuple(Counter(pair for pair, true in joined if true == pair[side]) for side in (0, 1))
    swaps = [
        Swap(*pair, n, right[0][pair] if right else None, right[1][pair] if right else None)
        for pair, n in counted[: None if classes <= MOST_CLASSES else MOST_SWAPS]
    ]
    involved = sorted({k for pair in pairs for k in pair}) if classes <= MOST_CLASSES else []
    return Confusion(
        variant=variant,
        output=output,
        n=len(theirs),
        differ=len(rows),
        classes=tuple(involved),
        swaps=tuple(swaps),
        more=len(counted) - len(swaps),
        reference_right=None if truth is None else int(np.sum(theirs[rows] == truth[rows])),
        variant_right=None if truth is None else int(np.sum(ours[rows] == truth[rows])),
    )
