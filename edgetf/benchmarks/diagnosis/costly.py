"""Which operations take longest, and what would help. In: the results of a benchmark. Out: operations by Keras layer.

Operations of one kind in one layer count together. What would help is what other variants of the same benchmark take
for the layer, and what is known of runtimes: which numbers their delegates compute on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetf.device.runner.delegates import NO_DELEGATE
from edgetf.figures import OpTime
from edgetf.results import Result, Verdict
from edgetf.units import human_ms

TFLITE = "TFLite"  # its own kernels
_WORTH = 0.8  # of a layer's time: another variant that takes more than this is no help
_LEAST = 0.01  # of the time: what takes less is not among those that take longest
_INT8 = ("int8", "int8-io")


@dataclass(frozen=True)
class Costly:
    """The operations of one kind in one layer: their number, their time in one inference, and its share (0 to 1).

    `layer` is empty if it is unknown, as inside of a delegate that names its own operations; one kind then counts once.
    `ran_on` is the delegate, or "TFLite" for its own kernels (empty if unknown); `estimated` is as in OpTime.
    """

    layer: str
    kind: str
    count: int
    ms: float
    share: float
    ran_on: str
    estimated: bool
    help: str = ""


def costly_of(result: Result, results: Sequence[Result], most: int) -> list[Costly]:
    """The `most` operations of `result` that take longest; `results` are all of the benchmark."""
    groups: dict[tuple[str, str, str], list[OpTime]] = {}
    for op in result.ops:
        groups.setdefault((op.layer, op.kind, ran_on(op, result)), []).append(op)
    found = [
        Costly(
            layer=layer,
            kind=kind,
            count=len(ops),
            ms=sum(op.mean_ms for op in ops),
            share=sum(op.share for op in ops),
            ran_on=where,
            estimated=any(op.estimated for op in ops),
            help=_help(layer, where, result, results),
        )
        for (layer, kind, where), ops in groups.items()
    ]
    longest = sorted(found, key=lambda one: -one.ms)[:most]
    return [one for k, one in enumerate(longest) if k == 0 or one.share >= _LEAST]


def ran_on(op: OpTime, result: Result) -> str:
    """What computed an operation: the delegate, or TFLite's own kernels; empty if that is unknown."""
    if op.delegated is None:
        return ""
    accelerator = result.coverage.accelerator if result.coverage is not None else ""
    return (accelerator or "a delegate") if op.delegated else TFLITE


def _help(layer: str, where: str, result: Result, results: Sequence[Result]) -> str:
    parts = [_of_runtime(result) if where == TFLITE else "", _of_others(layer, result, results)]
    return "; ".join(filter(None, parts))


def _of_runtime(result: Result) -> str:
    """What makes a delegate take an operation that it left."""
    if result.delegate == NO_DELEGATE:
        return "--delegate xnnpack"
    if result.coverage is None or result.coverage.delegated:
        return ""
    if result.scheme == "int16x8":
        return "XNNPACK has no kernels for int16, but for int8"
    if result.scheme in _INT8 and result.runtime.startswith("tflite-runtime"):
        return "LiteRT's XNNPACK takes int8: --runtime litert"
    return ""


def _of_others(layer: str, result: Result, results: Sequence[Result]) -> str:
    """The variant that takes least for the layer, of those that are faster as a whole and do not fail; if that is
    clearly less."""
    ours = _layer_ms(layer, result) if layer else 0.0
    faster = [one for one in results if _is_faster(one, result) and not _fails(one)]
    timed = [(ms, k) for k, one in enumerate(faster) if (ms := _layer_ms(layer, one))]
    least, k = min(timed, default=(ours, 0))
    if least >= _WORTH * ours:
        return ""
    about = "about " if any(op.estimated for op in faster[k].ops if op.layer == layer) else ""
    return f"{faster[k].variant} takes {about}{human_ms(least)} for the layer"


def _is_faster(one: Result, other: Result) -> bool:
    """Whether one is measurably faster on the same device: times of operations alone are too coarse for advice."""
    if one.latency_ms is None or other.latency_ms is None or one.device != other.device:
        return False
    return one.latency_ms.high < other.latency_ms.low


def _fails(result: Result) -> bool:
    return result.error is not None or (result.parity is not None and result.parity.verdict is Verdict.FAIL)


def _layer_ms(layer: str, result: Result) -> float:
    return sum(op.mean_ms for op in result.ops if op.layer == layer)
