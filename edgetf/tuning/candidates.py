"""In: a ranking. Out: mixtures worth a measurement, for several predicted SQNRs, and for fewer pieces under XNNPACK.

Four families. Float: every operation from one of the files that compute in float32, the one with the fewest bytes for
the noise that may be spent (a price on noise, raised step by step, yields each trade-off once). Fixed point: int8
except the worst operations. Tails: int8 with the last few operations in int16x8. Spared: a quantized file whose kinds
without an XNNPACK kernel come from another file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgetf.conversion.skeleton import BASE
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.schemes import SCHEMES
from edgetf.tuning.ranking import Ranking, worst
from edgetf.tuning.running import HOPELESS, NOTHING, Scorer, to_db

GOALS_DB = (15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0)
FLOAT_GOALS_DB = (*GOALS_DB, 50.0, 55.0, 60.0, 70.0)  # if decisions are so close that float16 changes them
FIXED = "int8"  # the file that computes in fixed point; int16x8 has no fast kernels on a CPU
_PREFIXES = 16  # numbers of worst operations that are tried in float, from one to all
_PRICES = 64  # of noise, in bytes for all of the signal
_OVERHEAD = 160  # bytes of a DEQUANTIZE and its tensors, for each constant that is stored in another form
_DECIMALS = 12

Choice = tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A mixture to be tried. `plain` is the name of the file that it is all from, if there is one; `why` its purpose,
    `predicted_db` the SQNR from the sum of the islands' noise."""

    name: str
    choice: Choice
    plain: str | None
    why: str
    predicted_db: float


@dataclass(frozen=True)
class Kept:
    """Operations that stay in float in all mixtures, and the file that they come from."""

    operations: frozenset[int] = frozenset()
    file: str = BASE


