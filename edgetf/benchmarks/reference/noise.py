"""TensorFlow compared with itself: the same model and samples, computed in other ways; the difference is its floor.

No variant can be expected to be nearer to TensorFlow than TensorFlow itself. The ways: one sample at a time instead of
a batch; op by op, without the optimizer that fuses ops (as in eager mode); compiled by XLA; on a GPU, the CPU
instead, and TF32 instead of float32 (which is reported, and does not count). Each can fail, and its reason is kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetf.benchmarks.rows import Outputs, stack, together
from edgetf.benchmarks.timing.times import summarize
from edgetf.device.runner.timing import repeat, warm_up
from edgetf.device.runner.waits import Waits
from edgetf.events import OnEvent, Phase
from edgetf.results import Noise, ReferenceLatency
from edgetf.samples import Array, Samples

ROWS = 128  # samples that are computed again, however long it takes
MOST_ROWS = 1024  # if they take no more than _AGAIN_S seconds one by one: the largest error grows with their number
_AGAIN_S = 2.0
_MIN_RUNS, _MAX_S, _WARMUP_S = 50, 30.0, 2.0
_MIN_S, LESS_S = 1.0, 0.3  # of the first latency, and of the others

Function = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True)
class Way:
    """Another way to compute the first samples. `counts` is whether its difference belongs to the noise floor."""

    name: str
    compute: Callable[[], Outputs]
    counts: bool = True


def measure_noise(
    tf: Any,
    function: Function,
    samples: Samples,
    outputs: Outputs,
    batch: int,
    on_event: OnEvent,
    sample_ms: float = np.inf,
) -> tuple[Noise, ...]:
    """Compute the first samples again in each way, and compare with `outputs`, which are those of all samples.

    `batch` is how many were computed at once; a single sample takes `sample_ms`.
    """
    n, alone = len(samples), samples.batch
    rows = rows_again(n, batch, min(MOST_ROWS, int(_AGAIN_S * 1e3 / sample_ms)))
    known = first_outputs(outputs, rows, batch)

    def run(call: Function, size: int) -> Outputs:
        steps = range(0, rows, size)
        return collect([_numpy(call(**_constants(tf, samples, k, min(k + size, rows)))) for k in steps], size, known)

    ways: list[Way] = [
        Way("op by op, nothing fused", lambda: _unoptimized(tf, lambda: run(function, batch))),
        Way("compiled by XLA", lambda: run(tf.function(function, jit_compile=True), batch)),
    ]
    if batch > alone == 1 and rows > 1:
        ways.insert(0, Way("one sample at a time", lambda: run(function, 1)))
    if tf.config.list_logical_devices("GPU"):
        ways.append(Way("on the CPU", lambda: _on_cpu(tf, lambda: run(function, batch))))
        ways.append(Way("with TF32", lambda: _with_tf32(tf, lambda: run(function, batch)), counts=False))
    return compare_ways(ways, known, rows, _failures(tf), on_event)


def _failures(tf: Any) -> tuple[type[Exception], ...]:
    """What a way of computing raises if it does not support an operation."""
    return (tf.errors.OpError, ValueError, TypeError, NotImplementedError)


def rows_again(n: int, batch: int, affordable: int = 0) -> int:
    """How many of `n` samples are computed again, in complete batches if there are enough."""
    return min(max(ROWS, affordable), n) // batch * batch or min(batch, n)


def first_outputs(outputs: Outputs, rows: int, batch: int) -> Outputs:
    """The outputs of the first `rows` samples, computed `batch` at once."""
    ends = {name: -(-rows // batch) if name in outputs.unbatched else rows for name in outputs.values}
    values = {name: np.asarray(array[: ends[name]]) for name, array in outputs.values.items()}
    shapes = {name: known[: ends[name]] for name, known in outputs.shapes.items()}
    return Outputs(values, shapes, outputs.unbatched, outputs.loose)


def collect(outputs: Sequence[Mapping[str, Array]], count: int, known: Outputs) -> Outputs:
    """The outputs of several inferences on `count` samples each, in the form of `known`."""
    values, shapes = {}, {}
    for name in known.values:
        pieces = [one[name] if name not in known.unbatched else one[name][np.newaxis] for one in outputs]
        values[name], found = stack(pieces)
        if found is not None:
            shapes[name] = found
    return Outputs(values, shapes, known.unbatched)


def compare_ways(
    ways: Sequence[Way], known: Outputs, rows: int, failures: tuple[type[Exception], ...], on_event: OnEvent
) -> tuple[Noise, ...]:
    """Compute `known`, the outputs of the first `rows` samples, in other ways; `failures` are kept as reasons."""
    found = []
    for way in ways:
        on_event(Phase(f"comparing TensorFlow with itself: {way.name}"))
        try:
            again = way.compute()
        except failures as error:
            found.append(Noise(way.name, 0, {}, way.counts, " ".join(str(error).split())[:200]))
            continue
        one, other = together(known, again)
        apart = {name: _apart(one[name], other[name]) for name in one}
        if not all(np.isfinite(value) for value in apart.values()):
            found.append(Noise(way.name, 0, {}, way.counts, "it returns NaN or infinity that way"))
            continue
        found.append(Noise(way.name, rows, apart, way.counts))
    return tuple(found)


def time_ways(
    tf: Any, function: Function, samples: Samples, batch: int, alone: int, on_event: OnEvent
) -> tuple[ReferenceLatency, ...]:
    """Latency of `alone` samples compiled by XLA, and of `batch` samples as it comes and compiled."""
    found = []
    for size, compiled in dict.fromkeys([(alone, True), (batch, False), (batch, True)]):
        if (size, compiled) == (alone, False):
            continue  # that is the latency of the reference itself
        on_event(Phase(f"timing {size} at once{', compiled' if compiled else ''}"))
        run = tf.function(function, jit_compile=True) if compiled else function
        try:
            times = time_function(tf, run, samples, size, LESS_S)
        except _failures(tf):
            continue  # XLA does not support all ops; `measure_noise` reports it
        found.append(ReferenceLatency(size, compiled, summarize([times])))
    return tuple(found)


def time_function(tf: Any, function: Function, samples: Samples, batch: int, min_s: float = _MIN_S) -> array[int]:
    """Nanoseconds of single calls, inputs already on the device, outputs read back (which waits for the GPU)."""
    fed = _constants(tf, samples, 0, batch)

    def run() -> None:
        for value in function(**fed).values():
            value.numpy()

    return time_calls(run, min_s)


def time_calls(run: Callable[[], None], min_s: float = _MIN_S) -> array[int]:
    """Nanoseconds of single calls of `run`, after a warm-up: at least 50 of them, for at least `min_s` seconds.

    Without the time of other programs where it is known, as the latencies of variants.
    """
    warm_up(run, _WARMUP_S * min_s)
    with Waits() as waits:
        [times] = repeat((run,), _MIN_RUNS, min_s, _MAX_S * min_s, waits)
        return times.own_ns(waits)


def _constants(tf: Any, samples: Samples, begin: int, end: int) -> dict[str, Any]:
    return {name: tf.constant(values) for name, values in samples.feed(begin, end).items()}


def _numpy(outputs: Mapping[str, Any]) -> dict[str, Array]:
    return {name: value.numpy() for name, value in outputs.items()}


def _unoptimized(tf: Any, run: Callable[[], Outputs]) -> Outputs:
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        return run()
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def _on_cpu(tf: Any, run: Callable[[], Outputs]) -> Outputs:
    with tf.device("/CPU:0"):
        return run()


def _with_tf32(tf: Any, run: Callable[[], Outputs]) -> Outputs:
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        return run()
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(False)


def _apart(one: Array, other: Array) -> float:
    if one.shape != other.shape:
        return np.inf
    return float(np.max(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)), initial=0.0))
