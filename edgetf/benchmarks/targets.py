"""Which variants a path means: a `.tflite` file, a folder with `conversion.json`, or a folder of `.tflite` files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgetf.errors import EdgetfError
from edgetf.files import sha256_file
from edgetf.flatbuffer import read_contents
from edgetf.results import Conversion, Failure, read_conversion


@dataclass(frozen=True)
class Target:
    """A variant to measure, with its provenance where `conversion.json` beside it tells."""

    path: Path
    name: str
    bytes: int | None
    sha256: str | None
    scheme: str | None = None
    signature: str | None = None
    source_digest: str | None = None
    failed: Failure | None = None  # why there is no such file: its conversion had failed


def find_targets(places: Sequence[Path]) -> list[Target]:
    """The variants at `places`, in order, with names that differ. Raises EdgetfError where there is none."""
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
        ]
    if all(target.failed for target in targets):
        raise EdgetfError(f"there are no variants in {place}", hint)
    return targets


def _conversion_of(folder: Path) -> Conversion | None:
    return read_conversion(folder) if (folder / "conversion.json").is_file() else None


def _target(path: Path, conversion: Conversion | None) -> Target:
    """The file at `path`; it has a provenance only when it is still the file that `conversion.json` lists."""
    if not path.is_file():
        raise EdgetfError(f"{path} is listed in conversion.json but is not there", "convert again")
    read_contents(path)  # a damaged file is told here, before anything is run
    target = Target(path, path.stem, path.stat().st_size, sha256_file(path))
    for variant in conversion.variants if conversion else ():
        if conversion and variant.path == path.name:
            if variant.sha256 != target.sha256:
                raise EdgetfError(f"{path} is not the file that conversion.json lists", "it was changed: convert again")
            return replace(
                target,
                scheme=variant.scheme,
                signature=conversion.source.signature,
                source_digest=conversion.source.digest,
            )
    return target
