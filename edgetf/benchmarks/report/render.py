"""`benchmark.json` and its measurements in; one self-contained HTML file out, which needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgetf import files
from edgetf.benchmarks.diagnosis.costly import costly_of, time_layers
from edgetf.benchmarks.diagnosis.ladder import read_kept
from edgetf.benchmarks.judging import front
from edgetf.benchmarks.judging.choose import Objective, rank
from edgetf.benchmarks.judging.consistent import refuse_other_noise
from edgetf.benchmarks.judging.covered import culprit_in_words
from edgetf.benchmarks.judging.gate import Gate, judge_result
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.report import pareto, plots
from edgetf.benchmarks.report.colours import GRID, INK
from edgetf.benchmarks.report.confusion import confuse
from edgetf.benchmarks.report.evidence import gather, pair_outputs
from edgetf.benchmarks.report.samples import find_worst
from edgetf.benchmarks.report.stories import answers_of, machine_in_words, reference_in_words, stories_of
from edgetf.benchmarks.report.table import build_table, change
from edgetf.benchmarks.report.tuning import draw_candidates, find_tuning, front_of
from edgetf.benchmarks.report.words import (
    energy_in_words,
    how_it_ran,
    is_untimed,
    same_speed,
    sustained_in_words,
    unused_labels_of,
)
from edgetf.benchmarks.timing.rounds import load_timings
from edgetf.device.measurements import read_measurement
from edgetf.errors import MissingExtraError
from edgetf.results import Benchmark, ClassFigures, Result, read_benchmark
from edgetf.units import human_bytes, human_ms
from edgetf.verdicts import LOOKS

_SCRIPT = "report.js.j2"
_MANY = 10  # with this number of variants the table has a filter
_LONGEST, _LONGEST_OF_MANY = 5, 3  # operations of one variant to show
_CLASSES = 5  # classes of one output to show
_MOST_ROWS = 60  # of the plot of latencies; the figures of all variants are in the table
_WIDEST = 18  # letters of a name that is not wrapped


@dataclass(frozen=True)
class Asked:
    """What the report answers: which variant has least of what, within which budgets."""

    objective: Objective = Objective.BOTH
    gate: Gate = Gate((), Budgets(), {}, frozenset())


def write_report(place: Path, out: Path, force: bool, reference: Path | None = None, asked: Asked = Asked()) -> None:
    """Write the report on the benchmark at `place` (a folder or `benchmark.json`) to the file `out`.

    `reference` is the folder of its reference; by default it is searched in and beside the benchmark. Raises
    EdgetfError if `out` exists (unless `force`) or cannot be written, or if `reference` is a different one.
    """
    document = read_benchmark(place)
    files.refuse_output(out, force)
    folder = place if place.is_dir() else place.parent
    files.write_whole(out, render(document, folder, reference, asked).encode())


def render(document: Benchmark, folder: Path, reference: Path | None = None, asked: Asked = Asked()) -> str:
    """The report as HTML text. `folder` holds the measurements of `document`, `reference` its Reference."""
    try:
        from jinja2 import Environment, PackageLoader
    except ModuleNotFoundError as error:
        raise MissingExtraError("jinja2", "report") from error
    loader = PackageLoader("edgetf.benchmarks.report", ".")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        sustained_in_words=sustained_in_words, energy_in_words=energy_in_words, ms=human_ms, change=change
    )
    times = time_layers(document.results)
    environment.filters.update(bytes=human_bytes, costly=partial(costly_of, times=times), culprit=culprit_in_words)
    script, _, _ = loader.get_source(environment, _SCRIPT)
    results = document.results
    evidence = gather(document, folder, reference)
    pairs, unpaired = pair_outputs(document, folder, evidence)
    refuse_other_noise(document)
    compared = document.reference is not None
    checked = [judge_result(asked.gate.for_variant(result.variant), result, compared) for result in results]
    choices = rank(document, checked, asked.objective, asked.gate.budgets)
    stories = stories_of(document, choices)
    tuning = find_tuning(folder, document)
    rows = _times(results, folder)
    longest = _LONGEST if len(stories) < _MANY else _LONGEST_OF_MANY
    costly = [(story, costly_of(story.result, times, longest)) for story in stories if story.result.ops]
    return environment.get_template("report.html.j2").render(
        document=document,
        answers=answers_of(document, choices),
        stories=stories,
        table=build_table(stories),
        name_width=min(max(len(story.name) for story in stories), _WIDEST) + 1,
        looks=LOOKS,
        ink=INK,
        grid=GRID,
        filtered=len(stories) >= _MANY,
        reference=reference_in_words(document) if document.reference else "",
        machine=machine_in_words(document),
        pareto=pareto.draw_pareto(results),
        marks=pareto.marks_in_words(results),
        front=front.front_in_words(front.points_of(results)),
        same_speed=same_speed(results),
        unused_labels=unused_labels_of(results),
        how_it_ran=how_it_ran(results),
        untimed=is_untimed(results),
        latency=plots.draw_distribution(rows),
        rows=len(rows),
        turns=plots.draw_turns(results),
        minutes=plots.draw_minutes(results),
        tuning=tuning,
        candidates=draw_candidates(tuning) if tuning else None,
        tuned_front=front_of(tuning) if tuning else [],
        climbed=read_kept(folder, document),
        costly=costly,
        estimated=any(one.estimated for _, ops in costly for one in ops),
        layered=any(one.layer for _, ops in costly for one in ops),
        helps=any(one.help for _, ops in costly for one in ops),
        worst_classes=_worst_classes(results),
        confusions=confuse(pairs),
        worst=find_worst(pairs, evidence.samples) if evidence.samples is not None else [],
        missing=[*evidence.missing, *unpaired],
        script=script,
        # only this script may run and nothing may be fetched, whatever names and labels contain
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _worst_classes(results: Sequence[Result]) -> list[tuple[str, str, ClassFigures]]:
    """Classes that lost anything, by variant and output, the worst first."""
    found = []
    for result in results:
        for output in result.parity.outputs if result.parity else ():
            lost = [one for one in output.classes if one.agreement.share < 1]
            found += [(result.variant, output.name, one) for one in lost[:_CLASSES]]
    return found


def _times(results: Sequence[Result], folder: Path) -> list[plots.Latencies]:
    """The rows of the plot of latencies: of variants that were timed, the fastest if they are many."""
    timed = [result for result in results if result.latency_ms is not None and result.blocks]
    if len(timed) > _MOST_ROWS:
        timed = sorted(timed, key=lambda result: result.latency_ms.median if result.latency_ms else 0.0)[:_MOST_ROWS]
    rows = []
    for result in timed:
        places = [folder / block.measurement for block in result.blocks]
        found = [load_timings(read_measurement(result.device, place), place) for place in places]
        known = [np.asarray(timings["invoke_ns"]) for timings in found if timings is not None]
        if known:
            verdict = result.parity.verdict.value if result.parity else "none"
            rows.append(plots.latencies_of(result.variant, np.concatenate(known), verdict))
    return rows
