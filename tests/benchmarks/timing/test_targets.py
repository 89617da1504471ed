"""The provenance of variants."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from edgetf.benchmarks.timing.targets import find_targets
from edgetf.files import write_document
from edgetf.results import Repair, RepairKind, RepairState, read_conversion
from edgetf.schemes import DEFAULT_SCHEMES


def test_a_variant_whose_weights_were_rounded_on_samples_was_calibrated_on_them(
    converted: Path, tmp_path: Path
) -> None:
    shutil.copytree(converted, tmp_path / "out")
    known = read_conversion(converted)
    assert known.calibration is not None
    states = {"weights": RepairState.KEPT, "dynamic": RepairState.REFUSED}
    variants = []
    for variant in known.variants:
        state = states.get(variant.scheme)
        repairs = () if state is None else (Repair(RepairKind.ROUNDING, state, 40.0, 41.0, 32, 0.1),)
        variants.append(replace(variant, repairs=repairs))
    write_document(tmp_path / "out" / "conversion.json", replace(known, variants=tuple(variants)))
    calibrated = {target.name: target.calibrated_in for target in find_targets([tmp_path / "out"])}
    with_ranges = {name for name, scheme in DEFAULT_SCHEMES.items() if scheme.needs_samples}
    assert {name for name, known in calibrated.items() if known} == {"weights", *with_ranges}
    assert calibrated["int8"] is not None
    assert calibrated["int8"].calibration == known.calibration
