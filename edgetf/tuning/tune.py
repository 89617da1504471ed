"""In: variants of one conversion and a Reference. Out: the proven mixture with the fewest bytes or milliseconds.

The search: rank operations without labels, make mixtures, keep the front of cost and SQNR, and bisect on it with few
evaluations against half of the Reference. The proof: the winner once, by the normal benchmark on the device, on the
other half, which the search has not seen; only that PASS counts.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgetf import __version__, files
from edgetf.benchmarks.benchmark import BenchmarkOptions
from edgetf.benchmarks.rows import Outputs
from edgetf.benchmarks.timing.fixed import read_same
from edgetf.benchmarks.timing.targets import Target, find_targets
from edgetf.conversion.layers import matching_layers
from edgetf.conversion.savedmodel import is_trained_for_int8
from edgetf.conversion.skeleton import BASE
from edgetf.conversion.splice import Splicer
from edgetf.device.kinds import Device
from edgetf.errors import EdgetfError
from edgetf.events import Note, OnEvent, Phase, Progress
from edgetf.files import sha256_file
from edgetf.owned import remove
from edgetf.recipes import Aim, Ending, Evaluation, Stand, Tuning
from edgetf.results import Conversion, Verdict, read_conversion, read_reference
from edgetf.samples import Samples, load_samples
from edgetf.samples.core import has_nan
from edgetf.schemes import SCHEMES
from edgetf.tuning.candidates import Candidate, Kept, tails_only
from edgetf.tuning.evaluate import Evaluator, Rows
from edgetf.tuning.halves import inputs_of, read_calibrations, refuse_shared, split
from edgetf.tuning.notebook import BEST, FOLDER, Notebook, fact_of_metric
from edgetf.tuning.options import TuneOptions
from edgetf.tuning.proof import BENCH, FILE, PROOF, WINNER, Proof, Proven, Timed, prove, time_candidates
from edgetf.tuning.ranking import rank
from edgetf.tuning.record import Entry, Search, to_document
from edgetf.tuning.running import Fed, Scorer, answers
from edgetf.tuning.search import Cost, bisect, find_front, takes_place
from edgetf.tuning.shortlist import Shortlist, base, standing

ROWS, _FEWEST = 32, 8  # samples that operations are ranked on, and the fewest that show how outputs vary
_WORK = 10**12  # multiplications of a ranking: a minute or two on two cores


def rows_for(splicer: Splicer) -> int:
    """The number of samples to rank on: fewer for heavy models, by their work and not by time, so that each run of a
    command has the same."""
    count = range(len(splicer.operations))
    islands = sum(splicer.differs(name, k) for name in splicer.names for k in count)
    return int(np.clip(_WORK // max(islands * splicer.multiplications, 1), _FEWEST, ROWS))


class NoAnswerError(EdgetfError):
    """A candidate fails on a sample: that concerns no other candidate."""


def tune(out_of: Path, reference: Path, device: Device, out: Path, options: TuneOptions, on_event: OnEvent) -> Tuning:
    """Tune the variants in the folder `out_of` against the Reference at `reference`, and write the result into `out`.

    An interrupted run resumes where it stopped. Raises EdgetfError for variants that cannot be tuned.
    """
    _refuse_overlap(out_of, [place for place in (reference, options.proof) if place is not None], out)
    partial = out / FOLDER
    taken = {BENCH: partial / BENCH, PROOF: partial / PROOF}
    claims = [FILE, "conversion.json", BEST, BENCH, PROOF, "tuning.json"]
    earlier = options.force and (out / "tuning.json").is_file()
    with files.staged(out, claims, options.force, taken) as staging:
        run = _Run(out_of, reference, device, options, on_event)
        notes = Notebook(partial, run.scored(), run.decisive(), on_event)
        tuning = run.tune(notes, out)
        if tuning.ending in (Ending.TUNED, Ending.PLAIN):
            for name in (FILE, "conversion.json"):
                (partial / WINNER / name).replace(staging / name)
        elif (partial / BEST).is_file():  # it passed the search, and was not proven
            shutil.copyfile(partial / BEST, staging / BEST)
        files.write_document(staging / "tuning.json", tuning)
        new = {entry.name for entry in staging.iterdir()} | {name for name, place in taken.items() if place.exists()}
    if earlier:
        for name in set(claims) - new:  # of the earlier tuning: this one has not found it
            remove(out / name)
    notes.discard()
    return tuning


def _refuse_overlap(out_of: Path, references: Sequence[Path], out: Path) -> None:
    """Raise EdgetfError if the results would replace what they are made of."""
    replaced = {(out / name).resolve() for name in (".", BENCH, PROOF)}
    for what, place in [("variants are", out_of), *(("reference is", one) for one in references)]:
        folder = place.parent if place.is_file() else place
        if folder.resolve() in replaced:
            raise EdgetfError(f"the {what} at {place}, where the results go", "give another folder with -o")


class _Run:
    """One tuning in progress."""

    def __init__(self, out_of: Path, reference: Path, device: Device, options: TuneOptions, on_event: OnEvent) -> None:
        self._device, self._options, self._on_event = device, options, on_event
        self._reference = reference
        self._seconds: dict[str, float] = {}
        if not (out_of / "conversion.json").is_file():
            raise EdgetfError(f"there is no conversion.json at {out_of}", "give the folder that edgetf convert wrote")
        self.conversion: Conversion = read_conversion(out_of)
        self._targets = [one for one in find_targets([out_of]) if one.failed is None]
        known = {one.scheme: one for one in self._targets if one.scheme is not None}
        self._left_out = {name: SCHEMES[name].untuned for name in known if name in SCHEMES and SCHEMES[name].untuned}
        self.files: dict[str, Target] = {name: one for name, one in known.items() if name not in self._left_out}
        if BASE not in self.files and is_trained_for_int8(Path(self.conversion.source.path)):
            fact = "the model was trained for int8, of which there is no float32 variant: there is nothing to mix"
            raise EdgetfError(fact, "use its int8 variant as it is, or tune the model before that training")
        # read once: what is ranked, evaluated and written are the same bytes
        self._contents = {name: read_same(target.path, target.sha256) for name, target in self.files.items()}
        self._splicer = Splicer(tails_only(self._contents))
        self._left_out |= self._splicer.left_out
        self._kept = self._find_kept()
        self._ranked_on = self._samples()
        proving = reference if options.proof is None else options.proof
        calibrated_on, self._warnings = read_calibrations(self.conversion, out_of, [proving])
        self._seen = [self._ranked_on, *calibrated_on]
        for warning in self._warnings:
            on_event(Note(warning))
        with device.reserve(on_event if options.measuring.wait else None):  # what is missing there is missing at once
            self._facts = device.examine(options.measuring.runtime)

    def scored(self) -> dict[str, Any]:
        """All that determines the scores of mixtures."""
        from importlib.metadata import version  # imports the package email

        return {
            "edgetf": __version__,
            "interpreter": version("ai-edge-litert"),
            "variants": {name: target.sha256 for name, target in self.files.items()},
            "ranked on": self._ranked_on.digest,
        }

    def decisive(self) -> dict[str, Any]:
        """All that determines the results besides."""
        options = self._options
        criteria = replace(options.criteria, metrics=())
        plain = replace(options, force=False, samples=None, proof=None, criteria=criteria, measuring=BenchmarkOptions())
        return {
            "reference": sha256_file(files.find_document(self._reference, "reference.json")),
            "proof": None if options.proof is None else sha256_file(options.proof / "reference.json"),
            "samples": [samples.digest for samples in self._seen],
            "device": (self._device.name, self._facts.model, self._facts.cpu, self._facts.runtimes),
            "measuring": str(replace(options.measuring, wait=True)),
            "metrics": [fact_of_metric(metric) for metric in options.criteria.metrics],
            "asked": str(plain),
        }

    def _samples(self) -> Samples:
        """The samples that operations are ranked on, without labels."""
        calibration, source = self.conversion.calibration, self._options.samples
        if source is None and calibration is None:
            raise EdgetfError("the variants were made without samples", "give some to rank operations on: --samples")
        given = source if source is not None else calibration.samples.source if calibration else ""
        samples = load_samples(given, inputs_of(self.conversion), allow_nan=True)
        known = [read_reference(self._reference).samples, *([calibration.samples] if calibration else [])]
        if has_nan(samples.inputs) and not any(one.allow_nan for one in known):
            hint = "give others; or if the model imputes NaN, make its reference with: edgetf reference --allow-nan"
            raise EdgetfError(f"{given} holds NaN", hint)
        if len(samples) < _FEWEST:  # noise is relative to how much the outputs vary over samples
            reason = f"{len(samples)} samples are too few to rank operations on: {_FEWEST} are needed"
            raise EdgetfError(reason, f"give about {ROWS} with --samples; they need no labels")
        return samples.take(max(rows_for(self._splicer), samples.batch))

    def _find_kept(self) -> Kept:
        """The operations of layers that stay in float."""
        if not self._options.keep:
            return Kept()
        names = [operation.tensor for operation in self._splicer.operations]
        found = self._splicer.together(matching_layers(self._options.keep, names, self.conversion.layers))
        return Kept(found, "float16" if "float16" in self._splicer.names else BASE)

    # the steps --------------------------------------------------------------------------------------------------------

    def tune(self, notes: Notebook, out: Path) -> Tuning:
        places = self._halves(notes)
        evaluator = Evaluator.of(places[0], self._targets, self._options.criteria, self._ranked_on.batch)
        begin = perf_counter()
        scorer = Scorer(
            self._splicer, replace(self._fed(self._ranked_on), classes=evaluator.classes), notes.scores, notes.save
        )
        names = [name for name in self._splicer.names if name != BASE]
        ranking = rank(scorer, names, self._progress)
        self._seconds["ranking"] = round(perf_counter() - begin, 1)
        shortlist = Shortlist(self._splicer, self._contents, self._options, notes, self._measure)
        self._on_event(Phase("making mixtures"))
        entries = shortlist.make(scorer, ranking, names, self._kept)
        self._seconds |= shortlist.seconds
        proof = self._proof(notes, places[1], out)
        winner, proven = self._search_and_prove(shortlist, entries, evaluator, proof)
        search = Search(
            options=self._options,
            device=self._device.name,
            conversion=self.conversion,
            operations=self._splicer.operations,
            ranked_on=self._ranked_on.used(),
            searched_on=evaluator.ground.samples.used(),
            source=read_reference(self._reference).samples.source,
            ranking=ranking,
            entries=entries,
            winner=winner,
            left_out=self._left_out,
            warnings=self._warnings,
        )
        return to_document(search, proven, self._seconds)

    def _search_and_prove(
        self, shortlist: Shortlist, entries: Sequence[Entry], evaluator: Evaluator, proof: Proof
    ) -> tuple[Entry | None, Proven]:
        """The winner and its proof. A winner that the device refuses is replaced: there is no verdict on it yet."""
        while True:
            winner = self._search(entries, shortlist.front(entries), evaluator, shortlist.notes)
            begin = perf_counter()
            candidate, content = (winner.candidate, winner.content) if winner else (None, b"")
            proven = prove(proof, candidate, content, self._plain(entries))
            self._seconds["proof"] = round(perf_counter() - begin, 1)
            if winner is None or proven.refused is None:
                return _answer_of(winner, proven, entries), proven
            shortlist.notes.refused[winner.sha256] = f"it does not run on {self._device.name}: {proven.refused}"
            shortlist.notes.save()
            for entry in entries:  # those that were evaluated are judged again, from the notebook
                untimed = self._options.aim is Aim.LATENCY and entry.latency_ms is None
                if entry.stand not in (Stand.REFUSED, Stand.BEYOND) and not untimed:
                    entry.stand, entry.reason, entry.evaluation = Stand.LEFT, "", None
                shortlist.refuse(entry)

    def _measure(self, contents: Mapping[str, bytes]) -> Timed:
        return time_candidates(contents, self._ranked_on, self._device, self._options, self._on_event)

    def _progress(self, what: str, done: int, of: int) -> None:
        self._on_event(Phase(f"ranking {what}"))
        self._on_event(Progress(done, of))

    def _halves(self, notes: Notebook) -> tuple[Path, Path]:
        """The folders of the Reference for the search and for the proof."""
        if self._options.proof is not None:
            refuse_shared(self._reference, self._options.proof, self._seen)
            return self._reference, self._options.proof
        return split(self._reference, notes.folder, self._seen, self._ranked_on.batch)

    def _fed(self, samples: Samples) -> Fed:
        signatures = self._splicer.signatures
        signature = self.conversion.source.signature if len(signatures) > 1 else None
        reference = read_reference(self._reference)
        unbatched = {one.name for one in reference.outputs if not one.batched} | samples.unbatched
        return Fed(samples.inputs, signature, frozenset(unbatched), self._ranked_on.batch)

    def _search(
        self, entries: Sequence[Entry], front: Sequence[Entry], evaluator: Evaluator, notes: Notebook
    ) -> Entry | None:
        """The winner: of the front, or a given variant that passes although its SQNR has put it aside."""
        begin, best = perf_counter(), list[Entry]()

        def evaluate(entry: Entry) -> Verdict:
            found = self._verdict_on(entry, best[-1] if best else None, evaluator, notes)
            if found is Verdict.PASS:
                best.append(entry)
                notes.save_best(entry.content)
            return found

        bisect(len(front), lambda number: evaluate(front[number]), self._options.evaluations)
        left = self._options.evaluations - sum(entry.evaluation is not None for entry in front)
        for entry in self._put_aside(entries):
            if left > 0 and (not best or self._takes_place(entry, best[-1])):
                left -= 1
                evaluate(entry)
        self._seconds["search"] = round(perf_counter() - begin, 1)
        if not best:
            return None
        best[-1].stand = Stand.CHOSEN
        return best[-1]

    def _verdict_on(self, entry: Entry, best: Entry | None, evaluator: Evaluator, notes: Notebook) -> Verdict:
        so_far = "none" if best is None else f"{best.candidate.name}, {len(best.content):,} bytes"
        phrase = f"evaluating {entry.candidate.name}, {len(entry.content):,} bytes"
        self._on_event(Phase(f"{phrase}; best so far: {so_far}"))
        try:
            entry.evaluation = self._evaluate(entry, evaluator, notes)
        except NoAnswerError as error:
            entry.stand, entry.reason = Stand.REFUSED, f"it fails on a sample: {error.message}"
            return Verdict.INCONCLUSIVE
        found = entry.evaluation.verdict
        entry.stand = {Verdict.PASS: Stand.PASSES, Verdict.FAIL: Stand.FAILS}.get(found, Stand.OPEN)
        entry.reason = entry.evaluation.reason
        return found

    def _put_aside(self, entries: Sequence[Entry]) -> list[Entry]:
        """The given variants that another beats by its SQNR, which is not accuracy: the most expensive first."""
        aside = [entry for entry in entries if entry.candidate.plain is not None and entry.stand is Stand.USELESS]
        return sorted(aside, key=self._cost, reverse=True)

    def _cost(self, entry: Entry) -> Cost:
        return standing(entry).cost(self._options.aim)

    def _takes_place(self, entry: Entry, best: Entry) -> bool:
        return takes_place(self._cost(entry), self._cost(best), best.candidate.plain is None)

    def _evaluate(self, entry: Entry, evaluator: Evaluator, notes: Notebook) -> Evaluation:
        known = notes.evaluations.get(entry.sha256)
        if known is not None:
            return files.from_plain(known, Evaluation)
        fed = self._fed(evaluator.ground.samples)

        def answer(rows: Rows) -> Outputs:
            try:
                return answers(entry.content, fed.take(rows))
            except EdgetfError as error:
                raise NoAnswerError(error.message, error.hint) from error

        found = evaluator.evaluate(entry.candidate.name, entry.candidate.plain or "tuned", answer)
        notes.evaluations[entry.sha256] = files.to_plain(found)
        notes.save()
        return found

    def _plain(self, entries: Sequence[Entry]) -> list[Candidate]:
        """The given variants to measure with the winner, the nearest first: float32, and those that neither the search
        has refuted nor another of them beats."""
        plain = {
            entry.candidate.name: entry
            for entry in entries
            if entry.candidate.plain is not None and entry.stand not in (Stand.FAILS, Stand.REFUSED, Stand.BEYOND)
        }
        standings = [standing(entry) for entry in plain.values()]
        front, _ = find_front(standings, self._options.aim)
        found = [plain[one.name].candidate for one in front[::-1]]
        return found if BASE in plain else [base(self._splicer), *found]

    def _proof(self, notes: Notebook, place: Path, out: Path) -> Proof:
        return Proof(
            folder=notes.folder,
            reference=place,
            out=out,
            device=self._device,
            options=self._options,
            conversion=self.conversion,
            splicer=self._splicer,
            files=self.files,
            on_event=self._on_event,
        )


def _answer_of(winner: Entry | None, proven: Proven, entries: Sequence[Entry]) -> Entry | None:
    """The winner of the search, or the plain variant that took its place in the proof."""
    instead = next((entry for entry in entries if entry.candidate.name == proven.instead), None)
    if winner is None or instead is None:
        return winner
    winner.stand, winner.reason = Stand.PASSES, f"{instead.candidate.name} passes the proof, too, and is no worse"
    instead.stand = Stand.CHOSEN
    return instead
