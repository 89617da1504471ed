"""Samples that variants have seen. In: the conversions of variants. Out: the samples that shaped them, and a warning.

A variant may lose less on the samples that its ranges were taken from than on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgetf import files
from edgetf.benchmarks.judging.distinct import find_shared
from edgetf.benchmarks.timing.targets import Target
from edgetf.conversion.ranges import RANGES_SCHEMA, Ranges
from edgetf.errors import EdgetfError
from edgetf.results import Calibration, Conversion, SamplesUsed, TensorSpec
from edgetf.samples import Samples, load_same
from edgetf.samples.source import parse_source


def seen_before(targets: Sequence[Target], samples: Samples) -> list[str]:
    """A warning if some of `samples` are among those that the variants were calibrated on, whatever their labels.

    Sources that would run code or download are not read: of these only the same inputs, in the same order, are found.
    """
    shared = np.zeros(len(samples), bool)
    known = {(target.path.parent, id(target.calibrated_in)): target.calibrated_in for target in targets}
    for (folder, _), conversion in known.items():
        for calibration in calibrations_of(conversion, folder) if conversion else ():
            with suppress(Exception):  # it only informs: what cannot be compared costs no result
                theirs = _samples_of(conversion, calibration, samples) if conversion else None
                if theirs is not None:
                    shared |= find_shared(samples.inputs, theirs.inputs)
    if not shared.any():
        return []
    seen = f"{int(shared.sum()):,} of {len(samples):,} samples are among those that the variants were calibrated on"
    fact = "the variants were calibrated on the same samples" if shared.all() else seen
    return [f"{fact}: on others they may lose more; give convert and reference different samples"]


def calibrations_of(conversion: Conversion, folder: Path) -> list[Calibration]:
    """The calibrations that shaped the variants in `folder`: of its samples, and of the ranges that it was given."""
    known = [conversion.calibration]
    if conversion.ranges is not None:
        with suppress(EdgetfError):  # damaged or removed since
            known.append(files.read_document(folder / conversion.ranges, Ranges, RANGES_SCHEMA).calibration)
    return list({one.samples.digest: one for one in known if one is not None}.values())


def load_calibration(conversion: Conversion, known: Calibration) -> Samples | None:
    """The samples of a calibration; None where they are gone or have changed."""
    try:
        samples = load_same(known.samples.source, inputs_of(conversion), known.samples)
    except Exception:  # a check that cannot be made costs no result
        return None
    return None if samples is None else samples.take(known.n)


def inputs_of(conversion: Conversion) -> tuple[TensorSpec, ...]:
    """The model's inputs, with the batch that the variants take where it was fixed at more than one sample."""
    found = []
    for spec in conversion.source.inputs:
        batch = (conversion.shapes.get(spec.name) or (None,))[0] or 1
        fixed = batch > 1 and spec.shape and spec.batched is not False
        found.append(replace(spec, shape=(batch, *spec.shape[1:])) if fixed else spec)
    return tuple(found)


def has_same_inputs(one: SamplesUsed, other: SamplesUsed) -> bool:
    """Whether they have the same inputs in the same order, whatever their labels."""
    return one.digest == other.digest or (one.inputs_digest == other.inputs_digest and one.inputs_digest is not None)


def _samples_of(conversion: Conversion, known: Calibration, samples: Samples) -> Samples | None:
    """The samples of a calibration: from these `samples` if they have the same inputs, otherwise from their source."""
    if has_same_inputs(known.samples, samples.used()):
        return samples.take(known.n)
    return load_calibration(conversion, known) if parse_source(known.samples.source).kind.is_rereadable else None
