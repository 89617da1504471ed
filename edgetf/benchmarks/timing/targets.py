"""The variants at a path: a `.tflite` file, a folder with `conversion.json`, or a folder of `.tflite` files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgetf.conversion import keras_file
from edgetf.errors import EdgetfError
from edgetf.files import sha256_file
from edgetf.flatbuffer import read_contents
from edgetf.recipes import TUNED
from edgetf.results import Conversion, Failure, RepairState, Source, Status, Variant, read_conversion
from edgetf.schemes import SCHEMES
from edgetf.texts import printable


@dataclass(frozen=True)
class Target:
    """A variant to measure, with its provenance from `conversion.json`, if available."""

    path: Path
    name: str
    bytes: int | None
    sha256: str | None
    scheme: str | None = None
    signature: str | None = None
    calibrated_in: Conversion | None = None  # its conversion, if the samples of it shaped the variant
    source: Source | None = None
    layers: dict[str, str] | None = None
    failed: Failure | None = None  # the reason why the file is missing: its conversion failed
    private: Path | None = None  # the private copy that runs

    @property
    def source_digest(self) -> str | None:
        return self.source.digest if self.source is not None else None


def find_targets(places: Sequence[Path]) -> list[Target]:
    """The variants at `places`, in order, with unique names. Raises EdgetfError if there are none."""
    targets = [target for place in places for target in _at(place)]
    named: list[Target] = []
    for target in targets:
        taken = {other.name for other in named}
        name, k = target.name, 2
        while name in taken:
            name, k = f"{target.name}-{k}", k + 1
        named.append(replace(target, name=name))
    return named


def _at(place: Path) -> list[Target]:
    hint = "make variants with: edgetf convert SAVED_MODEL -o OUT"
    if keras_file.is_keras_file(place) or (place / "saved_model.pb").is_file():
        hint = f"convert it first: edgetf convert {place} -o OUT; edgetf benchmark OUT"
        raise EdgetfError(f"{place} is a model, not a variant", hint)
    if place.is_file():
        return [_target(place, _conversion_of(place.parent))]
    if not place.is_dir():
        raise EdgetfError(f"{place} does not exist", hint)
    conversion = _conversion_of(place)
    if conversion is None:
        targets = [_target(path, None) for path in sorted(place.glob("*.tflite"))]
    else:
        targets = [
            _target(place / v.path, conversion)
            if v.path is not None
            else Target(place, v.scheme, None, None, v.scheme, failed=v.error)
            for v in conversion.variants
            if v.status is not Status.LEFT_OUT
        ]
    if all(target.failed for target in targets):
        raise EdgetfError(f"there are no variants in {place}", hint)
    return targets


def _conversion_of(folder: Path) -> Conversion | None:
    return read_conversion(folder) if (folder / "conversion.json").is_file() else None


def _target(path: Path, conversion: Conversion | None) -> Target:
    """The file at `path`; it has a provenance only if it is still the file listed in `conversion.json`."""
    if not path.is_file():
        raise EdgetfError(f"{path} is listed in conversion.json but is missing", "convert again")
    read_contents(path)  # report a damaged file before anything is run
    target = Target(path, printable(path.stem) or "variant", path.stat().st_size, sha256_file(path))
    for variant in conversion.variants if conversion else ():
        if conversion and variant.path == path.name:
            if variant.sha256 != target.sha256:
                raise EdgetfError(f"{path} is not the file that conversion.json lists", "it has changed: convert again")
            return replace(
                target,
                scheme=variant.scheme,
                signature=conversion.source.signature,
                calibrated_in=conversion if _is_calibrated(variant) else None,
                source=conversion.source,
                layers=conversion.layers,
            )
    return target


def _is_calibrated(variant: Variant) -> bool:
    """Whether samples shaped a variant: its ranges, or the rounding of its weights."""
    scheme = variant.scheme
    known = scheme == TUNED or (scheme in SCHEMES and SCHEMES[scheme].needs_samples)
    return known or any(repair.state is RepairState.KEPT for repair in variant.repairs)
