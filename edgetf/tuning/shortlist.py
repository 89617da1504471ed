"""In: what is known of each operation. Out: the candidates of a tuning with their files, and the front of them.

Each candidate has its bytes, its SQNR and, where latency is asked for, its time on the device. One that the runtime or
the device refuses, that is beyond a limit, or that another beats is not evaluated, and has the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

from edgetf.conversion.contract import problems_of
from edgetf.conversion.skeleton import BASE
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.errors import DeviceError
from edgetf.recipes import Aim, Stand
from edgetf.tuning.candidates import FIXED, Candidate, Kept, Maker
from edgetf.tuning.notebook import Notebook
from edgetf.tuning.options import TuneOptions
from edgetf.tuning.proof import AGAIN, Timed
from edgetf.tuning.ranking import Ranking
from edgetf.tuning.record import Entry
from edgetf.tuning.running import Scorer, to_db
from edgetf.tuning.search import Standing, Work, find_front


class Shortlist:
    """Makes the candidates of a tuning. `contents` are the given variants' files by name.

    `measure` returns the times of candidates, given as files by name; `seconds` is what each step took.
    """

    def __init__(
        self,
        splicer: Splicer,
        contents: Mapping[str, bytes],
        options: TuneOptions,
        notes: Notebook,
        measure: Callable[[Mapping[str, bytes]], Timed],
    ) -> None:
        self._splicer, self._contents, self._options, self.notes = splicer, contents, options, notes
        self._measure = measure
        self.seconds: dict[str, float] = {}

    def make(self, scorer: Scorer, ranking: Ranking, names: Sequence[str], kept: Kept) -> list[Entry]:
        """The candidates with their files, bytes, SQNR and, if that is asked for, times."""
        begin = perf_counter()
        candidates = Maker(scorer, ranking, names, kept).make()
        if self._options.aim is Aim.LATENCY and not kept.operations:
            candidates.insert(0, base(self._splicer))
        scores = scorer.score([Mixture(one.choice) for one in candidates])
        entries = [Entry(one, self._content(one), score) for one, score in zip(candidates, scores, strict=True)]
        for entry in entries:
            self.refuse(entry)
            self._limit(entry)  # of bytes: before anything is useless beside it
        self.seconds["mixtures"] = round(perf_counter() - begin, 1)
        if self._options.aim is Aim.LATENCY or self._options.max_latency_ms is not None:
            open_ = [entry for entry in entries if entry.stand is Stand.LEFT]
            self._time(self._plausible(open_) if self._options.aim is Aim.LATENCY else open_)
        for entry in entries:
            self._limit(entry)
        return entries

    def _content(self, candidate: Candidate) -> bytes:
        if candidate.plain is not None:
            return self._contents[candidate.plain]
        return self._splicer.splice(Mixture(candidate.choice))

    def refuse(self, entry: Entry) -> None:
        target = self._options.target
        problems = [one for one in (entry.score.problem, self.notes.refused.get(entry.sha256)) if one]
        problems += problems_of(entry.content, target) if target is not None else ()
        if problems:
            entry.stand, entry.reason = Stand.REFUSED, problems[0]

    def _limit(self, entry: Entry) -> None:
        most, latency = self._options.max_bytes, self._options.max_latency_ms
        if entry.stand is not Stand.LEFT:
            return
        if most is not None and len(entry.content) > most:
            entry.stand, entry.reason = Stand.BEYOND, f"{len(entry.content):,} bytes, of at most {most:,}"
        elif latency is not None and entry.latency_ms is not None and entry.latency_ms > latency:
            entry.stand, entry.reason = Stand.BEYOND, f"{entry.latency_ms:.3g} ms, of at most {latency:g}"

    def _plausible(self, open_: Sequence[Entry]) -> list[Entry]:
        """Those that may be the fastest at their SQNR; all others are useless."""
        works = [
            Work(
                entry.candidate.choice.count(FIXED),
                sum(self._splicer.computes_integers(name, k) for k, name in enumerate(entry.candidate.choice)),
                entry.score.partitions or 0,
                len(entry.content),
                entry.score.db,
            )
            for entry in open_
        ]
        found = []
        for entry, work in zip(open_, works, strict=True):
            beating = [other for other, theirs in zip(open_, works, strict=True) if theirs.beats(work)]
            if entry.candidate.plain or not beating:
                found.append(entry)
            else:
                phrase = "computes as many operations in integers, in as few pieces and bytes, and is at least as near"
                entry.stand, entry.reason = Stand.USELESS, f"{beating[0].candidate.name} {phrase}"
        return found

    def _time(self, entries: Sequence[Entry]) -> None:
        begin = perf_counter()
        new = {entry.candidate.name: entry for entry in entries if entry.sha256 not in self.notes.latencies}
        if new:
            found = self._measure({name: entry.content for name, entry in new.items()})
            for name, entry in new.items():
                if name not in found.latencies:
                    entry.stand = Stand.REFUSED
                    entry.reason = f"it does not run on {found.device}: {found.reasons.get(name, '')}"
            # those that failed are tried again by the next run
            self.notes.latencies |= {new[name].sha256: latency for name, latency in found.latencies.items()}
            self.notes.save()
            if not any(entry.sha256 in self.notes.latencies for entry in entries):
                reason = found.reasons.get(next(iter(new)), "")
                raise DeviceError(f"no candidate runs on {found.device}: {reason}", AGAIN)
        for entry in entries:
            entry.latency_ms = self.notes.latencies.get(entry.sha256)
        self.seconds["timing"] = round(perf_counter() - begin, 1)

    def front(self, entries: Sequence[Entry]) -> list[Entry]:
        """The candidates that no other beats, the cheapest first."""
        open_ = {entry.candidate.name: entry for entry in entries if entry.stand is Stand.LEFT}
        front, beaten = find_front([standing(entry) for entry in open_.values()], self._options.aim)
        word = "smaller" if self._options.aim is Aim.SIZE else "faster, or smaller at that speed,"
        for one in beaten:
            entry = open_[one.name]
            entry.stand, entry.reason = Stand.USELESS, f"it is not {word} than {one.by}, which is at least as near"
        return [open_[one.name] for one in front]


def standing(entry: Entry) -> Standing:
    """The candidate's place among others."""
    candidate = entry.candidate
    return Standing(candidate.name, candidate.plain is not None, len(entry.content), entry.latency_ms, entry.score.db)


def base(splicer: Splicer) -> Candidate:
    """float32, all of it."""
    return Candidate(BASE, (BASE,) * len(splicer.operations), BASE, "all of it", to_db(0.0))
