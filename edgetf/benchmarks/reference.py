"""What TensorFlow says on the Samples: a SavedModel in, `reference.json` and its outputs as `.npy` files out.

Float32 on a GPU where there is one, with TF32 off and deterministic ops, else on the CPU; the document says which in
words. Latency is one sample alone (or the model's own batch), outputs read back to the host.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from edgetf import __version__, files
from edgetf.benchmarks.noise import measure_noise, time_function, time_ways
from edgetf.benchmarks.times import summarize
from edgetf.convert.backend import load_tensorflow
from edgetf.convert.savedmodel import compute_dtype, read_source
from edgetf.device.runner.machine import describe_machine
from edgetf.errors import EdgetfError
from edgetf.process import OnEvent
from edgetf.results import REFERENCE_SCHEMA, ArrayFile, Precision, Reference, ReferenceDevice, Source
from edgetf.samples import Array, Samples, load_samples

_BATCH = 64
_FOLDER = "reference"


class Place(str, Enum):
    """Where TensorFlow is to run."""

    AUTO = "auto"
    GPU = "gpu"
    CPU = "cpu"


@dataclass(frozen=True)
class ReferenceOptions:
    on: Place = Place.AUTO
    signature: str | None = None
    force: bool = False


def make_reference(
    saved_model: Path, samples: Path, out: Path, options: ReferenceOptions, on_event: OnEvent
) -> Reference:
    """Run `saved_model` on `samples` and write the Reference into `out`.

    Raises EdgetfError for a model or samples that do not fit, a GPU that is not there, outputs that are not finite.
    """
    if out.resolve().is_relative_to(saved_model.resolve()):
        raise EdgetfError(f"{out} lies inside of {saved_model}", "give a folder outside of the model with -o")
    on_event({"event": "phase", "phase": "loading TensorFlow"})
    tf = load_tensorflow()
    source = read_source(saved_model, options.signature)
    rows = load_samples(samples, source.inputs)
    with files.staged(out, [_FOLDER, "reference.json"], options.force) as staging:
        dtype = compute_dtype(source)
        device = _choose_device(tf, options.on, dtype)
        model = tf.saved_model.load(str(saved_model))
        function = model.signatures[source.signature]
        on_event({"event": "phase", "phase": f"TensorFlow on the {device.kind.upper()}"})
        batch, outputs = _run_all(tf, function, source, rows, on_event)
        alone = source.inputs[0].shape[0] or 1
        latency = summarize([time_function(tf, function, rows.inputs, alone)])
        latencies = time_ways(tf, function, rows.inputs, batch, alone, on_event)
        (staging / _FOLDER).mkdir()
        listed = []
        for k, (name, values) in enumerate(sorted(outputs.items())):
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                raise EdgetfError(
                    f"TensorFlow's own output {name!r} holds NaN or infinity", "mend the model or samples"
                )
            file = f"{_FOLDER}/output-{k}.npy"
            np.save(staging / file, values)
            listed.append(ArrayFile(name, file, files.sha256_file(staging / file)))
        reference = Reference(
            schema=REFERENCE_SCHEMA,
            edgetf=__version__,
            created=files.now(),
            source=source,
            samples=rows.used(),
            device=device,
            precision=_precision(device.kind, dtype),
            versions={"tensorflow": tf.__version__, "numpy": np.__version__, "python": platform.python_version()},
            batch=batch,
            batch_alone=alone,
            latency_ms=latency,
            latencies=latencies,
            noise=measure_noise(tf, function, rows.inputs, outputs, (batch, alone), on_event),
            outputs=tuple(listed),
        )
        files.write_document(staging / "reference.json", reference)
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


def _precision(kind: str, dtype: str) -> Precision:
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0" and platform.machine() == "x86_64"
    return Precision(dtype=dtype, tf32=False, deterministic=kind == "gpu", onednn=onednn)


def _run_all(
    tf: Any, function: Callable[..., Any], source: Source, samples: Samples, on_event: OnEvent
) -> tuple[int, dict[str, Array]]:
    """Outputs for all samples, by name, sample by sample; and the batch that was used.

    Batches are the model's own where fixed. A model whose outputs do not have the batch along axis 0 runs alone.
    """
    free = all(spec.shape and spec.shape[0] is None for spec in source.inputs)
    batch = min(_BATCH, len(samples)) if free else source.inputs[0].shape[0] or 1
    whole = _run_batches(tf, function, samples, batch, on_event)
    if free and batch > 1 and any(len(values) != len(samples) for values in whole.values()):
        batch, whole = 1, _run_batches(tf, function, samples, 1, on_event)
    return batch, whole


def _run_batches(
    tf: Any, function: Callable[..., Any], samples: Samples, batch: int, on_event: OnEvent
) -> dict[str, Array]:
    n = len(samples)
    pieces: dict[str, list[Array]] = {}
    for begin in range(0, n, batch):
        end = min(begin + batch, n)
        inputs = {name: tf.constant(values[begin:end]) for name, values in samples.inputs.items()}
        for name, value in function(**inputs).items():
            values = value.numpy()
            fits = values.ndim and len(values) == end - begin
            pieces.setdefault(name, []).append(values if fits else values[np.newaxis])
        on_event({"event": "progress", "done": end, "of": n})
    try:
        return {name: np.concatenate(arrays) for name, arrays in pieces.items()}
    except ValueError as error:
        raise EdgetfError("an output changes its shape from sample to sample", "give samples of one shape") from error
