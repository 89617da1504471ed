"""`benchmark.json` and its measurements in; one self-contained HTML file out, which needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgetf import files
from edgetf.benchmarks.plots import Times, distribution_svg, tradeoff_svg
from edgetf.benchmarks.rounds import load_timings
from edgetf.benchmarks.times import told_apart
from edgetf.benchmarks.words import energy_in_words, how_it_ran, same_speed, sustained_in_words
from edgetf.device.measurements import read_measurement
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.figures import Latency
from edgetf.results import Benchmark, Result, Status, Verdict, read_benchmark

_WORDS = {Verdict.PASS: "passes", Verdict.FAIL: "fails", Verdict.INCONCLUSIVE: "is undecided"}
_FAILED = {"conversion": "was not converted", "device": "did not run", "parity": "cannot be compared"}
_YARDSTICK = "float32"


@dataclass(frozen=True)
class Story:
    """What the report says about one variant: a verdict, sentences of why, and one of what it gains."""

    result: Result
    verdict: str
    headline: str
    why: tuple[str, ...]
    gains: str


def write_report(place: Path, out: Path, force: bool) -> None:
    """Write the report on the benchmark at `place` (a folder or `benchmark.json`) to the file `out`.

    Raises EdgetfError when `out` exists (unless `force`) or cannot be written.
    """
    document = read_benchmark(place)
    if out.is_dir():
        raise EdgetfError(f"{out} is a folder", "give the file to write, such as -o report.html")
    if out.exists() and not force:
        raise EdgetfError(f"{out} already exists", "give another file with -o, or --force to replace it")
    if not out.parent.is_dir():
        raise EdgetfError(f"cannot write {out}: there is no folder {out.parent}", "make it, or choose another with -o")
    folder = place if place.is_dir() else place.parent
    files.write_whole(out, render(document, folder).encode())


def render(document: Benchmark, folder: Path) -> str:
    """The report as HTML text. `folder` holds the measurements of `document`."""
    try:
        from jinja2 import Environment, PackageLoader
    except ModuleNotFoundError as error:
        raise MissingExtraError("jinja2", "report") from error
    environment = Environment(loader=PackageLoader("edgetf.benchmarks", "."), autoescape=True, trim_blocks=True)
    environment.filters["size"] = lambda value: f"{value:,}" if value is not None else ""
    environment.filters.update(sustained_in_words=sustained_in_words, energy_in_words=energy_in_words)
    results = document.results
    return environment.get_template("report.html.j2").render(
        document=document,
        summary=summary(document),
        stories=[tell(result, results) for result in results],
        tradeoff=tradeoff_svg(results),
        same_speed=same_speed(results),
        how_it_ran=how_it_ran(results),
        latency=distribution_svg(_times(document, folder)),
    )


def summary(document: Benchmark) -> str:
    """The first sentence of the report."""
    results = document.results
    failed = sum(r.status is Status.FAILED for r in results)
    if failed == len(results):
        return f"None of {len(results)} variants ran."
    if document.reference is None:
        return f"{len(results) - failed} of {len(results)} variants were timed; nothing was compared with a reference."
    passed = sum(r.parity is not None and r.parity.verdict is Verdict.PASS for r in results)
    return f"{passed} of {len(results)} variants do what the reference does, within their budgets."


def tell(result: Result, results: tuple[Result, ...]) -> Story:
    """The verdict on one variant in words."""
    if result.error is not None:
        headline = f"{result.variant} {_FAILED.get(result.error.code, 'failed')}"
        return Story(result, "fail", headline, (result.error.message,), "")
    gains = _gains(result, results)
    if result.parity is None:
        return Story(result, "none", f"{result.variant} was timed", ("It was not compared with a reference.",), gains)
    headline = f"{result.variant} {_WORDS[result.parity.verdict]}"
    outputs = result.parity.outputs
    why = [f"{o.name}: {o.reason}." if len(outputs) > 1 else f"{o.reason[:1].upper()}{o.reason[1:]}." for o in outputs]
    return Story(result, result.parity.verdict.value, headline, tuple(why), gains)


def _gains(result: Result, results: tuple[Result, ...]) -> str:
    """Size and speed beside float32, where it was measured too; speed only when the intervals tell them apart."""
    base = next((r for r in results if r.scheme == _YARDSTICK and r.latency_ms), None)
    if base is None or base is result or result.latency_ms is None or base.latency_ms is None:
        return ""
    if result.bytes is None or base.bytes is None:
        return ""
    size = result.bytes / base.bytes
    smaller = f"{1 / size:.1f} times smaller than float32" if size < 0.95 else f"{size:.1f} times the size of float32"
    if 0.95 <= size <= 1.05:
        smaller = "as large as float32"
    return f"It is {smaller}, and {compare_speed(result.latency_ms, base.latency_ms)}."


def compare_speed(one: Latency, base: Latency) -> str:
    """Whether `one` is faster or slower than `base`, as far as the medians tell: their intervals must not overlap."""
    if not told_apart(one, base):
        return "not told apart from it in speed"
    ratio = base.median / one.median
    if ratio > 1:
        return f"{_times_as(ratio)} faster here"
    return f"{_times_as(1 / ratio)} slower here: not faster on this device"


def _times_as(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio >= 1.5 else f"{100 * (ratio - 1):.0f} %"


def _times(document: Benchmark, folder: Path) -> list[Times]:
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
            rows.append(Times(result.variant, np.concatenate(blocks), verdict))
    return rows
