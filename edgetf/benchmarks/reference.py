"""What TensorFlow says on the Samples: a SavedModel in, `reference.json` and its outputs as `.npy` files out.

Float32 on a GPU where there is one, with TF32 off and deterministic ops, else on the CPU, or by a running TensorFlow
Serving; the document says which in words. Latency is one sample alone (or the model's own batch), outputs read back to
the host. Outputs are written as they come: samples may be millions, and an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgetf import __version__, files
from edgetf.benchmarks import serving
from edgetf.benchmarks.noise import LESS_S, compare_ways, measure_noise, time_calls, time_function, time_ways
from edgetf.benchmarks.partial import Partial
from edgetf.benchmarks.times import summarize
from edgetf.convert.backend import load_tensorflow
from edgetf.convert.savedmodel import compute_dtype, read_source
from edgetf.device.runner.machine import describe_machine
from edgetf.errors import EdgetfError
from edgetf.figures import Latency
from edgetf.process import OnEvent
from edgetf.results import (
    REFERENCE_SCHEMA,
    ArrayFile,
    Noise,
    Precision,
    Reference,
    ReferenceDevice,
    ReferenceLatency,
    Source,
)
from edgetf.samples import Array, Samples, SampleSource, load_samples, release

_BATCH = 64
_FOLDER = "reference"
_PARTIAL = ".edgetf-partial-reference"
_LIKENESS = 16  # samples that a server and the SavedModel must agree on
_UNLIKE = 0.02  # of the largest output: beyond what TF32 (a mantissa of 10 bits) was seen to cost


class Place(str, Enum):
    """Where TensorFlow is to run."""

    AUTO = "auto"
    GPU = "gpu"
    CPU = "cpu"


@dataclass(frozen=True)
class ReferenceOptions:
    """`serving` is the address of a TensorFlow Serving that is to answer, in the place of `on`."""

    on: Place = Place.AUTO
    serving: str | None = None
    signature: str | None = None
    force: bool = False


@dataclass(frozen=True)
class _Spoken:
    """How fast TensorFlow is, and how far from itself."""

    latency: Latency
    latencies: tuple[ReferenceLatency, ...]
    noise: tuple[Noise, ...]


@dataclass(frozen=True)
class _Teller:
    """What answers for TensorFlow: `ask` takes a batch of inputs by name; `most` is how many it takes at once.

    `function` is the signature in this process: what answers, or beside a server what computes the same here.
    """

    device: ReferenceDevice
    precision: Precision
    ask: serving.Ask
    most: int
    function: Any
    served: bool


def make_reference(
    saved_model: Path, samples: SampleSource, out: Path, options: ReferenceOptions, on_event: OnEvent
) -> Reference:
    """Run `saved_model` on `samples` and write the Reference into `out`.

    An interrupted run is gone on with where it stopped. Raises EdgetfError for a model or samples that do not fit, a
    GPU or a server that is not there, outputs that are not finite.
    """
    if out.resolve().is_relative_to(saved_model.resolve()):
        raise EdgetfError(f"{out} lies inside of {saved_model}", "give a folder outside of the model with -o")
    on_event({"event": "phase", "phase": "loading TensorFlow"})
    tf = load_tensorflow()
    source = read_source(saved_model, options.signature)
    if any(spec.dtype == "string" for spec in source.outputs):
        raise EdgetfError(f"{saved_model} answers with texts, which cannot be compared", "choose another --signature")
    rows = load_samples(samples, source.inputs)
    with files.staged(out, [_FOLDER, "reference.json"], options.force) as staging:
        teller = _find_teller(tf, saved_model, source, options)
        on_event({"event": "phase", "phase": teller.device.sentence.split(",")[0]})
        (staging / _FOLDER).mkdir()
        alone = source.inputs[0].shape[0] or 1
        if teller.served:
            _refuse_other_weights(tf, teller, rows.inputs, alone)
        batch, begun = _tell_all(teller, source, rows, out / _PARTIAL, on_event)
        outputs = begun.finish(staging / _FOLDER)
        known = {name: np.load(path, mmap_mode="r") for name, path in outputs.items()}
        speak = _speak_served if teller.served else _speak_here
        spoken = speak(tf, teller, rows.inputs, known, (batch, alone), on_event)
        reference = Reference(
            schema=REFERENCE_SCHEMA,
            edgetf=__version__,
            created=files.now(),
            source=source,
            samples=rows.used(),
            device=teller.device,
            precision=teller.precision,
            versions=_versions(tf),
            batch=batch,
            batch_alone=alone,
            latency_ms=spoken.latency,
            latencies=spoken.latencies,
            noise=spoken.noise,
            outputs=tuple(
                ArrayFile(name, f"{_FOLDER}/{path.name}", files.sha256_file(path)) for name, path in outputs.items()
            ),
        )
        files.write_document(staging / "reference.json", reference)
    begun.discard()
    return reference


def load_outputs(reference: Reference, place: Path) -> dict[str, Array]:
    """The Reference's outputs by name, memory-mapped. `place` is `reference.json` or its folder."""
    folder = place if place.is_dir() else place.parent
    for output in reference.outputs:
        if (folder / output.file).is_file() and files.sha256_file(folder / output.file) != output.sha256:
            raise EdgetfError(f"{folder / output.file} is not the file of this reference", "make the reference again")
    try:
        return {o.name: np.load(folder / o.file, mmap_mode="r", allow_pickle=False) for o in reference.outputs}
    except (OSError, ValueError) as error:
        raise EdgetfError(
            f"the arrays beside {place} are missing or damaged: {error}", "make the reference again"
        ) from error


