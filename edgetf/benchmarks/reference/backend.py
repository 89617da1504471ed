"""Where TensorFlow computes: this process, or a TensorFlow Serving.

In: a SavedModel and where TensorFlow is to run. Out: a Backend, which returns outputs for batches of inputs,
and measures TensorFlow's latency and its difference from itself.
"""

from __future__ import annotations

import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.benchmarks.reference import serving
from edgetf.benchmarks.reference.noise import (
    LESS_S,
    Way,
    collect,
    compare_ways,
    first_outputs,
    measure_noise,
    time_calls,
    time_function,
    time_ways,
)
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.benchmarks.reference.refusals import Ask, RefusedError, guarded, locating
from edgetf.benchmarks.rows import Outputs
from edgetf.benchmarks.timing.times import summarize
from edgetf.conversion.savedmodel import compute_dtype
from edgetf.device.runner.machine import describe_machine
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.figures import Latency
from edgetf.installing import how_to_install
from edgetf.reading import parsing
from edgetf.results import Noise, Precision, ReferenceDevice, ReferenceLatency, Source
from edgetf.samples import Array, Samples

_BATCH = 64
_LIKENESS = 16  # samples that a server and the SavedModel must agree on
_UNLIKE = 0.02  # of the largest output: beyond what TF32 (a mantissa of 10 bits) was seen to cost


@dataclass(frozen=True)
class Performance:
    """The latency of TensorFlow on one sample and in other ways, and its difference from itself."""

    latency: Latency
    latencies: tuple[ReferenceLatency, ...]
    noise: tuple[Noise, ...]


class Backend(ABC):
    """A signature in TensorFlow. `ask` takes a batch of inputs by name, of `most` samples, and returns the outputs."""

    def __init__(self, device: ReferenceDevice, precision: Precision, ask: Ask, most: int) -> None:
        self.device, self.precision, self.ask, self.most = device, precision, guarded(ask), most

    @abstractmethod
    def refuse_other_model(self, samples: Samples, random: Sequence[str]) -> None:
        """Raise EdgetfError if it computes something else than the SavedModel; outputs in `random` are left out."""

    @abstractmethod
    def measure(self, samples: Samples, outputs: Outputs, batch: int, on_event: OnEvent) -> Performance:
        """Time single calls, and compute the first of `samples` in other ways; `outputs` are of `batch` at once."""


