"""What the report says in sentences: of the whole benchmark, and of each variant."""

from __future__ import annotations

from dataclasses import dataclass

from edgetf.benchmarks.times import told_apart
from edgetf.figures import Latency
from edgetf.results import Benchmark, Result, Status, Verdict

_WORDS = {Verdict.PASS: "passes", Verdict.FAIL: "fails", Verdict.INCONCLUSIVE: "is undecided"}
_FAILED = {"conversion": "was not converted", "device": "did not run", "parity": "cannot be compared"}
_YARDSTICK = "float32"


@dataclass(frozen=True)
class Story:
    """What the report says about one variant: a verdict, sentences of why, one of its latency, one of what it gains."""

    result: Result
    verdict: str
    headline: str
    why: tuple[str, ...]
    latency: str
    gains: str


def summary(document: Benchmark) -> str:
    """The first sentence of the report."""
    results = document.results
    failed = sum(r.status is Status.FAILED for r in results)
    if failed == len(results):
        return f"None of {len(results)} variants ran."
    if document.reference is None:
        return f"{len(results) - failed} of {len(results)} variants were timed; nothing was compared with a reference."
    passed = sum(r.parity is not None and r.parity.verdict is Verdict.PASS for r in results)
    return f"{passed} of {len(results)} variants do what the reference does, within their budgets."


def tell(result: Result, document: Benchmark) -> Story:
    """The verdict on one variant in words."""
    latency, gains = _latency(result, document), _gains(result, document.results)
    if result.error is not None:
        headline = f"{result.variant} {_FAILED.get(result.error.code, 'failed')}"
        return Story(result, "fail", headline, (result.error.message,), latency, "")
    if result.parity is None:
        alone = "It was not compared with a reference."
        return Story(result, "none", f"{result.variant} was timed", (alone,), latency, gains)
    headline = f"{result.variant} {_WORDS[result.parity.verdict]}"
    judged = [(metric.name, metric.reason) for metric in result.parity.metrics]
    judged += [(output.name, output.reason) for output in result.parity.outputs]
    why = tuple(
        f"{name}: {reason}." if len(judged) > 1 else f"{reason[:1].upper()}{reason[1:]}." for name, reason in judged
    )
    return Story(result, result.parity.verdict.value, headline, why, latency, gains)


def _latency(result: Result, document: Benchmark) -> str:
    """The median on the device, beside TensorFlow's for one sample where that was measured."""
    if result.latency_ms is None:
        return ""
    told = f"One sample takes {result.latency_ms.median:.3g} ms on {_device(result, document)}"
    if result.emulated:
        told += ", which is emulated: that is not the hardware's time"
    reference = document.reference
    if reference is None:
        return f"{told}."
    where = {"gpu": "on the GPU", "cpu": "on the CPU", "serving": "over TensorFlow Serving"}[reference.device.kind]
    many = "" if reference.batch_alone == 1 else f" for {reference.batch_alone} at once"
    return f"{told}; TensorFlow takes {reference.latency_ms.median:.3g} ms{many} {where} ({reference.device.name})."


def _device(result: Result, document: Benchmark) -> str:
    machine = document.machine.get("model") or document.machine.get("cpu") or ""
    name = "this machine" if result.device == "local" else result.device
    return f"{name} ({machine})" if machine else name


def _gains(result: Result, results: tuple[Result, ...]) -> str:
    """Size and speed beside float32, where it was measured too; speed only when the intervals tell them apart."""
    base = next((r for r in results if r.scheme == _YARDSTICK and r.latency_ms), None)
    if base is None or base is result or result.latency_ms is None or base.latency_ms is None:
        return ""
    if result.bytes is None or base.bytes is None:
        return ""
    size = result.bytes / base.bytes
    smaller = f"{1 / size:.1f} times smaller than float32" if size < 0.95 else f"{size:.1f} times the size of float32"
    if 0.95 <= size <= 1.05:
        smaller = "as large as float32"
    return f"It is {smaller}, and {compare_speed(result.latency_ms, base.latency_ms)}."


def compare_speed(one: Latency, base: Latency) -> str:
    """Whether `one` is faster or slower than `base`, as far as the medians tell: their intervals must not overlap."""
    if not told_apart(one, base):
        return "not told apart from it in speed"
    ratio = base.median / one.median
    if ratio > 1:
        return f"{_times_as(ratio)} faster here"
    return f"{_times_as(1 / ratio)} slower here: not faster on this device"


def _times_as(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio >= 1.5 else f"{100 * (ratio - 1):.0f} %"
