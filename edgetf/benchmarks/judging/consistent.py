"""Consistency of the figures of a result: if they contradict each other, they were changed or damaged.

A verdict is computed again from figures, and an interval must follow from its counts. This detects accidents and
careless edits. Consistent manipulation can only be detected by measuring again.
"""

from __future__ import annotations

import math

from edgetf.benchmarks.judging import statistics
from edgetf.errors import EdgetfError
from edgetf.results import Accuracy, Agreement, OutputFigures, Result

_ROUNDING = 1e-6


def refuse_contradictions(result: Result) -> None:
    """Raise EdgetfError if the intervals of `result` do not follow from its counts."""
    for output in result.parity.outputs if result.parity else ():
        for what, found in (("accuracy", _accuracy(output)), ("agreement", _agreement(output))):
            if not found:
                message = f"the {what} of {output.name} of {result.variant} contradicts its counts"
                raise EdgetfError(message, "benchmark.json was changed or damaged: benchmark again")


def _accuracy(output: OutputFigures) -> bool:
    found = output.accuracy
    if found is None:
        return True
    lost, won, n = found.only_reference_right, found.only_variant_right, found.n
    if n < 1 or min(lost, won) < 0 or lost + won > n or not _near(found.drop_points, 100 * (lost - won) / n):
        return False
    if not _near(found.reference - found.variant, (lost - won) / n):
        return False
    return output.any_time or _same(found, statistics.paired_interval(lost, won, n), 100.0)


def _agreement(output: OutputFigures) -> bool:
    found = output.agreement
    if found is None or found.positions > 1:
        return True
    if found.n < 1 or not 0 <= found.same <= found.n or not _near(found.share, found.same / found.n):
        return False
    again = statistics.agreement(found.same, found.n)
    return output.any_time or _same(found, (again.low, again.high), 1.0)


def _same(found: Accuracy | Agreement, interval: tuple[float, float], unit: float) -> bool:
    return _near(found.low, unit * interval[0]) and _near(found.high, unit * interval[1])


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
