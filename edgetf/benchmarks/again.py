"""Verify a result against its stored outputs: the figures in `benchmark.json` must follow from them.

A document can be edited. The arrays can be edited too, but then they differ from the outputs of the variant.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from edgetf.benchmarks.diagnosis.twins import Twins
from edgetf.benchmarks.judging.distinct import find_distinct
from edgetf.benchmarks.judging.ground import Ground, figures_of, metrics_of
from edgetf.benchmarks.judging.labels import interpret
from edgetf.benchmarks.judging.own_metric import load_metric
from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.rows import Outputs, load_passes, together
from edgetf.device.measurements import read_measurement
from edgetf.errors import EdgetfError
from edgetf.results import MetricFigures, OutputFigures, Result

_ROUNDING = 1e-6
_AGAIN = "benchmark.json and its measurements do not belong together: benchmark again"


def refuse_other_figures(twins: Twins, folder: Path, reference: Path) -> Outputs:
    """The stored outputs of the variant of `twins`. Raises EdgetfError if they are missing or contradict the result."""
    result, samples = twins.result, twins.samples
    stored = _outputs(result, folder)
    pinned = load_outputs(twins.reference, reference)
    read = interpret(pinned.values, samples.labels, samples.output_labels, twins.labels_are)
    distinct = find_distinct(samples.inputs)
    asked = [one for one in result.parity.metrics if one.output is None] if result.parity else []
    metrics = tuple(load_metric(one.name, one.less_is_better) for one in asked)
    ground = Ground(samples, False, twins.reference, pinned, read, metrics=metrics, distinct=distinct)
    theirs, ours = together(pinned, stored)
    known = {output.name: output for output in result.parity.outputs} if result.parity else {}
    for found in figures_of(theirs, ours, ground):
        if found.name not in known or not _alike(found, known.pop(found.name)):
            raise EdgetfError(f"the outputs {found.name} of {result.variant} contradict benchmark.json", _AGAIN)
    if known:
        raise EdgetfError(f"{result.variant} has no output {sorted(known)[0]} in {folder}", _AGAIN)
    scores = {metric.name: metric for metric in result.parity.metrics} if result.parity else {}
    for score in metrics_of(theirs, ours, ground):
        if score.name not in scores or not _same_score(score, scores.pop(score.name)):
            raise EdgetfError(f"{score.name} of the outputs of {result.variant} contradicts benchmark.json", _AGAIN)
    if scores:
        raise EdgetfError(f"{result.variant} has no {sorted(scores)[0]} in {folder}", _AGAIN)
    return stored


def refuse_other_answers(result: Result, stored: Outputs, here: Outputs, tolerances: dict[str, float]) -> None:
    """Raise EdgetfError if the variant's outputs on the first samples now differ from the measured ones."""
    for name, values in here.values.items():
        measured = stored.values[name][: len(values)]
        if name in here.shapes or measured.shape != values.shape:
            continue
        difference = float(np.abs(np.asarray(measured, np.float64) - np.asarray(values, np.float64)).max(initial=0.0))
        if not difference <= tolerances[name]:
            message = f"the outputs of {result.variant} differ from the measured ones: {name} by {difference:.3g}"
            raise EdgetfError(
                message, "was the runtime changed? benchmark again, or give --unproven to bundle it anyway"
            )


def _outputs(result: Result, folder: Path) -> Outputs:
    place = folder / str(result.measurement) / "samples"
    if not (place / "measurement.json").is_file():
        raise EdgetfError(f"the outputs of {result.variant} are not in {place}", "give the complete benchmark folder")
    measurement = read_measurement(result.device, place)
    if measurement.samples is None or measurement.model_sha256 not in (None, result.sha256):
        raise EdgetfError(f"{place} is not of the file of {result.variant}", _AGAIN)
    return load_passes([(measurement.samples, place)])


def _same_score(found: MetricFigures, known: MetricFigures) -> bool:
    pairs = [(getattr(found, name), getattr(known, name)) for name in ("reference", "variant", "drop", "low", "high")]
    return found.doubts == known.doubts and all(math.isclose(*pair, rel_tol=_ROUNDING, abs_tol=1e-9) for pair in pairs)


def _alike(found: OutputFigures, known: OutputFigures) -> bool:
    """Whether the figures that verdicts are made from are the same; the words of a doubt may be."""
    facts, others = _facts(found), _facts(known)
    numbers, known_numbers = _numbers(found), _numbers(known)
    if facts != others or numbers.keys() != known_numbers.keys():
        return False
    pairs = [(numbers[key], known_numbers[key]) for key in numbers]
    return all(math.isclose(*pair, rel_tol=_ROUNDING, abs_tol=1e-12) for pair in pairs)


def _facts(of: OutputFigures) -> tuple[object, ...]:
    judged_by = of.agreement is None, of.accuracy is None, [(one.axis, one.spans) for one in of.columns]
    words = of.problems, of.lost, bool(of.doubts), bool(of.fading)
    return (*judged_by, *words, of.comparable, of.integer, of.constant, of.labels)


def _numbers(of: OutputFigures) -> dict[str, float]:
    """The numbers by name; those that are not known are left out."""
    fields = ("max_abs", "mean_abs", "max_abs_reference", "floor", "floor_n", "spread")
    found = {name: getattr(of, name) for name in fields}
    for k, one in enumerate((of, *of.columns)):
        found |= {f"{k}.{name}": getattr(one, name) for name in ("centred_db", "centred_low_db", "centred_high_db")}
    for counts in (of.agreement, of.accuracy):
        found |= {f"{type(counts).__name__}.{name}": value for name, value in vars(counts).items()} if counts else {}
    return {name: float(value) for name, value in found.items() if value is not None}
