"""The stored outputs of a Reference. In: `reference.json`. Out: arrays by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.arrays import read_npy
from edgetf.benchmarks.rows import Outputs, refuse_torn
from edgetf.errors import EdgetfError
from edgetf.reading import parsing
from edgetf.results import Reference, Source


def load_outputs(reference: Reference, place: Path) -> Outputs:
    """The Reference's outputs by name, memory-mapped. `place` is `reference.json` or its folder."""
    folder = place if place.is_dir() else place.parent
    for output in reference.outputs:
        for file, digest in ((output.file, output.sha256), (output.shapes, output.shapes_sha256)):
            path = folder / str(file)
            if file is not None and path.is_file() and files.sha256_file(path) != digest:
                raise EdgetfError(f"{path} is not the file of this reference", "make the reference again")
    unbatched = frozenset(o.name for o in reference.outputs if not o.batched)
    again = "make the reference again"
    with parsing(place, "a reference with its arrays", again):
        values = {o.name: read_npy(folder / o.file, again) for o in reference.outputs}
        shapes: dict[str, Any] = {o.name: read_npy(folder / o.shapes, again) for o in reference.outputs if o.shapes}
        return refuse_torn(Outputs(values, shapes, unbatched, loose_outputs(reference.source, unbatched)))


def loose_outputs(source: Source, unbatched: Iterable[str]) -> frozenset[str]:
    """The outputs without a batch axis whose number of rows is free in the signature."""
    return frozenset(unbatched) & {spec.name for spec in source.outputs if spec.shape[:1] == (None,)}
