"""What is shipped of a model on a device: the chosen file, its bundle, its report, and links to the results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from edgetf import __version__, files
from edgetf.api.verdicts import Tuned
from edgetf.benchmarks.judging.choose import Choice, Outcome
from edgetf.benchmarks.judging.choose_words import answer as sentence_of
from edgetf.benchmarks.judging.choose_words import why_not
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.plans.facts import of_budgets
from edgetf.plans.plan import Plan, PlannedModel
from edgetf.plans.record import Answer, StepRecord, Verb
from edgetf.plans.steps import Steps, new
from edgetf.plans.store import store_home
from edgetf.results import Result, Verdict, read_benchmark
from edgetf.system import explained

Exclusive = Callable[[], AbstractContextManager[object]]  # held by what only one thread may do at a time
Watch = Callable[[str], AbstractContextManager[OnEvent]]  # shows the events of a step with this title


@dataclass(frozen=True)
class Measured:
    """The results of a model on a device, as folders: `ran_on` is the member of its class."""

    ran_on: str
    bench: Path
    variants: Path
    reference: Path


class Shipper:
    """Writes what is shipped into the folder of the plan."""

    def __init__(self, plan: Plan, steps: Steps, watch: Watch, wait: bool, exclusive: Exclusive) -> None:
        self._plan, self._steps, self._watch, self._wait = plan, steps, watch, wait
        self._exclusive = exclusive

    def ship(self, model: PlannedModel, device: str, measured: Measured, choice: Choice, tuned: Tuned | None) -> Answer:
        """The answer for a model on a device: `choice`, of the tuned variants if `tuned` is given."""
        folder = self._plan.out / model.name / device
        places: tuple[Path, ...] = (measured.variants,)
        if tuned is not None:
            places = (tuned.folder, measured.variants)
            measured = replace(measured, bench=tuned.folder / "bench", reference=tuned.folder / "proof")
        facts = {
            "benchmark": files.sha256_file(measured.bench / "benchmark.json"),
            "edgetf": __version__,
            "budgets": of_budgets(self._plan.budgets),
        }

        links = {"tuned": tuned.folder} if tuned is not None else {}
        links |= {"bench": measured.bench, "variants": measured.variants, "reference": measured.reference}
        reported = self._report(new(Verb.REPORT, model.name, device), folder, measured, links, facts)
        results = read_benchmark(measured.bench).results
        result = next((one for one in results if one.variant == choice.variant and one.path is not None), None)
        bundle = None
        if result is None:
            self._steps.not_needed(new(Verb.BUNDLE, model.name, device))
        else:
            bundle = self._steps.derived(
                new(Verb.BUNDLE, model.name, device),
                {**facts, "variant": result.variant, "golden": str(self._plan.options.golden)},
                folder / f"{result.variant}.edgetf",
                lambda out: self._bundle(out, measured, places, result),
            )
            if bundle is not None and result.path is not None and not self._steps.dry:
                _copy(Path(result.path), bundle.with_suffix(".tflite"))
        return Answer(
            model=model.name,
            device=device,
            ran_on=measured.ran_on,
            variant=choice.variant,
            verdict=_verdict(choice),
            sentence=sentence_of(choice),
            bytes=result.bytes if result else None,
            sha256=result.sha256 if result else None,
            file=str(bundle.with_suffix(".tflite")) if bundle else None,
            bundle=str(bundle) if bundle else None,
            report=str(reported) if reported else None,
            bench=str(measured.bench),
            others={one.variant: why_not(choice, one) for one in choice.candidates if one.variant != choice.variant},
        )

    def _report(
        self, step: StepRecord, folder: Path, measured: Measured, links: dict[str, Path], facts: dict[str, str]
    ) -> Path | None:
        """The report, and the links to the results."""
        try:
            for name, target in links.items() if not self._steps.dry else ():
                link(folder / name, target)
        except EdgetfError as error:
            self._steps.failed(step, error)
            return None
        return self._steps.derived(
            step,
            {**facts, "for": self._plan.objective.value},
            folder / "report.html",
            lambda file: self._write_report(measured, file),
        )

    def _write_report(self, measured: Measured, file: Path) -> None:
        from edgetf.benchmarks.report.render import (
            Asked,
            write_report,
        )  # a finished plan needs neither this nor bundles

        asked = Asked(self._plan.objective, self._plan.budgets)
        with self._exclusive():  # matplotlib is not for several threads
            write_report(measured.bench, file, True, measured.reference, asked)

    def _bundle(self, out: Path, measured: Measured, places: Sequence[Path], result: Result) -> None:
        from edgetf.benchmarks.bundle import BundleOptions, make_bundle
        from edgetf.benchmarks.diagnosis.twins import LadderOptions

        budgets = self._budgets_of(result.variant, measured.ran_on)
        asked = LadderOptions(result.variant, places, measured.reference, budgets=budgets, wait=self._wait)
        options = BundleOptions(asked, self._plan.options.golden, force=True)
        with self._watch(f"{out.name}: bundle") as on_event:
            make_bundle(measured.bench, out, options, on_event)

    def _budgets_of(self, variant: str, device: str) -> Budgets:
        own = self._plan.budgets.for_variant(variant)
        return replace(own.budgets, max_latency_ms=own.latency_ms.get(device))


def _verdict(choice: Choice) -> Verdict | None:
    known = {
        Outcome.CHOSEN: Verdict.PASS,
        Outcome.NOTHING_PASSES: Verdict.FAIL,
        Outcome.UNDECIDED: Verdict.INCONCLUSIVE,
    }
    return known.get(choice.outcome)


def _copy(source: Path, target: Path) -> None:
    """Let `target` have the content of `source`: complete at every moment."""
    if not target.is_file() or files.sha256_file(target) != files.sha256_file(source):
        files.write_whole(target, source.read_bytes())


def link(place: Path, target: Path) -> None:
    """Let `place` be a link to a result in the store. Raises EdgetfError if anything else is there."""
    is_own = place.is_symlink() and Path(os.readlink(place)).is_relative_to(store_home().resolve())  # noqa: PTH115
    if not is_own and (place.exists() or place.is_symlink()):
        raise EdgetfError(f"{place} is not a link to an earlier result", "move it, or give another folder with -o")
    with explained():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target.resolve(), target_is_directory=True)
