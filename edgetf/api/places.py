"""Variants as the functions of `edgetf` take them: results, files or folders. Out: their paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgetf.api.results import ConvertedVariant, Variants
from edgetf.errors import EdgetfError

Variant = Variants | ConvertedVariant | str | os.PathLike[str]


def places_of(variants: Variant | Sequence[Variant]) -> tuple[Path, ...]:
    """The files and folders of `variants`. Raises EdgetfError for a variant that was not made."""
    if isinstance(variants, Variants):
        return (variants.folder,)
    if isinstance(variants, ConvertedVariant):
        if variants.path is None:
            raise EdgetfError(f"{variants.name} has no file: {variants}", "choose another variant")
        return (variants.path,)
    if isinstance(variants, (str, os.PathLike)):
        return (Path(variants),)
    places = tuple(place for one in variants for place in places_of(one))
    if not places:
        raise EdgetfError("there are no variants", "give .tflite files, or a folder of them")
    return places
