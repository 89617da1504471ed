"""Consistency of the figures of a result: if they contradict each other, they were changed or damaged.

A verdict is computed again from figures. An interval must follow from its counts, or at least contain its estimate; a
drop must be that of its scores, and an SQNR must be possible for the errors. This detects accidents and careless edits.
Consistent manipulation can only be detected by measuring again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.classes import lost_of
from edgetf.errors import EdgetfError
from edgetf.results import (
    Accuracy,
    Agreement,
    Benchmark,
    ColumnFigures,
    MetricFigures,
    MetricState,
    OutputFigures,
    Parity,
    Result,
)

_ROUNDING = 1e-6
_OF_COSINE = 1e-9  # rounding of 1 - cosine^2
_SQUARED = 1e70  # the squares of numbers between its inverse and this, and products of those, are exact enough
_HINT = "benchmark.json was changed or damaged: benchmark again"


def refuse_contradictions(result: Result) -> None:
    """Raise EdgetfError if figures of `result` contradict each other."""
    found = chain(_of_parity(result.parity) if result.parity else (), _of_times(result))
    for what, other in found:  # the first: later checks are of figures that earlier ones have passed
        raise EdgetfError(f"the {what} of {result.variant} contradicts {other}", _HINT)


def refuse_other_noise(benchmark: Benchmark) -> None:
    """Raise EdgetfError if an output has other noise than the reference in the same document."""
    reference = benchmark.reference
    if reference is None:
        return
    for result in benchmark.results:
        for output in result.parity.outputs if result.parity else ():
            name = output.name
            known = reference.floor(name), reference.floor_n(name), reference.spread(name), reference.comparable(name)
            if (output.floor, output.floor_n, output.spread, output.comparable) != known:
                raise EdgetfError(f"the noise of {name} of {result.variant} contradicts the reference's", _HINT)


Found = Iterator[tuple[str, str]]  # figures, and what they contradict


def _of_parity(parity: Parity) -> Found:
    if parity.distinct is not None and not 1 <= parity.distinct <= parity.n:
        yield "number of distinct samples", "the number of samples"
    for output in parity.outputs:
        yield from _of_output(output)
        if output.any_time and parity.of is None:
            yield f"interval of {output.name}", "a run of all samples"
    for metric in parity.metrics:
        if not _metric(metric):
            yield metric.name, "its scores"


def _of_output(output: OutputFigures) -> Found:
    name, agreement = output.name, output.agreement
    if output.accuracy is not None and not _accuracy(output.accuracy, output.any_time):
        yield f"accuracy of {name}", "its counts"
    if agreement is not None and not _agreement(agreement, output.any_time or agreement.positions > 1):
        yield f"agreement of {name}", "its counts"
    if not _classes(output):
        yield f"results by class of {name}", "their counts"
    if not output.lost and lost_of(output.classes, agreement.positions if agreement else 1):
        yield f"results by class of {name}", "that no class is lost"
    if not (_decibels(output) and all(_decibels(column) for column in output.columns)):
        yield f"SQNR of {name}", "its interval"
    if not (_errors(output) and _possible(output)):
        yield f"SQNR of {name}", "its errors"
    if output.constant and not output.doubts:
        yield f"reference's output {name}, which is constant,", "that it can be judged"


def _of_times(result: Result) -> Found:
    latency, medians = result.latency_ms, [block.median_ms for block in result.blocks]
    if latency is None:
        return
    if not _ordered(latency.low, latency.median, latency.high):
        yield "latency", "its interval"
    if len(medians) > 1 and not _ordered(min(medians), latency.median, max(medians)):
        yield "latency", "its blocks"


# counts -----------------------------------------------------------------------------------------------------------


def _accuracy(found: Accuracy, any_time: bool) -> bool:
    lost, won, n = found.only_reference_right, found.only_variant_right, found.n
    if n < 1 or min(lost, won) < 0 or lost + won > n or not _near(found.drop_points, 100 * (lost - won) / n):
        return False
    right = round(found.reference * n)
    if not _near(found.reference, right / n) or not lost <= right <= n - won:
        return False
    if not _near(found.reference - found.variant, (lost - won) / n):
        return False
    if any_time:  # its interval depends on the order of the samples
        return _ordered(found.low, found.drop_points, found.high)
    return _same(found, statistics.paired_interval(lost, won, n), 100.0)


def _agreement(found: Agreement, only_contained: bool) -> bool:
    """`only_contained` is for intervals that do not follow from the counts."""
    if found.n < 1 or found.positions < 1 or not 0 <= found.same <= found.n * found.positions:
        return False
    # of several positions, `same` is rounded to complete samples
    rounded = 0.5 if found.positions > 1 or only_contained else 0.0
    if abs(found.share * found.n - found.same / found.positions) > rounded + _ROUNDING * found.n:
        return False
    if only_contained:
        return _ordered(found.low, found.share, found.high)
    again = statistics.agreement(found.same, found.n)
    return _same(found, (again.low, again.high), 1.0)


def _classes(output: OutputFigures) -> bool:
    by_sample = output.agreement is not None and output.agreement.positions == 1
    for one in output.classes:
        if one.accuracy is not None and not (one.accuracy.n == one.n and _accuracy(one.accuracy, any_time=False)):
            return False
        counted = by_sample or one.accuracy is not None  # else by positions
        if one.agreement.n != one.n or not _agreement(one.agreement, only_contained=not counted):
            return False
    return True


def _same(found: Accuracy | Agreement, interval: tuple[float, float], unit: float) -> bool:
    return _near(found.low, unit * interval[0]) and _near(found.high, unit * interval[1])


# scores and errors ------------------------------------------------------------------------------------------------


def _metric(found: MetricFigures) -> bool:
    if found.state is MetricState.FAILED:
        return bool(found.doubts)
    sign = -1.0 if found.less_is_better else 1.0
    scale = max(map(abs, (found.reference, found.variant, found.drop)))
    if abs(sign * (found.reference - found.variant) - found.drop) > _ROUNDING * scale:
        return False
    return bool(found.doubts) or _ordered(found.low, found.drop, found.high)  # doubtful: there may be no interval


def _decibels(found: OutputFigures | ColumnFigures) -> bool:
    """Whether an SQNR is in its interval, whose unknown ends are infinite."""
    low, high = found.centred_low_db, found.centred_high_db
    if found.centred_db is None:
        return low is None and high is None
    return _ordered(-math.inf if low is None else low, found.centred_db, math.inf if high is None else high)


def _errors(output: OutputFigures) -> bool:
    """Whether the errors of an output are possible together."""
    if not 0 <= output.mean_abs <= output.max_abs * (1 + _ROUNDING):
        return False
    if output.constant and output.centred_db is not None:
        return False
    if not all(_errors_of_column(output, column) for column in output.columns):
        return False
    if output.max_abs > 0:
        return True
    if output.mean_abs > 0 or (output.sqnr_db, output.centred_db) != (None, None):
        return False
    if output.problems or output.integer:  # NaN, or numbers of more than 53 bits
        return True
    changed = output.accuracy.only_reference_right + output.accuracy.only_variant_right if output.accuracy else 0
    return changed == 0 and (output.agreement is None or _near(output.agreement.share, 1.0))


def _errors_of_column(output: OutputFigures, column: ColumnFigures) -> bool:
    """A group of columns with errors has an SQNR, and no larger errors than the whole output."""
    if not 0 <= column.max_abs <= output.max_abs:
        return False
    return column.max_abs <= 1 / _SQUARED if column.centred_db is None else column.max_abs > 0


def _possible(output: OutputFigures) -> bool:
    """Whether the SQNR is not above what the errors allow.

    The noise is at least the square of the mean error, the signal at most that of the largest value, and less about the
    mean. With the best factor for the variant, the noise is still 1 - cosine^2 of the signal.
    """
    largest, error, whole = output.max_abs_reference, output.mean_abs, output.sqnr_db
    known = [db for db in (whole, output.centred_db) if db is not None]
    if not known:
        return True
    if whole is not None and max(known) > whole + _ROUNDING:
        return False
    if not 1 / _SQUARED < largest < _SQUARED or error <= 0:
        return True
    if max(known) > 20 * math.log10(largest / error) + _ROUNDING:
        return False
    share = 1 - max(output.cosine, 0.0) ** 2 - _OF_COSINE
    return share <= 0 or max(known) <= -10 * math.log10(share) + _ROUNDING


def _ordered(low: float, value: float, high: float) -> bool:
    """Whether `low` to `high` contains the value, with rounding."""
    rounding = _ROUNDING * max((abs(one) for one in (low, value, high) if math.isfinite(one)), default=0.0)
    return low - rounding <= value <= high + rounding


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
