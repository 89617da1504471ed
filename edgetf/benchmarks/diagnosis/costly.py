"""Which operations take longest, and what would help. In: the results of a benchmark. Out: operations by Keras layer.

Operations of one kind in one layer count together. What would help is what other variants of the same benchmark take
for the layer, and what is known of runtimes: which numbers their delegates compute on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgetf.benchmarks.judging.covered import leaves_to_tflite
from edgetf.device.runner.delegates import NO_DELEGATE
from edgetf.figures import OpTime
from edgetf.results import Result, Verdict
from edgetf.units import human_ms

TFLITE = "TFLite"  # its own kernels
_CPU = "the CPU"  # XNNPACK, which takes what another delegate has left, or TFLite's kernels
_WORTH = 0.8  # of a layer's time: another variant that takes more than this is no help
_LEAST = 0.01  # of the time: what takes less is not among those that take longest
_INT8 = ("int8", "int8-io")


@dataclass(frozen=True)
class Costly:
    """The operations of one kind in one layer: their number, their time in one inference, and its share (0 to 1).

    `layer` is empty if it is unknown, as inside of a delegate that names its own operations; one kind then counts once.
    `ran_on` is the delegate, "TFLite" for its own kernels or "the CPU" for one of XNNPACK and these (empty if unknown);
    `estimated` is as in OpTime.
    """

    layer: str
    kind: str
    count: int
    ms: float
    share: float
    ran_on: str
    estimated: bool
    help: str = ""


LayerTimes = Mapping[str, Sequence[tuple[float, Result]]]


def time_layers(results: Sequence[Result]) -> LayerTimes:
    """What each variant takes for each layer, in milliseconds, the least first."""
    found: dict[str, list[tuple[float, Result]]] = {}
    for result in results:
        for layer, ms in _layers_of(result).items():
            found.setdefault(layer, []).append((ms, result))
    return {layer: sorted(timed, key=lambda one: one[0]) for layer, timed in found.items()}


def costly_of(result: Result, times: LayerTimes, most: int) -> list[Costly]:
    """The `most` operations of `result` that take longest; `times` are those of all variants of the benchmark."""
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
        )
        for (layer, kind, where), ops in groups.items()
    ]
    longest = sorted(found, key=lambda one: -one.ms)[:most]
    shown = [one for k, one in enumerate(longest) if k == 0 or one.share >= _LEAST]
    return [replace(one, help=_help(one, result, times)) for one in shown]


def ran_on(op: OpTime, result: Result) -> str:
    """What computed an operation: the delegate, TFLite's own kernels, or one of XNNPACK and these; empty if unknown."""
    if op.delegated is None:
        return ""
    coverage = result.coverage
    if op.delegated:
        return (coverage.accelerator if coverage is not None else "") or "a delegate"
    return TFLITE if coverage is None or leaves_to_tflite(coverage) else _CPU


def _help(costly: Costly, result: Result, times: LayerTimes) -> str:
    parts = [_of_runtime(result) if costly.ran_on == TFLITE else "", _of_others(costly.layer, result, times)]
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


def _of_others(layer: str, result: Result, times: LayerTimes) -> str:
    """The variant that takes least for the layer, of those that are faster as a whole and do not fail; if that is
    clearly less."""
    if not layer:
        return ""
    enough = _WORTH * _layers_of(result).get(layer, 0.0)
    for ms, one in times.get(layer, ()):
        if ms >= enough:
            break
        if _is_faster(one, result) and not _fails(one):
            about = "about " if any(op.estimated for op in one.ops if op.layer == layer) else ""
            return f"{one.variant} takes {about}{human_ms(ms)} for the layer"
    return ""


def _is_faster(one: Result, other: Result) -> bool:
    """Whether one is measurably faster on the same device: times of operations alone are too coarse for advice."""
    if one.latency_ms is None or other.latency_ms is None or one.device != other.device:
        return False
    return one.latency_ms.high < other.latency_ms.low


def _fails(result: Result) -> bool:
    return result.error is not None or (result.parity is not None and result.parity.verdict is Verdict.FAIL)


def _layers_of(result: Result) -> dict[str, float]:
    """The milliseconds of each layer that takes any; the empty name is that of operations whose layer is unknown."""
    found: dict[str, float] = {}
    for op in result.ops:
        found[op.layer] = found.get(op.layer, 0.0) + op.mean_ms
    return {layer: ms for layer, ms in found.items() if ms}