def _choose_device(tf: Any, on: Place, dtype: str) -> ReferenceDevice:
    """Set TensorFlow up for the GPU or the CPU and say which it is."""
    gpus = [] if on is Place.CPU else tf.config.list_physical_devices("GPU")
    if on is Place.GPU and not gpus:
        driver = Path("/proc/driver/nvidia/version").exists()
        hint = 'pip install "edgetf[gpu]"' if driver else 'install the NVIDIA driver, then pip install "edgetf[gpu]"'
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


def _find_teller(tf: Any, saved_model: Path, source: Source, options: ReferenceOptions) -> _Teller:
    dtype = compute_dtype(source)
    place = Place.CPU if options.serving else options.on
    device = _choose_device(tf, place, dtype)
    model = tf.saved_model.load(str(saved_model))
    function = model.signatures[source.signature]

    def ask(inputs: Mapping[str, Array]) -> dict[str, Array]:
        fed = {name: tf.constant(values) for name, values in inputs.items()}
        return {name: value.numpy() for name, value in function(**fed).items()}

    function.model = model  # which would be collected otherwise, its variables with it
    if options.serving is None:
        return _Teller(device, _precision(device.kind, dtype), ask, _BATCH, function, served=False)
    served = serving.connect(options.serving, source)
    sentence = f"TensorFlow Serving, {served.name}; its device and precision are its own"
    known = Precision(dtype=dtype, tf32=None, deterministic=None, onednn=None)
    device = ReferenceDevice("serving", served.name, sentence)
    return _Teller(device, known, served.ask, min(_BATCH, served.most), function, served=True)


def _versions(tf: Any) -> dict[str, str]:
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "python": platform.python_version()}


def _precision(kind: str, dtype: str) -> Precision:
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0" and platform.machine() == "x86_64"
    return Precision(dtype=dtype, tf32=False, deterministic=kind == "gpu", onednn=onednn)


# outputs ----------------------------------------------------------------------------------------------------------


class _MixesSamplesError(Exception):
    """An output has no axis for samples."""


def _tell_all(
    teller: _Teller, source: Source, samples: Samples, folder: Path, on_event: OnEvent
) -> tuple[int, Partial]:
    """The batch that was used, and outputs for all samples, sample by sample, in `folder`.

    Batches are the model's own where fixed. A model whose outputs do not have the batch along axis 0 runs alone.
    """
    own = source.inputs[0].shape[0]
    free = all(spec.shape and spec.shape[0] is None for spec in source.inputs)
    said = (source.digest, source.signature, samples.digest, teller.device.sentence, str(teller.precision))
    begun = Partial(folder, hashlib.sha256("\0".join(said).encode()).hexdigest())
    batch = min(teller.most, len(samples)) if free else own or 1
    if begun.progress is not None:
        batch = begun.progress.batch
        on_event({"event": "phase", "phase": f"going on after sample {begun.progress.done:,}"})
    try:
        try:
            _tell_batches(teller, samples, batch, begun, free and batch > 1, on_event)
        except _MixesSamplesError:
            batch = 1
            begun.discard()
            _tell_batches(teller, samples, batch, begun, False, on_event)
    except BaseException:
        begun.save()
        raise
    return batch, begun


