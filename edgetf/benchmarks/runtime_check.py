"""Run variants in the target runtime, because metadata does not show silently wrong results.

Every variant runs on a few samples in LiteRT and in the target runtime, if that is installed. A difference larger than
rounding is a failure of the variant, recorded in `conversion.json`. Without samples nothing runs: then only the
operators are compared with those that the runtime has (`conversion/contract.py`).
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf import files
from edgetf.benchmarks.rows import load_passes
from edgetf.conversion.contract import RuntimeVersion, find_target
from edgetf.device.local import LocalDevice
from edgetf.device.runner.delegates import RUNTIMES
from edgetf.device.runner.job import Job
from edgetf.events import OnEvent, Phase
from edgetf.owned import scratch
from edgetf.results import Conversion, Failure, Status, Variant
from edgetf.samples import SampleSource, load_samples
from edgetf.samples.inputs import write_inputs

_ROWS = 8
_TOLERANCE = 0.05  # of an output's range: runtimes differ by one or two steps of int8, 0.4 % each


def prove(out: Path, conversion: Conversion, samples: SampleSource, runtime: str, on_event: OnEvent) -> Conversion:
    """Run the variants of `conversion` in `out` on the first samples in LiteRT and in `runtime`, and compare.

    Returns the conversion with a note on each variant that agrees and a failure on each that does not, and writes it
    to `conversion.json`. If the runtime is not installed, the note says that it was not run.
    """
    target = find_target(runtime)
    allow_nan = conversion.calibration is not None and conversion.calibration.samples.allow_nan
    rows = load_samples(samples, conversion.source.inputs, allow_nan)
    with scratch() as work:
        inputs = write_inputs({name: values[:_ROWS] for name, values in rows.inputs.items()}, work)
        variants = []
        for variant in conversion.variants:
            if variant.path is None:
                variants.append(variant)
                continue
            on_event(Phase(f"{variant.scheme} in {target}"))
            path, unbatched = str((out / variant.path).resolve()), sorted(rows.unbatched)
            job = Job(path, inputs, conversion.source.signature, unbatched, timing=None)
            variants.append(_prove_one(variant, job, target, work / variant.scheme))
    proven = replace(conversion, variants=tuple(variants))
    files.write_document(out / "conversion.json", proven)
    return proven


def _prove_one(variant: Variant, job: Job, target: RuntimeVersion, work: Path) -> Variant:
    here, error = _run(replace(job, runtime="litert"), work / "litert")
    if here is None:
        return _fail(variant, f"it does not run in LiteRT: {error}")
    if target.runtime == "litert":
        return replace(variant, notes=(*variant.notes, "ran in LiteRT"))
    if find_spec(RUNTIMES[target.runtime].module) is None:
        return replace(variant, notes=(*variant.notes, f"not run in {target}, which is not installed here"))
    there, error = _run(replace(job, runtime=target.runtime), work / "target")
    if there is None:
        return _fail(variant, f"it does not run in {target}: {error}")
    for name, values in here.items():
        spread = (float(np.ptp(values)) if values.size else 0.0) or 1.0
        same = there[name].shape == values.shape
        difference = float(np.max(np.abs(there[name] - values), initial=0.0)) if same else np.inf
        if not difference <= _TOLERANCE * spread:
            return _fail(
                variant, f"{target} gives other results: {name} is off by {difference:.3g} of a range of {spread:.3g}"
            )
    return replace(variant, notes=(*variant.notes, f"ran in {target} and agreed with LiteRT on {_ROWS} samples"))


def _run(job: Job, work: Path) -> tuple[dict[str, NDArray[np.float64]] | None, str | None]:
    """The outputs by name, or the reason why there are none."""
    measurement = LocalDevice().run(job, work, lambda event: None)
    if measurement.samples is None:
        return None, measurement.error
    outputs = load_passes([(measurement.samples, work)])
    return {name: values.astype(np.float64) for name, values in outputs.values.items()}, None


def _fail(variant: Variant, message: str) -> Variant:
    failure = Failure("target", message, "try another scheme, or a newer runtime on the device")
    return replace(variant, status=Status.FAILED, error=failure)
