"""Warnings about budgets that no variant can miss. In: a parity and budgets. Out: warnings.

A drop of 98 points, which may be meant as a share, lets everything pass. So does a drop of one point if the most common
class has 99.5 % of the samples. The verdict does not change, but a warning says that it shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edgetf.benchmarks.judging.verdict import Budgets, worth
from edgetf.results import MetricFigures, MetricState, OutputFigures, Parity

_ALL_POINTS = 100.0
_A_LOT = 20.0  # points; a larger budget may be meant as the share to keep


def toothless(parity: Parity | None, budgets: Budgets) -> tuple[str, ...]:
    """Warnings about budgets that cannot be missed, by anything or by a variant with meaningless outputs."""
    limits = {
        "max_latency_ms": budgets.max_latency_ms,
        "max_bytes": budgets.max_bytes,
        "max_memory_bytes": budgets.max_memory_bytes,
        "max_metric_drop": budgets.max_metric_drop,
    }
    found = [f"{name} is infinite: nothing can miss it" for name, limit in limits.items() if limit == math.inf]
    if budgets.max_drop >= _ALL_POINTS:
        found.append(f"max_drop {budgets.max_drop:g}: nothing can miss it, as there are 100 points")
    if budgets.min_agreement <= 0:
        found.append(f"min_agreement {budgets.min_agreement:g}: nothing can miss it")
    if budgets.min_delegated is not None and budgets.min_delegated <= 0:
        found.append(f"min_delegated {budgets.min_delegated:g}: nothing can miss it")
    for output in parity.outputs if parity else ():
        found += [*_drop(output, budgets), *_agreement(output, budgets)]
    for metric in parity.metrics if parity else ():
        found += _metric(metric, budgets)
    return tuple(found)


def by_warning(found: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Each warning once, with its variants; `found` are the warnings of each variant."""
    about: dict[str, list[str]] = {}
    for variant, warnings in found:
        for warning in warnings:
            about.setdefault(warning, []).append(variant)
    return [f"{', '.join(dict.fromkeys(names))}: {warning}" for warning, names in about.items()]


def _drop(output: OutputFigures, budgets: Budgets) -> list[str]:
    if output.accuracy is None or output.chance is None or budgets.max_drop >= _ALL_POINTS:
        return []
    right, chance = 100 * output.accuracy.reference, 100 * output.chance
    if budgets.max_drop < right - chance:
        return []
    meant = "; it is in points, not the share to keep" if budgets.max_drop >= _A_LOT else ""
    scores = f"the reference is right on {right:.4g} % of {output.name}, a constant answer on {chance:.4g} %"
    return [f"max_drop {budgets.max_drop:g} passes a variant that always answers the same: {scores}{meant}"]


def _agreement(output: OutputFigures, budgets: Budgets) -> list[str]:
    judged_so = output.accuracy is None and output.agreement is not None and output.chance is not None
    if not judged_so or not 0 < budgets.min_agreement <= (output.chance or 0.0):
        return []
    share = f"{100 * (output.chance or 0.0):.4g} % of the reference's decisions on {output.name} are the same"
    return [f"min_agreement {budgets.min_agreement:g} passes a variant that always answers the same: {share}"]


def _metric(metric: MetricFigures, budgets: Budgets) -> list[str]:
    name, budget = "max_metric_drop", budgets.metric_drop
    if metric.output is not None:
        name, budget = "max_drop", budgets.max_drop
    most = math.inf if metric.output is None else _ALL_POINTS  # a larger budget already has a warning
    if metric.state is MetricState.FAILED or not worth(metric) <= budget < most:
        return []
    other = "a constant answer" if metric.output is not None else "its outputs for other samples"
    margin = f"by {metric.name} the reference is better than {other} by only {worth(metric):.3g}"
    return [f"{name} {budget:g} passes a variant with meaningless outputs: {margin}"]