def _tell_batches(
    teller: _Teller, samples: Samples, batch: int, begun: Partial, strictly: bool, on_event: OnEvent
) -> None:
    """Ask for batch after batch; `strictly` refuses outputs without an axis for samples, which else become one row."""
    n = len(samples)
    for begin in range(begun.progress.done if begun.progress else 0, n, batch):
        end = min(begin + batch, n)
        told = teller.ask({name: values[begin:end] for name, values in samples.inputs.items()})
        rows = {}
        for name, values in told.items():
            fits = values.ndim > 0 and len(values) == end - begin
            if strictly and not fits:
                raise _MixesSamplesError
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                begun.discard()
                problem = f"TensorFlow's own output {name!r} holds NaN or infinity"
                raise EdgetfError(problem, f"mend the model, or samples {begin + 1} to {end}")
            rows[name] = values if fits else values[np.newaxis]
        begun.append(rows, end, batch)
        for values in samples.inputs.values():
            release(values)
        on_event({"event": "progress", "done": end, "of": n})


# speed and noise --------------------------------------------------------------------------------------------------


def _speak_here(
    tf: Any,
    teller: _Teller,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    batches: tuple[int, int],
    on_event: OnEvent,
) -> _Spoken:
    batch, alone = batches
    latency = summarize([time_function(tf, teller.function, inputs, alone)])
    latencies = time_ways(tf, teller.function, inputs, batch, alone, on_event)
    return _Spoken(latency, latencies, measure_noise(tf, teller.function, inputs, outputs, batches, on_event))


def _refuse_other_weights(tf: Any, teller: _Teller, inputs: Mapping[str, Array], alone: int) -> None:
    """Raise EdgetfError where the server says something else than the SavedModel on this machine's CPU."""
    for begin in range(0, max(_LIKENESS // alone, 1) * alone, alone):
        fed = {name: values[begin : begin + alone] for name, values in inputs.items()}
        if len(next(iter(fed.values()))) < alone:
            return
        with tf.device("/CPU:0"):
            here = teller.function(**{name: tf.constant(values) for name, values in fed.items()})
        for name, served in teller.ask(fed).items():
            ours = np.asarray(here[name].numpy(), np.float64)
            largest = float(np.abs(ours).max(initial=0.0))
            theirs = np.asarray(served, np.float64)
            apart = float(np.abs(theirs - ours).max(initial=0.0)) if theirs.shape == ours.shape else np.inf
            if not apart <= _UNLIKE * largest:
                told = f"{name!r} is {apart:.2g} away from what the SavedModel says here, of at most {largest:.2g}"
                hint = "give the SavedModel that is served"
                raise EdgetfError(f"other weights are served by {teller.device.name}: {told}", hint)


def _speak_served(
    tf: Any,
    teller: _Teller,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    batches: tuple[int, int],
    on_event: OnEvent,
) -> _Spoken:
    """Times of requests, with the network in them; the noise is that of other batches, and of this machine's CPU."""
    batch, alone = batches
    rows = max(_LIKENESS // alone, 1) * alone
    first = {name: values[:rows] for name, values in inputs.items()}
    n = len(next(iter(inputs.values())))
    known = {name: values[:rows] for name, values in outputs.items() if len(values) == n}

    def here() -> dict[str, Array]:
        with tf.device("/CPU:0"):
            pieces = [teller.function(**{k: tf.constant(v[i : i + alone]) for k, v in first.items()}) for i in steps]
        return {name: np.concatenate([piece[name].numpy() for piece in pieces]) for name in known}

    def singly() -> dict[str, Array]:
        pieces = [teller.ask({name: values[i : i + alone] for name, values in first.items()}) for i in steps]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in known}

    steps = range(0, len(next(iter(first.values()))), alone)
    ways = [("this machine's CPU beside the server", here, True), ("one request at a time", singly, True)]
    noise = compare_ways(ways, known, len(steps) * alone, (tf.errors.OpError,), on_event)
    times = {}
    for size, seconds in {batch: LESS_S, alone: 1.0}.items():
        fed = {name: values[:size] for name, values in inputs.items()}
        times[size] = summarize([time_calls(partial(_ask, teller, fed), seconds)])
    latencies = [ReferenceLatency(batch, False, times[batch])] if batch != alone else []
    return _Spoken(times[alone], tuple(latencies), noise)


def _ask(teller: _Teller, inputs: Mapping[str, Array]) -> None:
    teller.ask(inputs)