class LocalBackend(Backend):
    """TensorFlow in this process, on the GPU or the CPU."""

    def __init__(self, tf: Any, function: Any, device: ReferenceDevice, dtype: str) -> None:
        onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0" and platform.machine() == "x86_64"
        precision = Precision(dtype=dtype, tf32=False, deterministic=device.kind == "gpu", onednn=onednn)
        super().__init__(device, precision, self._call, _BATCH)
        self._tf, self._function = tf, function

    def _call(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        fed = {name: self._tf.constant(values) for name, values in inputs.items()}
        return {name: value.numpy() for name, value in self._function(**fed).items()}

    def refuse_other_model(self, samples: Samples, random: Sequence[str]) -> None:
        """It is the SavedModel."""

    def measure(self, samples: Samples, outputs: Outputs, batch: int, on_event: OnEvent) -> Performance:
        with locating(self.ask, samples, 0, samples.batch, (self._tf.errors.OpError,)):
            latency = summarize([time_function(self._tf, self._function, samples, samples.batch)])
        latencies = time_ways(self._tf, self._function, samples, batch, samples.batch, on_event)
        sample_ms = latency.median / samples.batch
        noise = measure_noise(self._tf, self._function, samples, outputs, batch, on_event, sample_ms)
        return Performance(latency, latencies, noise)


class ServingBackend(Backend):
    """A TensorFlow Serving. The signature on this machine's CPU is what it is compared with."""

    def __init__(self, tf: Any, function: Any, served: serving.Served, dtype: str) -> None:
        sentence = f"TensorFlow Serving, {served.name}; its device and precision are its own"
        device = ReferenceDevice("serving", served.name, sentence)
        precision = Precision(dtype=dtype, tf32=None, deterministic=None, onednn=None)
        super().__init__(device, precision, served.ask, min(_BATCH, served.most))
        self._tf, self._function, self._ask_here = tf, function, guarded(self._compute_here)

    def _compute_here(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with self._tf.device("/CPU:0"):
            found = self._function(**{name: self._tf.constant(values) for name, values in inputs.items()})
        return {name: value.numpy() for name, value in found.items()}

    def refuse_other_model(self, samples: Samples, random: Sequence[str]) -> None:
        """Raise EdgetfError if the server returns something else than the SavedModel on this machine's CPU."""
        alone = samples.batch
        for k, fed in enumerate(self._first(samples)):
            with locating(self._ask_here, samples, k * alone, (k + 1) * alone):
                here = self._ask_here(fed)
            with locating(self.ask, samples, k * alone, (k + 1) * alone):
                there = self.ask(fed)
            for name, served in there.items():
                if name in random:
                    continue
                ours, theirs = np.asarray(here[name], np.float64), np.asarray(served, np.float64)
                largest = float(np.abs(ours).max(initial=0.0))
                apart = float(np.abs(theirs - ours).max(initial=0.0)) if theirs.shape == ours.shape else np.inf
                if not apart <= _UNLIKE * largest:
                    reason = f"{name!r} is {apart:.2g} away from the SavedModel's here, of at most {largest:.2g}"
                    hint = "give the SavedModel that is served"
                    raise EdgetfError(f"other weights are served by {self.device.name}: {reason}", hint)

    def _first(self, samples: Samples) -> list[Mapping[str, Array]]:
        """The first samples, in the smallest batches that the model takes."""
        alone = samples.batch
        rows = min(max(_LIKENESS // alone, 1) * alone, len(samples))
        return [samples.feed(begin, begin + alone) for begin in range(0, rows, alone)]

    def measure(self, samples: Samples, outputs: Outputs, batch: int, on_event: OnEvent) -> Performance:
        """Times of requests, including the network; the noise is that of other batches, and of this machine."""
        alone, fed = samples.batch, self._first(samples)
        known = first_outputs(outputs, len(fed) * alone, alone)
        ways = [
            Way(
                "this machine's CPU beside the server",
                lambda: collect([self._ask_here(one) for one in fed], alone, known),
            ),
            Way("one request at a time", lambda: collect([self.ask(one) for one in fed], alone, known)),
        ]
        noise = compare_ways(ways, known, len(fed) * alone, (self._tf.errors.OpError, RefusedError), on_event)
        latency = self._time(samples, alone, 1.0)
        others = () if batch == alone else (ReferenceLatency(batch, False, self._time(samples, batch, LESS_S)),)
        return Performance(latency, others, noise)

    def _time(self, samples: Samples, size: int, seconds: float) -> Latency:
        fed = samples.feed(0, size)

        def request() -> None:
            self.ask(fed)

        with locating(self.ask, samples, 0, size):
            return summarize([time_calls(request, seconds)])


def find_backend(tf: Any, saved_model: Path, source: Source, options: ReferenceOptions) -> Backend:
    """The backend that `options` name, with the model in the folder `saved_model`, which may be a copy of that of
    `source`. Raises EdgetfError for a missing GPU or server."""
    dtype = compute_dtype(source)
    device = _choose_device(tf, Place.CPU if options.serving else options.on, dtype)
    with parsing(source.path, "a SavedModel that TensorFlow loads", "export it again"):
        model = tf.saved_model.load(str(saved_model))
        function = model.signatures[source.signature]
    function.model = model  # otherwise it and its variables would be garbage-collected
    if options.serving is None:
        return LocalBackend(tf, function, device, dtype)
    return ServingBackend(tf, function, serving.connect(options.serving, source), dtype)


def _choose_device(tf: Any, on: Place, dtype: str) -> ReferenceDevice:
    """Set TensorFlow up for the GPU or the CPU, and return which one it is."""
    gpus = [] if on is Place.CPU else tf.config.list_physical_devices("GPU")
    if on is Place.GPU and not gpus:
        driver = Path("/proc/driver/nvidia/version").exists()
        command = how_to_install("gpu", "tensorflow[and-cuda]")
        hint = command if driver else f"install the NVIDIA driver, then {command}"
        raise EdgetfError("TensorFlow sees no GPU on this machine", f"{hint}; or use --on cpu")
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        tf.config.set_visible_devices(gpus[:1], "GPU")
    except RuntimeError as error:  # this process has used TensorFlow already, as the demo has for training
        if on is Place.CPU and tf.config.list_logical_devices("GPU"):
            raise EdgetfError("TensorFlow is already on the GPU", "run edgetf reference by itself") from error
    cpu = describe_machine().get("cpu", platform.machine())
    version = f"TensorFlow {tf.__version__}"
    if not gpus:
        return ReferenceDevice("cpu", cpu, f"{version} on the CPU ({cpu}), {dtype}; no GPU was used")
    tf.config.experimental.enable_op_determinism()
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return ReferenceDevice("gpu", name, f"{version} on the GPU ({name}), {dtype} with TF32 off")
