"""The statistics behind verdicts on outputs: intervals for proportions, paired drops and SQNR.

All intervals are two-sided with 95 % confidence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import MissingExtraError
from edgetf.results import Accuracy, Agreement

try:
    from scipy import optimize, stats
except ModuleNotFoundError as error:
    raise MissingExtraError("scipy", "report") from error

CONFIDENCE = 0.95
_Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
_RESAMPLES = 2000
_FEW = 10  # differences, of which drawing again says little

Floats = NDArray[np.float64]


def agreement(same: int, n: int) -> Agreement:
    """The share of agreeing samples with its Wilson score interval (Wilson 1927, JASA 22:209)."""
    interval = stats.binomtest(same, n).proportion_ci(CONFIDENCE, method="wilson")
    return Agreement(n, same, same / n, float(interval.low), float(interval.high))


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
        mcnemar_p=float(stats.binomtest(lost, lost + won).pvalue) if lost + won else 1.0,
    )


def paired_interval(lost: int, won: int, n: int) -> tuple[float, float]:
    """Score interval of (lost - won) / n for paired proportions (Tango 1998, Statistics in Medicine 17:891).

    `lost` and `won` count the discordant pairs among `n`. Unlike Wald's it does not collapse to a point when there
    are no discordant pairs: none in 100 still allows a difference of up to 3.7 points.
    """

    def score(delta: float) -> float:
        b = -lost - won + (2 * n - lost + won) * delta
        c = -won * delta * (1 - delta)
        won_rate = (np.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * won_rate + delta * (1 - delta))
        return float((lost - won - n * delta) / np.sqrt(max(variance, 1e-300)))

    observed, edge = (lost - won) / n, 1 - 1e-12
    low = -1.0 if score(-edge) < _Z else optimize.brentq(lambda d: score(d) - _Z, -edge, observed)
    high = 1.0 if score(edge) > -_Z else optimize.brentq(lambda d: score(d) + _Z, observed, edge)
    return float(low), float(high)


def paired_bootstrap(differences: Floats, scores: tuple[float, float]) -> tuple[float, float]:
    """Interval of the mean of `differences`, shape (n,), between two scores of the same samples.

    Scores of 0 and 1 (or 100) are proportions (`paired_interval`); else it is the percentile bootstrap over samples
    (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13). Where fewer than ten differ, drawing again
    would not show what others may do: it is widened by as many more as may differ (Wilson), by the most that `scores`
    span.
    """
    n = len(differences)
    changed = int(np.count_nonzero(differences))
    if scores in ((0.0, 1.0), (0.0, 100.0)) and set(np.unique(differences)) <= {-scores[1], 0.0, scores[1]}:
        low, high = paired_interval(int(np.sum(differences > 0)), int(np.sum(differences < 0)), n)
        return scores[1] * low, scores[1] * high
    random = np.random.default_rng(0)
    means = [float(differences[random.integers(0, n, n)].mean()) for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    few = agreement(changed, n)
    more = (few.high - few.share) * (scores[1] - scores[0]) if changed < _FEW else 0.0
    return float(low) - more, float(high) + more


def sqnr_interval(signal: Floats, noise: Floats) -> tuple[float, float]:
    """Percentile bootstrap interval, over samples, of 10 log10(sum signal / sum noise), in dB.

    `signal` and `noise` are the powers of each sample, shape (n,) with n of at least 2 and some noise (Efron and
    Tibshirani, An Introduction to the Bootstrap, chapter 13). Samples are drawn in pairs, with a fixed seed.
    """
    random = np.random.default_rng(0)
    n = len(signal)
    ratios = np.empty(_RESAMPLES)
    for k in range(_RESAMPLES):
        rows = random.integers(0, n, n)
        total = noise[rows].sum()
        ratios[k] = signal[rows].sum() / total if total else np.inf
    with np.errstate(divide="ignore"):
        low, high = np.quantile(10 * np.log10(ratios), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    return float(low), float(high)
