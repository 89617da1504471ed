"""Golden inputs through the very runtime that variants are for: metadata alone misses results that are silently wrong.

Every variant runs on a few samples in LiteRT and in the target runtime, where that is installed; what differs by more
than rounding is a failure of the variant, written into `conversion.json`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf import files
from edgetf.convert.contract import Target, find_target
from edgetf.device.devices import LocalDevice
from edgetf.device.runner.job import Job
from edgetf.process import OnEvent
from edgetf.results import Conversion, Failure, Status, Variant
from edgetf.samples import SampleSource, load_samples

_ROWS = 8
_TOLERANCE = 0.05  # of an output's range: runtimes differ by a step or two of int8, which is 0.4 % each


def prove(out: Path, conversion: Conversion, samples: SampleSource, runtime: str, on_event: OnEvent) -> Conversion:
    """Run the variants of `conversion` in `out` on the first samples in LiteRT and in `runtime`, and compare.

    Returns the conversion with a note on each variant that agrees and a failure on each that does not, and writes it
    to `conversion.json`. Where the runtime is not installed, the note says that it was not run.
    """
    target = find_target(runtime)
    inputs = load_samples(samples, conversion.source.inputs).inputs
    with tempfile.TemporaryDirectory() as work:
        files_of = {}
        for k, (name, values) in enumerate(inputs.items()):
            files_of[name] = str(Path(work, f"input-{k}.npy"))
            np.save(files_of[name], values[:_ROWS])
        variants = []
        for variant in conversion.variants:
            if variant.path is None:
                variants.append(variant)
                continue
            on_event({"event": "phase", "phase": f"{variant.scheme} in {target}"})
            job = Job(str((out / variant.path).resolve()), files_of, conversion.source.signature, timing=None)
            variants.append(_prove_one(variant, job, target, Path(work, variant.scheme)))
    proven = replace(conversion, variants=tuple(variants))
    files.write_document(out / "conversion.json", proven)
    return proven


def _prove_one(variant: Variant, job: Job, target: Target, work: Path) -> Variant:
    here, error = _run(replace(job, runtime="litert"), work / "litert")
    if here is None:
        return _fail(variant, f"it does not run in LiteRT: {error}")
    if target.runtime == "litert":
        return replace(variant, notes=(*variant.notes, "ran in LiteRT"))
    there, error = _run(replace(job, runtime=target.runtime), work / "target")
    if there is None and "not installed" in str(error):
        return replace(variant, notes=(*variant.notes, f"not run in {target}, which is not installed here"))
    if there is None:
        return _fail(variant, f"it does not run in {target}: {error}")
    for name, values in here.items():
        spread = float(np.max(values) - np.min(values)) or 1.0
        apart = float(np.max(np.abs(there[name] - values)))
        if not apart <= _TOLERANCE * spread:
            return _fail(
                variant, f"{target} gives other results: {name} is off by {apart:.3g} of a range of {spread:.3g}"
            )
    return replace(variant, notes=(*variant.notes, f"ran in {target} and agreed with LiteRT on {_ROWS} samples"))


def _run(job: Job, work: Path) -> tuple[dict[str, NDArray[np.float64]] | None, str | None]:
    """Outputs by name, or why there are none."""
    measurement = LocalDevice().run(job, work, lambda event: None)
    if measurement.samples is None:
        return None, measurement.error
    return {o.name: np.load(work / o.file).astype(np.float64) for o in measurement.samples.outputs}, None


def _fail(variant: Variant, message: str) -> Variant:
    failure = Failure("target", message, "try another scheme, or a newer runtime on the device")
    return replace(variant, status=Status.FAILED, error=failure)
