"""TensorFlow beside itself: the same model on the same samples, computed in other ways; what differs is its floor.

No variant can be asked to be nearer to TensorFlow than TensorFlow is. The ways: one sample at a time instead of a
batch; op by op, without the optimizer that fuses ops (what eager mode computes); compiled by XLA; on a GPU, the CPU
instead, and TF32 instead of float32 (which is told, and does not count). Each can fail, and then says why.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgetf.benchmarks.times import summarize
from edgetf.device.runner.timing import repeat, warm_up
from edgetf.process import OnEvent
from edgetf.results import Noise, ReferenceLatency
from edgetf.samples import Array

ROWS = 128  # samples that are computed again
_MIN_RUNS, _MAX_S, _WARMUP_S = 50, 30.0, 2.0
_MIN_S, LESS_S = 1.0, 0.3  # of the latency that is told first, and of the others

Function = Callable[..., Mapping[str, Any]]
# what it is called, what computes the first samples that way, and whether it makes the floor
Way = tuple[str, Callable[[], Mapping[str, Array]], bool]


def measure_noise(
    tf: Any,
    function: Function,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    batches: tuple[int, int],
    on_event: OnEvent,
) -> tuple[Noise, ...]:
    """Compute the first samples again in each way, and compare with `outputs`.

    `batches` are how many came at once, and the fewest that the model takes. `inputs` and `outputs` are those of all
    samples; outputs without an axis for samples are not compared.
    """
    n, (batch, alone) = len(next(iter(inputs.values()))), batches
    rows = min(ROWS, n) // batch * batch or min(batch, n)
    known = {name: values[:rows] for name, values in outputs.items() if len(values) == n}
    ways: list[Way] = [
        ("op by op, nothing fused", lambda: _unoptimized(tf, function, inputs, rows, batch), True),
        ("compiled by XLA", lambda: _run(tf, tf.function(function, jit_compile=True), inputs, rows, batch), True),
    ]
    if batch > alone == 1 and rows > 1:
        ways.insert(0, ("one sample at a time", lambda: _run(tf, function, inputs, rows, 1), True))
    if tf.config.list_logical_devices("GPU"):
        ways.append(("on the CPU", lambda: _on_cpu(tf, function, inputs, rows, batch), True))
        ways.append(("with TF32", lambda: _with_tf32(tf, function, inputs, rows, batch), False))
    failures = (tf.errors.OpError, ValueError, TypeError, NotImplementedError)
    return compare_ways(ways, known, rows, failures, on_event)


def compare_ways(
    ways: Sequence[Way], known: Mapping[str, Array], rows: int, failures: tuple[type[Exception], ...], on_event: OnEvent
) -> tuple[Noise, ...]:
    """Compute `known`, the outputs of the first `rows` samples, in other ways; one of `failures` is told as such."""
    found = []
    for way, compute, counts in ways:
        on_event({"event": "phase", "phase": f"TensorFlow beside itself: {way}"})
        try:
            again = compute()
        except failures as error:
            found.append(Noise(way, 0, {}, counts, " ".join(str(error).split())[:200]))
            continue
        apart = {name: _apart(known[name], again[name]) for name in known}
        if not all(np.isfinite(value) for value in apart.values()):
            found.append(Noise(way, 0, {}, counts, "it gives NaN or infinity that way"))
            continue
        found.append(Noise(way, rows, apart, counts))
    return tuple(found)


def time_ways(
    tf: Any, function: Function, inputs: Mapping[str, Array], batch: int, alone: int, on_event: OnEvent
) -> tuple[ReferenceLatency, ...]:
    """Latency of `alone` samples compiled by XLA, and of `batch` samples as it comes and compiled."""
    found = []
    for size, compiled in dict.fromkeys([(alone, True), (batch, False), (batch, True)]):
        if (size, compiled) == (alone, False):
            continue  # that is what the reference itself tells
        on_event({"event": "phase", "phase": f"timing {size} at once{', compiled' if compiled else ''}"})
        run = tf.function(function, jit_compile=True) if compiled else function
        try:
            times = time_function(tf, run, inputs, size, LESS_S)
        except (tf.errors.OpError, ValueError, TypeError, NotImplementedError):
            continue  # XLA does not know all ops; `measure_noise` says so
        found.append(ReferenceLatency(size, compiled, summarize([times])))
    return tuple(found)


def time_function(
    tf: Any, function: Function, inputs: Mapping[str, Array], batch: int, min_s: float = _MIN_S
) -> array[int]:
    """Nanoseconds of single calls, inputs already on the device, outputs read back (which waits for the GPU)."""
    fed = {name: tf.constant(values[:batch]) for name, values in inputs.items()}

    def run() -> None:
        for value in function(**fed).values():
            value.numpy()

    return time_calls(run, min_s)


def time_calls(run: Callable[[], None], min_s: float = _MIN_S) -> array[int]:
    """Nanoseconds of single calls of `run`, after a warm-up: at least 50 of them, for at least `min_s` seconds."""
    warm_up(run, _WARMUP_S * min_s)
    return repeat((run,), _MIN_RUNS, min_s, _MAX_S * min_s)[0]


def _run(tf: Any, function: Function, inputs: Mapping[str, Array], rows: int, batch: int) -> dict[str, Array]:
    pieces: dict[str, list[Array]] = {}
    for begin in range(0, rows, batch):
        fed = {name: tf.constant(values[begin : min(begin + batch, rows)]) for name, values in inputs.items()}
        for name, value in function(**fed).items():
            pieces.setdefault(name, []).append(value.numpy())
    return {name: np.concatenate([np.atleast_1d(piece) for piece in arrays]) for name, arrays in pieces.items()}


def _unoptimized(tf: Any, function: Function, inputs: Mapping[str, Array], rows: int, batch: int) -> dict[str, Array]:
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        return _run(tf, function, inputs, rows, batch)
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def _on_cpu(tf: Any, function: Function, inputs: Mapping[str, Array], rows: int, batch: int) -> dict[str, Array]:
    with tf.device("/CPU:0"):
        return _run(tf, function, inputs, rows, batch)


def _with_tf32(tf: Any, function: Function, inputs: Mapping[str, Array], rows: int, batch: int) -> dict[str, Array]:
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        return _run(tf, function, inputs, rows, batch)
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(False)


def _apart(one: Array, other: Array) -> float:
    return float(np.max(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)), initial=0.0))
