"""The loss of a variant. In: its parity. Out: its distance from the Reference, as one figure with an interval.

Everything that compares, plots or describes variants uses this figure. With several outputs it is that of the worst.
With several user metrics it is that of the first on the command line: their drops have different units, and the figure
must be of the same metric for all variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from edgetf.results import MetricState, OutputParity, Parity


class LossKind(str, Enum):
    """The kind of a loss. The units are: the metric's; points; points; a share; dB.

    METRIC is a user metric, LABELS a built-in one for labels that are not classes.
    """

    METRIC = "metric"
    LABELS = "labels"
    ACCURACY = "accuracy"
    AGREEMENT = "agreement"
    SQNR = "sqnr"


@dataclass(frozen=True)
class Loss:
    """The distance of a variant from the Reference, with the 95 % interval.

    `value` is the loss of a metric or of right answers, or the agreement or SQNR. It is None for an SQNR without any
    noise, as is an unknown end of the interval.
    """

    kind: LossKind
    of: str
    value: float | None
    low: float | None
    high: float | None


def loss_of(parity: Parity | None) -> Loss | None:
    """The loss by the metrics, or else the accuracy, or else the agreement, or else the SQNR."""
    if parity is None:
        return None
    return drop_of(parity) or _agreement(parity.outputs) or sqnr_of(parity)


def drop_of(parity: Parity) -> Loss | None:
    """The loss of the metrics, or else of the accuracy."""
    if parity.metrics:
        first = parity.metrics[0]
        if first.state is MetricState.FAILED:
            return None
        if first.output is not None:
            first = max(parity.metrics, key=lambda metric: metric.drop)
        kind = LossKind.METRIC if first.output is None else LossKind.LABELS
        return Loss(kind, first.name, first.drop, first.low, first.high)
    right = [(o.name, o.accuracy) for o in parity.outputs if o.accuracy]
    if not right:
        return None
    name, drop = max(right, key=lambda one: one[1].drop_points)
    return Loss(LossKind.ACCURACY, name, drop.drop_points, drop.low, drop.high)


def sqnr_of(parity: Parity) -> Loss | None:
    """The SQNR of the worst output; without a value if all outputs equal the Reference's."""
    if parity.outputs and all(output.max_abs == 0 for output in parity.outputs):
        return Loss(LossKind.SQNR, parity.outputs[0].name, None, None, None)
    lowest = [(output.name, output.lowest()) for output in parity.outputs]
    noisy = [(name, one.centred_db, one) for name, one in lowest if one.centred_db is not None]
    if not noisy:
        return None
    name, db, one = min(noisy, key=lambda found: found[1])
    return Loss(LossKind.SQNR, name, db, one.centred_low_db, one.centred_high_db)


def _agreement(outputs: Sequence[OutputParity]) -> Loss | None:
    same = [(o.name, o.agreement) for o in outputs if o.agreement]
    if not same:
        return None
    name, share = min(same, key=lambda one: one[1].share)
    return Loss(LossKind.AGREEMENT, name, share.share, share.low, share.high)
