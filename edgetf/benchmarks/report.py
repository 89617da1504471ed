"""`benchmark.json` and its measurements in; one self-contained HTML file out, which needs no network."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np

from edgetf import files
from edgetf.benchmarks import pareto, plots
from edgetf.benchmarks.confusion import confuse
from edgetf.benchmarks.ladder import read_kept
from edgetf.benchmarks.report_evidence import gather, pair_outputs
from edgetf.benchmarks.report_samples import find_worst
from edgetf.benchmarks.report_words import summary, tell
from edgetf.benchmarks.rounds import load_timings
from edgetf.benchmarks.words import energy_in_words, how_it_ran, same_speed, sustained_in_words
from edgetf.device.measurements import read_measurement
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.results import Benchmark, read_benchmark

_SCRIPT = "report.js.j2"


def write_report(place: Path, out: Path, force: bool, reference: Path | None = None) -> None:
    """Write the report on the benchmark at `place` (a folder or `benchmark.json`) to the file `out`.

    `reference` is the folder of what it was compared with, else it is looked for in and beside the benchmark. Raises
    EdgetfError when `out` exists (unless `force`) or cannot be written, or when `reference` is another.
    """
    document = read_benchmark(place)
    if out.is_dir():
        raise EdgetfError(f"{out} is a folder", "give the file to write, such as -o report.html")
    if out.exists() and not force:
        raise EdgetfError(f"{out} already exists", "give another file with -o, or --force to replace it")
    if not out.parent.is_dir():
        raise EdgetfError(f"cannot write {out}: there is no folder {out.parent}", "make it, or choose another with -o")
    folder = place if place.is_dir() else place.parent
    files.write_whole(out, render(document, folder, reference).encode())


def render(document: Benchmark, folder: Path, reference: Path | None = None) -> str:
    """The report as HTML text. `folder` holds the measurements of `document`, `reference` its Reference."""
    try:
        from jinja2 import Environment, PackageLoader
    except ModuleNotFoundError as error:
        raise MissingExtraError("jinja2", "report") from error
    loader = PackageLoader("edgetf.benchmarks", ".")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True)
    environment.filters["size"] = lambda value: f"{value:,}" if value is not None else ""
    environment.filters.update(sustained_in_words=sustained_in_words, energy_in_words=energy_in_words)
    script, _, _ = loader.get_source(environment, _SCRIPT)
    results = document.results
    evidence = gather(document, folder, reference)
    pairs, unpaired = pair_outputs(document, folder, evidence)
    return environment.get_template("report.html.j2").render(
        document=document,
        summary=summary(document),
        stories=[tell(result, document) for result in results],
        pareto=pareto.draw_pareto(results),
        front=pareto.tell_front(pareto.points_of(results)),
        same_speed=same_speed(results),
        how_it_ran=how_it_ran(results),
        latency=plots.draw_distribution(_times(document, folder)),
        turns=plots.draw_turns(results),
        minutes=plots.draw_minutes(results),
        climbed=read_kept(folder, document),
        confusions=confuse(pairs),
        worst=find_worst(pairs, evidence.samples) if evidence.samples is not None else [],
        missing=[*evidence.missing, *unpaired],
        script=script,
        # only this script may run, nothing may be fetched: whatever a name or a label holds
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _times(document: Benchmark, folder: Path) -> list[plots.Times]:
    rows = []
    for result in document.results:
        blocks = []
        for block in result.blocks:
            place = folder / block.measurement
            timings = load_timings(read_measurement(result.device, place), place)
            if timings is not None:
                blocks.append(timings["invoke_ns"] / 1e6)
        if blocks:
            verdict = result.parity.verdict.value if result.parity else "none"
            rows.append(plots.Times(result.variant, np.concatenate(blocks), verdict))
    return rows