class Maker:
    """Makes candidates from the ranked files."""

    def __init__(self, scorer: Scorer, ranking: Ranking, files: Sequence[str], kept: Kept) -> None:
        self._scorer, self._splicer, self._ranking = scorer, scorer.splicer, ranking
        self._tails = [name for name in files if is_tail(name)]
        self._files, self._kept = [name for name in files if not is_tail(name)], kept
        self._float = [name for name in self._files if not _computes_fixed(self._splicer, name)]

    def make(self) -> list[Candidate]:
        """The files themselves, then mixtures; each choice once."""
        found: dict[Choice, Candidate] = {}
        for name in self._files:
            choice, whole = self._all(name), (name,) * len(self._splicer.operations)
            plain = name if self._tidy(whole) == choice else None
            self._add(
                found, name if plain else f"{name}-kept", choice, "all of it" if plain else "but what is kept", plain
            )
        for choice, why in [*self._spared(), *self._mixed_float(), *self._mixed_fixed(), *self._with_tails()]:
            self._add(found, f"mix-{sum(one.plain is None for one in found.values()) + 1}", choice, why, None)
        return list(found.values())

    def _add(self, found: dict[Choice, Candidate], name: str, choice: Choice, why: str, plain: str | None) -> None:
        if choice in found or self._splicer.why_split(choice):
            return
        if plain or set(choice) != {BASE}:  # all of float32 is no mixture
            found[choice] = Candidate(name, choice, plain, why, to_db(worst(self._predict(choice))))

    def _predict(self, choice: Choice) -> dict[str, float]:
        files = [next((choice[k] for k in unit if choice[k] != BASE), BASE) for unit in self._ranking.units]
        return self._ranking.predict(files)

    def _all(self, name: str) -> Choice:
        return self._of_units([name] * len(self._ranking.units))

    def _of_units(self, files: Sequence[str]) -> Choice:
        """The choice for all operations if unit k comes from `files[k]`."""
        choice = [BASE] * len(self._splicer.operations)
        for unit, name in zip(self._ranking.units, files, strict=True):
            for k in unit:
                choice[k] = self._kept.file if k in self._kept.operations else name
        return self._tidy(choice)

    def _tidy(self, choice: Iterable[str]) -> Choice:
        """The same with BASE if a file has the same operation as BASE: one name for one mixture."""
        return tuple(
            BASE if name != BASE and not self._splicer.differs(name, k) else name for k, name in enumerate(choice)
        )

    # float ------------------------------------------------------------------------------------------------------------

    def _mixed_float(self) -> Iterator[tuple[Choice, str]]:
        """For each goal, the smallest mixture of files that compute in float that is predicted to reach it."""
        units = range(len(self._ranking.units))
        if not units:
            return
        options, clusters = [BASE, *self._float], self._clusters()
        size = np.array([[self._bytes(name, cluster) for name in options] for cluster in clusters], np.float64)
        noise = np.array([[sum(self._noise(name, k) for k in one) for name in options] for one in clusters])
        place = {k: number for number, cluster in enumerate(clusters) for k in cluster}
        sides = []
        for price in np.geomspace(1.0, 1e12, _PRICES):
            chosen = np.argmin(size + price * np.round(noise, _DECIMALS), axis=1)
            files = [options[int(chosen[place[k]])] for k in units]
            total = float(size[np.arange(len(chosen)), chosen].sum())
            sides.append((total, to_db(worst(self._ranking.predict(files))), files))
        for goal in FLOAT_GOALS_DB:
            reaching = [side for side in sides if side[1] >= goal]
            if reaching:
                files = min(reaching, key=lambda side: side[0])[2]
                yield self._of_units(files), f"the fewest bytes for {goal:g} dB, all in float"

    def _clusters(self) -> list[frozenset[int]]:
        """The numbers of units that read a constant together: of two files, both forms of it would be stored."""
        place = {k: number for number, unit in enumerate(self._ranking.units) for k in unit}
        found = [frozenset({number}) for number in range(len(self._ranking.units))]
        for group in self._splicer.sharing(_OVERHEAD):
            numbers = {place[k] for k in group if k in place}
            touched = [one for one in found if one & numbers]
            found = [one for one in found if one not in touched]
            found += [frozenset().union(*touched)] if touched else []
        return found

    def _bytes(self, name: str, units: Iterable[int]) -> float:
        operations = [k for number in units for k in self._ranking.units[number]]
        size = self._splicer.constant_bytes(name, *operations)
        return float(size + _OVERHEAD * self._splicer.conversions(name, *operations))

    def _noise(self, name: str, k: int) -> float:
        return 0.0 if name == BASE else min(worst(self._ranking.noise[name][k] or {"": NOTHING}), HOPELESS)

    # fixed point ------------------------------------------------------------------------------------------------------

    def _mixed_fixed(self) -> Iterator[tuple[Choice, str]]:
        """int8 except its worst operations, as few as each goal needs, which come from each of the other files."""
        if FIXED not in self._files:
            return
        spared = self._spare(FIXED)
        for start in dict.fromkeys([frozenset[int](), spared]):
            for other in self._fallbacks():
                measured = self._measured(self._prefixes(start, other), other)
                for goal in GOALS_DB:
                    reaching = [(count, choice) for count, choice, db in measured if db >= goal]
                    if reaching:
                        count, choice = reaching[0]
                        yield choice, f"int8 but for {_counted(count)} from {other}, for {goal:g} dB"

    def _prefixes(self, start: frozenset[int], other: str) -> list[list[str]]:
        """The files of the units where `start` and more and more of the worst units are from `other`.

        They are measured, and not predicted: what a quantized operation clips also limits the errors of those before
        it, so that the noises of int8 operations do not add where ranges clip.
        """
        files = [other if k in start else FIXED for k in range(len(self._ranking.units))]
        found = [list(files)]
        for unit in self._ranking.worst_first(FIXED):
            for k in self._ranking.together(FIXED, [unit]):
                files[k] = other
            if files != found[-1]:
                found.append(list(files))
        lengths = np.geomspace(1, max(len(found) - 1, 1), _PREFIXES).round().astype(int)
        return [found[k] for k in sorted({0, *lengths.tolist()}) if k < len(found)]

    def _measured(self, prefixes: Sequence[Sequence[str]], other: str) -> list[tuple[int, Choice, float]]:
        """The number of units from `other`, the choice and its SQNR; without those that are all from one file."""
        counts = [sum(name == other for name in files) for files in prefixes]
        mixed = [(n, self._of_units(one)) for n, one in zip(counts, prefixes, strict=True) if 0 < n < len(one)]
        scores = self._scorer.score([Mixture(choice) for _, choice in mixed])
        return [(n, choice, score.db) for (n, choice), score in zip(mixed, scores, strict=True) if not score.problem]

    def _fallbacks(self) -> list[str]:
        """The files that compute in float, the one with the fewest bytes and the one with the least noise."""
        if not self._float:
            return [BASE]
        units = range(len(self._ranking.units))
        least = min(self._float, key=lambda n: self._bytes(n, units))
        best = min(self._float, key=lambda n: sum(self._noise(n, k) for k in units))
        return list(dict.fromkeys([least, best]))

    def _with_tails(self) -> Iterator[tuple[Choice, str]]:
        """int8 with the last few operations from a file that computes more precisely, but slowly."""
        if FIXED not in self._files:
            return
        units, spared = range(len(self._ranking.units)), self._spare(FIXED)
        for start in dict.fromkeys([frozenset[int](), spared]):
            whole = self._of_units([self._other(FIXED) if k in start else FIXED for k in units])
            for name in self._tails:
                differing = [k for k in range(len(whole)) if self._splicer.differs(name, k)]
                last = [k for k in differing if k not in self._kept.operations]
                for count in range(1, len(last) + 1):
                    choice = tuple(name if k in last[-count:] else one for k, one in enumerate(whole))
                    yield choice, f"int8 with the last {_counted(count)} from {name}"

    # pieces -----------------------------------------------------------------------------------------------------------

    def _spared(self) -> Iterator[tuple[Choice, str]]:
        for name in self._files:
            spared = self._spare(name)
            if spared:
                kinds = sorted({self._splicer.operations[self._ranking.units[k][0]].kind for k in spared})
                files = [self._other(name) if k in spared else name for k in range(len(self._ranking.units))]
                why = f"{name} but for {', '.join(kinds)} from {self._other(name)}: fewer pieces under XNNPACK"
                yield self._of_units(files), why

    def _spare(self, name: str) -> frozenset[int]:
        """The units of those kinds that split the delegate's part if they are as in this file."""
        units, other = self._ranking.units, self._other(name)
        if other == name:
            return frozenset()
        by_kind: dict[str, set[int]] = {}
        for k, unit in enumerate(units):
            if any(not self._splicer.same(name, other, operation) for operation in unit):
                together = self._ranking.together(name, [k])
                by_kind.setdefault(self._splicer.operations[unit[0]].kind, set()).update(together)

        def pieces(moved: Sequence[set[int]]) -> list[int]:
            choices = [[other if k in one else name for k in range(len(units))] for one in moved]
            scores = self._scorer.score([Mixture(self._of_units(files)) for files in choices])
            return [score.partitions if score.partitions is not None else 1 << 30 for score in scores]

        [whole] = pieces([set()])
        if whole <= 1:
            return frozenset()
        fewer = [kind for kind, count in zip(by_kind, pieces(list(by_kind.values())), strict=True) if count < whole]
        spared = frozenset[int]().union(*(by_kind[kind] for kind in fewer))
        return spared if spared and pieces([set(spared)])[0] < whole else frozenset()

    def _other(self, name: str) -> str:
        """The file for operations that have no fast kernels in file `name`."""
        others = [one for one in ("weights", "float16") if one in self._files and one != name]
        return others[0] if others else BASE


def is_tail(name: str) -> bool:
    """Whether only the last operations of a file are mixed."""
    return name in SCHEMES and SCHEMES[name].tail > 0


def tails_only(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files to mix: of those of which only the last operations are mixed, all others are float32's."""
    found = dict(contents)
    for name in filter(is_tail, contents if BASE in contents else ()):
        splicer = Splicer({BASE: contents[BASE], name: contents[name]})
        first = len(splicer.operations) - SCHEMES[name].tail
        if name not in splicer.left_out:  # otherwise it cannot be mixed at all, which is reported
            choice = tuple(name if k >= first else BASE for k in range(len(splicer.operations)))
            found[name] = splicer.splice(Mixture(choice))
    return found


def _counted(count: int) -> str:
    return f"{count} operation{'s' * (count > 1)}"


def _computes_fixed(splicer: Splicer, name: str) -> bool:
    return any(splicer.is_fixed_point(name, k) and splicer.differs(name, k) for k in range(len(splicer.operations)))
