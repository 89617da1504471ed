"""The statistics behind verdicts on outputs: intervals for proportions, paired drops and SQNR.

All intervals are two-sided with 95 % confidence. scipy takes longer to import than most commands need in all: it is
imported on demand, and intervals do without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import MissingExtraError
from edgetf.results import Accuracy, Agreement

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
_RESAMPLES = 2000
_DRAWN = 50  # resamples per batch
_FEW = 10  # with fewer differences, resampling is not reliable

Floats = NDArray[np.float64]


@lru_cache(4096)  # how many samples would decide asks for the same again and again
def agreement(same: int, n: int) -> Agreement:
    """The share of agreeing samples with its Wilson score interval (Wilson 1927, JASA 22:209)."""
    low, high = wilson(same, n)
    return Agreement(n, same, same / n, low, high)


def special() -> Any:
    """The module `scipy.special`. Raises MissingExtraError."""
    try:
        from scipy import special as found
    except ModuleNotFoundError as error:
        raise MissingExtraError("scipy", "report") from error
    return found


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of k of n, as `scipy.stats.binomtest` gives it."""
    p, scale = k / n, 1 + _Z**2 / n
    center, reach = (p + _Z**2 / (2 * n)) / scale, _Z / scale * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return (0.0 if k == 0 else center - reach), (1.0 if k == n else center + reach)


def sign_test(lost: int, won: int) -> float:
    """The p-value of the exact binomial test that both are as likely, as `scipy.stats.binomtest` gives it."""
    return min(2 * float(special().bdtr(min(lost, won), lost + won, 0.5)), 1.0)


def accuracy_drop(reference_right: NDArray[np.bool_], variant_right: NDArray[np.bool_]) -> Accuracy:
    """Paired comparison of two accuracies on the same samples (boolean arrays of shape (n,)).

    The p-value is McNemar's exact one (McNemar 1947, Psychometrika 12:153; the binomial test on discordant pairs).
    """
    n = len(reference_right)
    lost = int(np.sum(reference_right & ~variant_right))
    won = int(np.sum(variant_right & ~reference_right))
    low, high = paired_interval(lost, won, n)
    return Accuracy(
        n=n,
        reference=float(reference_right.mean()),
        variant=float(variant_right.mean()),
        only_reference_right=lost,
        only_variant_right=won,
        drop_points=100 * (lost - won) / n,
        low=100 * low,
        high=100 * high,
        mcnemar_p=sign_test(lost, won) if lost + won else 1.0,
    )


@lru_cache(4096)  # classes of many variants have the same few counts
def paired_interval(lost: int, won: int, n: int) -> tuple[float, float]:
    """Score interval of (lost - won) / n for paired proportions (Tango 1998, Statistics in Medicine 17:891).

    `lost` and `won` count the discordant pairs among `n`. Unlike Wald's it does not collapse to a point when there
    are no discordant pairs: none in 100 still allows a difference of up to 3.7 points.
    """

    def score(delta: float) -> float:
        b = -lost - won + (2 * n - lost + won) * delta
        c = -won * delta * (1 - delta)
        won_rate = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * won_rate + delta * (1 - delta))
        return (lost - won - n * delta) / math.sqrt(max(variance, 1e-300))

    observed, edge = (lost - won) / n, 1 - 1e-12
    low = -1.0 if score(-edge) < _Z else _falls_to(_Z, score, -edge, observed)
    high = 1.0 if score(edge) > -_Z else _falls_to(-_Z, score, observed, edge)
    return low, high


def _falls_to(value: float, function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function of numbers from `low` to `high` has the value, by bisection to the last digit."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if function(middle) > value else (low, middle)
    return middle


def paired_bootstrap(
    differences: Floats, scores: tuple[float, float], step: float | None = None
) -> tuple[float, float]:
    """Interval of the mean of `differences`, shape (n,), between two scores of the same samples.

    Scores of 0 and 1 (or 100) are proportions (`paired_interval`); otherwise the percentile bootstrap over samples is
    used (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13). If fewer than ten samples differ,
    resampling does not show the effect of other samples. The interval is then widened by the number of further samples
    that may differ (Wilson), each by twice the largest observed difference, because unseen ones may be larger. If no
    difference was observed, twice `step` is used, the smallest possible change of a score, or without it the whole
    range of `scores`.
    """
    n = len(differences)
    span = scores[1] - scores[0]
    changed = int(np.count_nonzero(differences))
    whole = step is None or step >= span
    if whole and scores in ((0.0, 1.0), (0.0, 100.0)) and set(np.unique(differences)) <= {-span, 0.0, span}:
        low, high = paired_interval(int(np.sum(differences > 0)), int(np.sum(differences < 0)), n)
        return scores[1] * low, scores[1] * high
    low, high = np.quantile(_resampled_means(differences), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    few = agreement(changed, n)
    seen = float(np.abs(differences).max()) if changed else span if step is None else step
    more = (few.high - few.share) * min(2 * seen, span) if changed < _FEW else 0.0
    return float(low) - more, float(high) + more


def _resampled_means(differences: Floats) -> Floats:
    """Means of resamples: the sum over non-zero values of their number of draws times the value."""
    random, n = np.random.default_rng(0), len(differences)
    values = differences[differences != 0]
    shares = np.append(np.full(len(values), 1 / n), 1 - len(values) / n)
    pieces = []
    for begin in range(0, _RESAMPLES, _DRAWN):
        counts = random.multinomial(n, shares, size=min(_DRAWN, _RESAMPLES - begin))
        pieces.append(counts[:, :-1] @ values / n)
    return np.concatenate(pieces)


def agreement_of_positions(differ: Floats, positions: int) -> Agreement:
    """The share of agreeing decisions; `differ`, shape (n,), is the share of each sample's `positions` that differs."""
    n, share = len(differ), 1 - float(differ.mean())
    low, high = paired_bootstrap(differ, (0.0, 1.0), step=1 / positions)
    same = round(float((1 - differ).sum()) * positions)
    return Agreement(n, same, share, max(1 - high, 0.0), min(1 - low, 1.0), positions)


def sqnr_interval(signal: Floats, noise: Floats) -> tuple[float, float]:
    """Percentile bootstrap interval, over samples, of 10 log10(sum signal / sum noise), in dB.

    `signal` and `noise` are the powers of each sample, shape (n,) with n of at least 2 and some noise (Efron and
    Tibshirani, An Introduction to the Bootstrap, chapter 13). Samples are drawn in pairs, with a fixed seed.
    """
    return sqnr_intervals(signal[:, np.newaxis], noise[:, np.newaxis])[0]


def sqnr_intervals(signal: Floats, noise: Floats) -> list[tuple[float, float]]:
    """`sqnr_interval` of several groups, powers of shape (n, groups), valid together (Bonferroni's inequality)."""
    random = np.random.default_rng(0)
    n, groups = signal.shape
    drawn = np.empty((_RESAMPLES, groups))
    for k in range(_RESAMPLES):
        counts = np.bincount(random.integers(0, n, n), minlength=n)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn[k] = counts @ signal / (counts @ noise)
    drawn[np.isnan(drawn)] = np.inf  # a resample without signal and noise
    tail = (1 - CONFIDENCE) / 2 / groups
    with np.errstate(divide="ignore"):
        low, high = np.quantile(10 * np.log10(drawn), [tail, 1 - tail], axis=0, method="nearest")
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
