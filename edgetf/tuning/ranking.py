"""The cost of each operation: it alone is taken from a quantized file, all others from float32.

The damage of an operation is the noise at the model's outputs when it alone is quantized, on a few samples without
labels (an island). Noise of islands adds, so that the SQNR of any mixture is predicted. Kinds of operations come first:
a kind that is far worse than the rest together, and than rounding alone, is a fault of a converter or of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgetf.conversion.skeleton import BASE
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.tuning.running import HOPELESS, NOTHING, Score, Scorer, to_db

MANY = 300  # operations; with more, those of one kind are ranked together
_MOST_UNITS = 24  # of such a graph: the worst kinds are halved until there are so many
_FAR = 10.0  # times the noise of the rest together, or of rounding alone
_HARMLESS_DB = 30.0  # above it, a kind is not a fault
Unit = tuple[int, ...]  # operations that always come from the same file
Noise = Mapping[str, float]  # by output
OnDone = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Fault:
    """A kind of operation that is wrong in a file: its SQNR alone, that of all other kinds together, and the SQNR that
    rounding its inputs and outputs would have."""

    file: str
    kind: str
    db: float
    rest_db: float
    rounding_db: float


@dataclass(frozen=True)
class Ranking:
    """`units` with, for each file except BASE, the noise of each; `kinds` has it by kind, `faults` the faulty kinds.

    `bound` are the numbers of units that come from a file together or not at all, because it has equalized them; their
    noise is that of the first of them.
    """

    units: tuple[Unit, ...]
    noise: Mapping[str, tuple[Noise, ...]]
    kinds: Mapping[str, Mapping[str, Noise]]
    faults: tuple[Fault, ...]
    bound: Mapping[str, tuple[frozenset[int], ...]] = field(default_factory=dict)

    def together(self, file: str, units: Iterable[int]) -> frozenset[int]:
        """The numbers of these units, and of those that are bound to them in a file."""
        found = frozenset(units)
        return found.union(*(group for group in self.bound.get(file, ()) if group & found))

    def predict(self, files: Sequence[str]) -> dict[str, float]:
        """The noise by output if unit k comes from `files[k]`: noises add."""
        return added(self.noise[name][k] for k, name in enumerate(files) if name != BASE)

    def worst_first(self, file: str) -> list[int]:
        """The numbers of the units, those with the most noise in `file` first."""
        return sorted(range(len(self.units)), key=lambda k: -worst(self.noise[file][k]))


def rank(scorer: Scorer, files: Sequence[str], on_done: OnDone = lambda what, done, of: None) -> Ranking:
    """Rank the operations in each of `files`, which do not include BASE."""
    splicer = scorer.splicer
    kinds = {name: _by_kind(splicer, name) for name in files}
    flat = [(name, kind, operations) for name in files for kind, operations in kinds[name].items()]
    scores = scorer.score(
        [island(splicer, name, operations) for name, _, operations in flat],
        lambda done, of: on_done("kinds of operations", done, of),
    )
    by_kind: dict[str, dict[str, Noise]] = {name: {} for name in files}
    for (name, kind, _), score in zip(flat, scores, strict=True):
        by_kind[name][kind] = _noise(score)
    units = _units(scorer, files, kinds, by_kind)
    bound = {name: _bound(splicer.groups[name], units) for name in files}
    wanted = {
        (name, k): tuple(operation for one in sorted(group) for operation in units[one])
        for name in files
        for k, group in _islands(bound[name], len(units))
    }
    asked = [key for key, operations in wanted.items() if _differs(splicer, key[0], operations)]
    alone = scorer.score(
        [island(splicer, name, wanted[name, k]) for name, k in asked],
        lambda done, of: on_done("operations", done, of),
    )
    found = dict(zip(asked, map(_noise, alone), strict=True))
    noise = {name: tuple(found.get((name, k), {}) for k in range(len(units))) for name in files}
    faults = [fault for name in files for fault in _faults(scorer, name, kinds[name], by_kind)]
    return Ranking(units, noise, by_kind, tuple(faults), bound)


def island(splicer: Splicer, name: str, operations: Iterable[int]) -> Mixture:
    """The mixture in which only these operations are from a file, and all others from BASE."""
    chosen = set(operations)
    return Mixture(tuple(name if k in chosen else BASE for k in range(len(splicer.operations))))


def added(noises: Iterable[Noise]) -> dict[str, float]:
    """The sum of noises, by output."""
    total: dict[str, float] = {}
    for noise in noises:
        for output, value in noise.items():
            total[output] = total.get(output, 0.0) + value
    return total


def worst(noise: Noise) -> float:
    """The noise of the worst output."""
    return max(noise.values(), default=NOTHING)


def _noise(score: Score) -> Noise:
    return {"": HOPELESS} if score.problem else score.noise


def _by_kind(splicer: Splicer, name: str) -> dict[str, Unit]:
    """The operations of each kind that differ between a file and BASE; those equalized together are of one kind."""
    kinds = [operation.kind for operation in splicer.operations]
    for group in splicer.groups[name]:
        together = " + ".join(sorted({splicer.operations[k].kind for k in group}))
        for k in group:
            kinds[k] = together
    found: dict[str, list[int]] = {}
    for k, kind in enumerate(kinds):
        if splicer.differs(name, k):
            found.setdefault(kind, []).append(k)
    return {kind: tuple(operations) for kind, operations in found.items()}


def _bound(groups: Iterable[frozenset[int]], units: Sequence[Unit]) -> tuple[frozenset[int], ...]:
    """The numbers of the units that hold operations of one group, and of those that share units with them."""
    found: list[frozenset[int]] = []
    for group in groups:
        numbers = frozenset(k for k, unit in enumerate(units) if group.intersection(unit))
        touched = [one for one in found if one & numbers]
        found = [one for one in found if one not in touched]
        found.append(numbers.union(*touched))
    return tuple(found)


def _islands(bound: Iterable[frozenset[int]], count: int) -> list[tuple[int, frozenset[int]]]:
    """The numbers of units that are scored together, with the first of them."""
    groups = {min(group): group for group in bound}
    others = frozenset[int]().union(*groups.values()) - groups.keys()
    return [(k, groups.get(k, frozenset({k}))) for k in range(count) if k not in others]


def _differs(splicer: Splicer, name: str, unit: Unit) -> bool:
    return any(splicer.differs(name, k) for k in unit)


def _units(
    scorer: Scorer,
    files: Sequence[str],
    kinds: Mapping[str, Mapping[str, Unit]],
    by_kind: Mapping[str, Mapping[str, Noise]],
) -> tuple[Unit, ...]:
    """Every operation that differs in some file from BASE; in a large graph kinds, of which the worst are halved."""
    splicer = scorer.splicer
    different = [k for k in range(len(splicer.operations)) if any(splicer.differs(name, k) for name in files)]
    if len(splicer.operations) <= MANY:
        return tuple((k,) for k in different)
    groups: dict[str, list[int]] = {}
    for k in different:
        groups.setdefault(splicer.operations[k].kind, []).append(k)

    def weight(unit: Unit) -> float:
        """The most noise that an operation of its kind may add in any file, times their number."""
        kind = splicer.operations[unit[0]].kind
        shares = [worst(by_kind[name][kind]) / len(kinds[name][kind]) for name in files if kind in kinds[name]]
        return max(shares, default=0.0) * len(unit)

    units = [tuple(group) for group in groups.values()]
    while len(units) < _MOST_UNITS:
        heaviest = max((unit for unit in units if len(unit) > 1), key=weight, default=None)
        if heaviest is None:
            break
        units.remove(heaviest)
        half = len(heaviest) // 2
        units += [heaviest[:half], heaviest[half:]]
    return tuple(sorted(units))


# faults ---------------------------------------------------------------------------------------------------------------


def _faults(
    scorer: Scorer, name: str, kinds: Mapping[str, Unit], by_kind: Mapping[str, Mapping[str, Noise]]
) -> list[Fault]:
    """The kinds that are far worse than all others together, and than rounding their inputs and outputs would be."""
    found = []
    for kind, operations in kinds.items():
        noise, rest = by_kind[name][kind], added(other for k, other in by_kind[name].items() if k != kind)
        alone, others = worst(noise), max(worst(rest), NOTHING)
        if len(kinds) < 2 or to_db(alone) > _HARMLESS_DB or alone < _FAR * others:
            continue
        rounding = _rounding(scorer, name, operations, [by_kind[file].get(kind, {}) for file in by_kind])
        if rounding is not None and alone >= _FAR * rounding:
            found.append(Fault(name, kind, to_db(alone), to_db(others), to_db(rounding)))
    return found


def _rounding(scorer: Scorer, name: str, operations: Unit, elsewhere: Sequence[Noise]) -> float | None:
    """The noise of the same operations in float32 between rounded inputs and outputs; if they have weights, with that
    of the weights in another file, without which it is unknown."""
    splicer = scorer.splicer
    if not all(splicer.is_fixed_point(name, k) for k in operations):
        return None
    base = (BASE,) * len(splicer.operations)
    [score] = scorer.score([Mixture(base, dict.fromkeys(operations, name))])
    if score.problem:
        return None
    noise = worst(score.noise)
    if not any(splicer.constant_bytes(name, k) < splicer.constant_bytes(BASE, k) for k in operations):
        return noise
    of_weights = [worst(other) for other in elsewhere if other]
    return noise + sorted(of_weights)[len(of_weights) // 2] if len(of_weights) > 1 else None
