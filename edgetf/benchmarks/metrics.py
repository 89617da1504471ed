"""What outputs are worth beside the labels, by a number for each sample or for all: both sides on the same samples.

Built in are the share of right positions of dense outputs (segmentation, tagging) and the error of regressions, in
points; `module:function` names one of the user's own, for detection, sequences and all else. Intervals come from the
paired bootstrap: samples are drawn with both answers to them (Efron and Tibshirani, An Introduction to the Bootstrap,
chapters 8 and 13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks import statistics
from edgetf.errors import EdgetfError
from edgetf.functions import load_function
from edgetf.results import MetricFigures
from edgetf.samples import Array

Outputs = Mapping[str, Array]
Metric = Callable[[dict[str, Array], Array], Any]
_BLOCK = 1 << 20  # numbers that are scored at once
_SCALAR_RESAMPLES = 400  # of a metric that is one number for all samples: each takes two calls
_MOST_CLASSES = 1 << 16
_MOST_FAILED = 0.05  # of the drawings


def load_metric(name: str) -> Metric:
    """The function that `module:function` names, importable from the current folder. Raises EdgetfError."""
    return load_function(name, "give module:function, such as detection:mean_average_precision, of this folder")


def own_metric(name: str, reference: Outputs, variant: Outputs, labels: Array | None) -> MetricFigures:
    """`name` of both sides. More must be better.

    The function takes a dict of the outputs by name, each of shape (n, ...), and the labels, and returns a number for
    each of the n samples, whose mean counts, or one for all. One that is the same when samples change their outputs is
    a doubt. Raises EdgetfError where it fails, or returns something else.
    """
    if labels is None:
        raise EdgetfError(f"the metric {name} needs labels", "save them in the samples under 'labels'")
    metric, n = load_metric(name), len(labels)

    def score(outputs: Outputs, rows: Any, moved: int = 0) -> NDArray[np.float64]:
        given = {key: np.roll(np.asarray(values[rows]), moved, axis=0) for key, values in outputs.items()}
        try:
            found = np.asarray(metric(given, np.asarray(labels[rows])), np.float64)
        except Exception as error:  # it is the user's code: whatever it raises is told
            raise EdgetfError(f"the metric {name} failed: {type(error).__name__}: {error}", "mend it") from error
        if found.shape not in ((), (len(labels[rows]),)):
            raise EdgetfError(
                f"the metric {name} returned shape {list(found.shape)} for {len(labels[rows])} samples",
                "return one number for all samples, or one for each",
            )
        if not np.isfinite(found).all():
            raise EdgetfError(f"the metric {name} returned NaN or infinity", "mend it")
        return found

    everything = slice(0, n)
    theirs, ours = score(reference, everything), score(variant, everything)
    if theirs.shape != ours.shape:
        raise EdgetfError(f"the metric {name} returns one number for some outputs, and many for others", "mend it")
    low = high = 0.0
    doubts: tuple[str, ...] = ()
    if n > 1 and np.array_equal(theirs, score(reference, everything, moved=1)):
        doubts = (f"{name} is the same for outputs of other samples: does it look at outputs, a dict of arrays?",)
    elif theirs.ndim:
        low, high = statistics.paired_bootstrap(theirs - ours, _span(theirs, ours))
    else:
        span = _span(theirs, ours)
        low, high, doubts = _resampled(lambda rows: float(score(reference, rows) - score(variant, rows)), n, span)
    drop = float((theirs - ours).mean())
    return MetricFigures(name, None, n, float(theirs.mean()), float(ours.mean()), drop, low, high, doubts)


def built_in_metrics(reference: Outputs, variant: Outputs, labels: Array | None) -> list[MetricFigures]:
    """What the labels let one say of outputs that are no single class: positions that are right, values that are near.

    Labels of shape (n, ...) are for the outputs of shape (n, ..., K), whole numbers below K, or for those of their own
    shape, other numbers. Where the Reference is no better than one answer for all, that is a doubt.
    """
    if labels is None:
        return []
    found = []
    for name in sorted(variant):
        scored = _dense(reference[name], variant[name], labels) or _regression(reference[name], variant[name], labels)
        if scored is not None:
            found.append(_figures(name, scored))
    return found


@dataclass(frozen=True)
class _Scored:
    """A score of each sample by both sides, in points, and what one answer for all samples would reach."""

    what: str
    reference: NDArray[np.float64]
    variant: NDArray[np.float64]
    chance: float
    span: tuple[float, float]


def _figures(output: str, scored: _Scored) -> MetricFigures:
    theirs, ours = scored.reference, scored.variant
    low, high = statistics.paired_bootstrap(theirs - ours, scored.span)
    doubts: tuple[str, ...] = ()
    if theirs.mean() <= scored.chance:
        doubts = (f"the labels do not fit {output}: the reference is no better than one answer for all samples",)
    drop = float((theirs - ours).mean())
    name = f"{scored.what} of {output}"
    reached = float(theirs.mean()), float(ours.mean())
    return MetricFigures(name, output, len(theirs), *reached, drop, low, high, doubts)


def _dense(reference: Array, variant: Array, labels: Array) -> _Scored | None:
    """Percent of the positions of a sample whose class is right."""
    whole = labels.dtype.kind in "iu" and labels.ndim >= 2 and reference.ndim == labels.ndim + 1
    if not whole or reference.shape[:-1] != labels.shape or reference.shape[-1] < 2:
        return None
    most = int(labels.max())
    if int(labels.min()) < 0 or most >= reference.shape[-1] or most > _MOST_CLASSES:
        return None
    scores = []
    for values in (reference, variant):
        right = [np.asarray(values[r]).argmax(axis=-1) == labels[r] for r in _blocks(values)]
        scores.append(np.concatenate([100 * one.reshape(len(one), -1).mean(axis=1) for one in right]))
    commonest = float(np.bincount(labels.reshape(-1)).max()) / labels.size
    return _Scored("right positions, %,", scores[0], scores[1], 100 * commonest, (0.0, 100.0))


def _regression(reference: Array, variant: Array, labels: Array) -> _Scored | None:
    """Less the mean absolute error of a sample, in percent of the standard deviation of the labels."""
    if labels.dtype.kind != "f" or reference.dtype.kind != "f" or labels.shape != reference.shape:
        return None
    known = np.asarray(labels, np.float64)
    spread = float(np.std(known))
    if spread == 0 or len(labels) < 2:
        return None
    scores = []
    for values in (reference, variant):
        apart = [np.abs(np.asarray(values[r], np.float64) - known[r]) for r in _blocks(values)]
        scores.append(np.concatenate([-100 / spread * one.reshape(len(one), -1).mean(axis=1) for one in apart]))
    chance = -100 / spread * float(np.abs(known - np.median(known, axis=0)).mean())
    span = _span(*scores)
    return _Scored("less error, % of the labels' deviation,", scores[0], scores[1], chance, span)


def _resampled(
    difference: Callable[[NDArray[np.int64]], float], n: int, span: tuple[float, float]
) -> tuple[float, float, tuple[str, ...]]:
    """Percentile bootstrap of a number that all samples have together, with doubts; the seed is fixed.

    Where it differs in no draw, what a few other samples might do is not seen: as in `statistics.paired_bootstrap`.
    """
    random, drawn, failed = np.random.default_rng(0), [], 0
    for _ in range(_SCALAR_RESAMPLES):
        try:
            drawn.append(difference(random.integers(0, n, n)))
        except EdgetfError:  # it was fine with all samples: these lack something, such as a class
            failed += 1
    if failed > _MOST_FAILED * _SCALAR_RESAMPLES:
        return 0.0, 0.0, (f"it cannot be computed of {failed} in {_SCALAR_RESAMPLES} drawings of the samples",)
    low, high = np.quantile(drawn, [(1 - statistics.CONFIDENCE) / 2, (1 + statistics.CONFIDENCE) / 2])
    more = statistics.agreement(0, n).high * (span[1] - span[0]) if low == high == 0 else 0.0
    return float(low) - more, float(high) + more, ()


def _span(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """What scores lie between: 0 and 1 where all do, else the least and the largest."""
    low, high = float(min(one.min(), other.min())), float(max(one.max(), other.max()))
    return (0.0, 1.0) if 0 <= low <= high <= 1 else (low, high)


def _blocks(array: Array) -> Iterator[slice]:
    rows = max(1, _BLOCK // max(1, array[0].size))
    for begin in range(0, len(array), rows):
        yield slice(begin, min(begin + rows, len(array)))
