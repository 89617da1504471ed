"""User metrics. In: outputs of both sides and labels. Out: the scores of both, and the loss.

A metric is the user's code. Its failure must not lose what was measured: if it raises an exception or does not return
numbers, it is recorded as failed. Its direction is checked before anything runs: outputs that belong to other samples
must not score better than the Reference's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.distinct import Distinct
from edgetf.benchmarks.judging.label_metrics import span_of
from edgetf.errors import EdgetfError
from edgetf.functions import load_function, user_code
from edgetf.results import MetricFigures, MetricState
from edgetf.samples import Array

Outputs = Mapping[str, Array]
Scores = NDArray[np.float64]
GivenMetric = str | Callable[[dict[str, Array], Array], Any]  # a function, or its name as module:function
_SCALAR_RESAMPLES = 400  # for a metric with one number for all samples: each takes two calls
_MOST_FAILED = 0.05  # of the resamples
_SHUFFLES = 9
_MORE_SHUFFLES = 190  # if all are better than the reference: those of a meaningless one are with a chance of 1 in 200
_LEAST_SAMPLES = 10  # with fewer, a shuffled order may be the right one
_LARGEST = 1e99  # a difference, and an interval about it, can be stored


@dataclass(frozen=True)
class AskedMetric:
    """A metric to judge by; `chance` is the Reference's score with its outputs shuffled, if known, and `failed` the
    error that occurred with those."""

    name: str
    function: Callable[[dict[str, Array], Array], Any]
    less_is_better: bool = False
    chance: float | None = None
    failed: str = ""


class MetricFailedError(Exception):
    """The metric did not return numbers; the message says what happened."""


def metric_name(metric: GivenMetric) -> str:
    """The name of a metric in results: `module:function`. A partial has the name of its function, another object that
    of its class."""
    if isinstance(metric, str):
        return metric
    inner: Any = metric
    while isinstance(inner, partial):
        inner = inner.func
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{getattr(named, '__module__', None) or 'builtins'}:{named.__qualname__}"


def load_metric(metric: GivenMetric, less_is_better: bool = False) -> AskedMetric:
    """Load a function, or the one that `module:function` names, also from the current folder. Raises EdgetfError."""
    hint = "give module:function, such as detection:mean_average_precision, of this folder"
    function = load_function(metric, hint) if isinstance(metric, str) else metric
    return AskedMetric(metric_name(metric), function, less_is_better)


def with_chance(metric: AskedMetric, reference: Outputs, labels: Array) -> AskedMetric:
    """The same with `chance`, the score of outputs of other samples, unless the metric fails.

    Raises EdgetfError if they are certainly better than the Reference's own: then the direction is wrong.
    """
    n = len(labels)
    if n < _LEAST_SAMPLES:
        return metric
    random, others = np.random.default_rng(0), list[float]()
    sign = -1.0 if metric.less_is_better else 1.0
    try:
        own = float(_score(metric, reference, labels, np.arange(n)).mean())
        for _ in range(_SHUFFLES + _MORE_SHUFFLES):
            others.append(float(_score(metric, reference, labels, np.arange(n), random.permutation(n)).mean()))
            if len(others) == _SHUFFLES:
                chance = float(np.mean(others))
            if len(others) >= _SHUFFLES and any(sign * (own - other) >= 0 for other in others):
                return replace(metric, chance=chance)
    except MetricFailedError as error:
        return replace(metric, failed=str(error))
    scores = f"{own:.4g} for the reference's outputs, {chance:.4g} for the same outputs shuffled"
    if metric.less_is_better:
        hint = "leave out --metric-less-is-better; several metrics must have the same direction"
        raise EdgetfError(f"by the metric {metric.name} more is better: it is {scores}", hint)
    hint = "give --metric-less-is-better, or return its negative; if more is better, the labels are wrong"
    raise EdgetfError(f"by the metric {metric.name} less is better: it is {scores}", hint)


def own_metric(
    metric: AskedMetric, reference: Outputs, variant: Outputs, labels: Array, distinct: Distinct | None = None
) -> MetricFigures:
    """The scores of both sides, on distinct samples.

    The function takes a dict of the outputs by name, each of shape (n, ...), and the labels. It returns a number for
    each of the n samples (their mean counts), or one for all. If the score does not change with the outputs, that is a
    doubt. If the metric fails, it has no figures and the state FAILED.
    """
    rows = np.arange(len(labels)) if distinct is None else np.flatnonzero(distinct.first)
    try:
        return _measure(metric, (reference, variant), labels, rows)
    except MetricFailedError as error:
        doubt = f"the metric {metric.name} failed: {error}"
        none = MetricFigures(metric.name, None, len(rows), 0.0, 0.0, 0.0, 0.0, 0.0, (doubt,))
        return replace(none, less_is_better=metric.less_is_better, state=MetricState.FAILED)


def _measure(
    metric: AskedMetric, sides: tuple[Outputs, Outputs], labels: Array, rows: NDArray[np.int64]
) -> MetricFigures:
    theirs, ours = (_score(metric, side, labels, rows) for side in sides)
    if theirs.shape != ours.shape:
        raise MetricFailedError("it returns one number for some outputs, and many for others")
    n, low, high, doubts = len(rows), 0.0, 0.0, tuple[str, ...]()
    sign = -1.0 if metric.less_is_better else 1.0
    if not np.array_equal(theirs, _score(metric, sides[0], labels, rows)):
        doubts = (f"{metric.name} differs between calls with the same outputs",)
    elif n > 1 and np.array_equal(theirs, _score(metric, sides[0], labels, rows, np.roll(np.arange(n), 1))):
        doubts = (f"{metric.name} is the same for outputs of other samples: does it use outputs, a dict of arrays?",)
    elif theirs.ndim:
        low, high = statistics.paired_bootstrap(sign * (theirs - ours), span_of(theirs, ours))
    else:

        def lost(drawn: NDArray[np.int64]) -> float:
            one, other = (_score(metric, side, labels, rows[drawn]) for side in sides)
            return sign * float(one - other)

        low, high, doubts = _resampled(lost, n, span_of(theirs, ours))
    reached = float(theirs.mean()), float(ours.mean())
    drop = sign * float((theirs - ours).mean())
    if not doubts:  # resamples have fewer different samples, and a metric that counts them is lower for all
        low, high = min(low, drop), max(high, drop)
    found = MetricFigures(metric.name, None, n, *reached, drop, low, high, doubts)
    return replace(found, less_is_better=metric.less_is_better, chance=metric.chance)


def _score(
    metric: AskedMetric,
    outputs: Outputs,
    labels: Array,
    rows: NDArray[np.int64],
    order: NDArray[np.int64] | None = None,
) -> Scores:
    """The metric on those samples, with their own outputs or in another `order`. Raises MetricFailedError.

    It gets copies, which it may change.
    """
    chosen = rows if order is None else rows[order]
    given = {key: np.array(values[chosen]) for key, values in outputs.items()}, labels[rows].copy()
    with user_code(MetricFailedError):
        found = metric.function(*given)
        numbers = np.asarray(found)
    if isinstance(found, (bool, np.bool_)) or numbers.dtype.kind not in "biuf":
        raise MetricFailedError(f"it returned {type(found).__name__} of {numbers.dtype}: return numbers")
    if numbers.shape not in ((), (len(rows),)):
        shape = f"shape {list(numbers.shape)} for {len(rows)} samples"
        raise MetricFailedError(f"it returned {shape}: return one number for all samples, or one for each")
    scores = numbers.astype(np.float64)
    if not np.isfinite(scores).all() or (np.abs(scores) > _LARGEST).any():
        raise MetricFailedError(f"it returned NaN, infinity, or numbers above {_LARGEST:g}")
    return scores


def _resampled(
    difference: Callable[[NDArray[np.int64]], float], n: int, span: tuple[float, float]
) -> tuple[float, float, tuple[str, ...]]:
    """Percentile bootstrap of a score of all samples together, with doubts; the seed is fixed.

    If no resample differs, the effect of a few other samples is estimated as in `statistics.paired_bootstrap`.
    """
    random, drawn, failed = np.random.default_rng(0), [], 0
    for _ in range(_SCALAR_RESAMPLES):
        try:
            drawn.append(difference(random.integers(0, n, n)))
        except MetricFailedError:  # it works with all samples: this resample lacks something, such as a class
            failed += 1
    if failed > _MOST_FAILED * _SCALAR_RESAMPLES:
        return 0.0, 0.0, (f"it cannot be computed for {failed} of {_SCALAR_RESAMPLES} resamples",)
    low, high = np.quantile(drawn, [(1 - statistics.CONFIDENCE) / 2, (1 + statistics.CONFIDENCE) / 2])
    more = statistics.agreement(0, n).high * (span[1] - span[0]) if low == high == 0 else 0.0
    return float(low) - more, float(high) + more, ()
