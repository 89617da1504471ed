"""`edgetf.compile`: variants compiled ahead of time for an accelerator, with where they come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from edgetf.api.places import Variant, places_of
from edgetf.benchmarks.timing.targets import Target, find_targets
from edgetf.console.progress import progress
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent, Phase
from edgetf.files import now, staged, write_document
from edgetf.results import Conversion, Failure, Status, read_conversion
from edgetf.results import Variant as Converted
from edgetf.targets.aot import Compiled, compile_file, find_chip
from edgetf.targets.fits import ETHOS_U
from edgetf.targets.vela import PACKAGE, compile_ethos, vela

_DOCUMENT = "conversion.json"
_FAILED = "compile"  # the code of a failure


def compile(  # noqa: A001
    variants: Variant | Sequence[Variant],
    out: str | os.PathLike[str],
    *,
    target: str,
    force: bool = False,
    on_event: OnEvent | None = None,
) -> dict[str, Compiled]:
    """Compile variants for an accelerator, as `edgetf compile` does.

    Parameters
    ----------
    variants
        As for `edgetf.benchmark`.
    out
        The folder for the compiled files, which have the names of the variants. If these are of a conversion, it is
        described there, too: `edgetf.benchmark` takes the folder like that of a conversion.
    target
        The accelerator: "qualcomm-sm8750", "mediatek-mt6991", "google-tensor-g5", "intel-ptl", or "intel-cpu" for
        OpenVINO's own device for CPUs; or an Ethos-U NPU, such as "ethos-u55-128", whose files only boards run.
    force, on_event
        As for `edgetf.benchmark`.

    Returns
    -------
    dict of str to Compiled
        By variant: `.path`, and what the accelerator takes: `.delegated` of `.operations` in `.partitions` pieces. A
        variant that was not compiled has the reason in `.reason`.

    Raises
    ------
    EdgetfError
        If the target is unknown, or nothing could be compiled, as without the compiler of its maker.

    Examples
    --------
    >>> edgetf.compile(variants, "npu", target="intel-cpu")["int8"].delegated  # doctest: +SKIP
    10
    """
    places, place, make = places_of(variants), Path(out), _compiler_of(target)
    targets = [one for one in find_targets(places) if one.failed is None]
    found: dict[str, Compiled] = {}
    with progress("Compiling", on_event) as report, staged(place, [_DOCUMENT], force) as staging:
        for one in targets:
            report(Phase(one.name))
            found[one.name] = make(one.path, staging / f"{one.name}.tflite")
        if all(made.path is None for made in found.values()):
            first = next(iter(found.values()))
            raise EdgetfError(f"{first.name} was not compiled for {target}: {first.reason}", first.hint)
        if (
            conversion := _conversion_of(targets, found, PACKAGE if target in ETHOS_U else "ai-edge-litert")
        ) is not None:
            write_document(staging / _DOCUMENT, conversion)
    return {
        name: made if made.path is None else replace(made, path=str(place / made.path)) for name, made in found.items()
    }


def _compiler_of(target: str) -> Callable[[Path, Path], Compiled]:
    """What compiles a variant to a file. Raises EdgetfError for an unknown target, or if Vela is not installed."""
    if target in ETHOS_U:
        vela()
        return lambda path, place: compile_ethos(path, target, place)
    chip = find_chip(target)
    return lambda path, place: compile_file(path, target, chip, place)


def _conversion_of(targets: Sequence[Target], found: dict[str, Compiled], package: str) -> Conversion | None:
    """The conversion of the variants, with the files that `package` made; None if they are of none, or of several."""
    folders = {one.path.parent for one in targets if one.source is not None}
    if len(folders) != 1 or not all(one.source for one in targets):
        return None
    conversion = read_conversion(next(iter(folders)))
    by_scheme = {one.scheme: found[one.name] for one in targets}
    kept = [one for one in conversion.variants if one.scheme in by_scheme]
    versions = {**conversion.versions, f"compiled with {package}": metadata.version(package)}
    compiled = tuple(_variant(one, by_scheme[one.scheme]) for one in kept)
    return replace(conversion, created=now(), ranges=None, versions=versions, variants=compiled)


def _variant(variant: Converted, made: Compiled) -> Converted:
    common = replace(variant, path=made.path, bytes=made.bytes, sha256=made.sha256, seconds=made.seconds, ran_in=None)
    common = replace(common, weight_sparsity=None, compressed_bytes=None)
    if made.path is None:
        return replace(common, status=Status.FAILED, error=Failure(_FAILED, made.reason, made.hint))
    note = f"compiled for {made.target}, which takes {made.delegated} of {made.operations} operations"
    return replace(common, notes=(*variant.notes, f"{note}; the variant was {made.source_sha256}"))
