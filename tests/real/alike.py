"""Compares what is made without the converter with the converter's own files: python -m tests.real.alike

That are `float16`, `dynamic`, and `float32` of a model whose variables of more than a million bits are kept from the
converter, as those of a large model are.

For each published model, and each trained one of the zoo in build/zoo: whether all operations and values are the same,
or where the first difference is. (`NUMBER FOLDER` is one model with the packages in that folder, in this process.)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from edgetf.conversion import apart, keras_export, keras_file, large
from edgetf.conversion.halves import to_float16
from edgetf.conversion.hybrid import to_dynamic
from edgetf.conversion.official import configure
from edgetf.conversion.private import Private, load_private
from edgetf.conversion.savedmodel import fix_shapes, read_source, save_with_shapes
from edgetf.samples import load_samples
from edgetf.schemes import SCHEMES
from tests.conversion.graphs import graphs_of
from tests.real.published import MODELS, fetch

_LARGE = 130_000  # bytes
ZOO = sorted(Path("build/zoo").glob("*/saved_model"))


def first_difference(found: Any, expected: Any) -> str:
    """In words: where two lists of graphs differ; empty if nowhere."""
    for number, ((ours, _), (theirs, _)) in enumerate(zip(found, expected, strict=False)):
        for k, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            if one != other:
                part = next((i for i, (a, b) in enumerate(zip(one[2], other[2], strict=False)) if a != b), None)
                return f"graph {number}, operation {k}: {one[0]} and {other[0]}, input {part}"
    return "" if found == expected else "the number of operations, or the outputs"


def compare(saved_model: Path, samples: Path | None, folder: Path) -> list[str]:
    """A line for each scheme."""
    source = read_source(saved_model, None)
    source = fix_shapes(source, {}, None if samples is None else load_samples(samples, source.inputs))
    fixed, private = save_with_shapes(source, folder / "fixed"), load_private()
    assert private is not None
    official = {
        name: private.convert(fixed, source.signature, partial(configure, scheme=SCHEMES[name], flex=False))
        for name in ("float32", "float16", "dynamic")
    }
    lines = [f"float32: {_apart(private, fixed, source.signature, official['float32'], folder)}"]
    half, kept = to_float16(official["float32"])
    hybrid = to_dynamic(official["float32"], per_channel_dense=True)
    lines += ["float16: " + (first_difference(graphs_of(half), graphs_of(official["float16"])) or "the same")]
    lines[-1] += f" ({', '.join(kept)} in float32)" if kept else ""
    if hybrid is None:
        return [*lines, "dynamic: made by the converter"]
    return [*lines, "dynamic: " + (first_difference(graphs_of(hybrid), graphs_of(official["dynamic"])) or "the same")]


def _apart(private: Private, fixed: Path, signature: str, official: bytes, folder: Path) -> str:
    """In words: how the float flatbuffer compares that is made without large variables."""
    setting = partial(configure, scheme=SCHEMES["float32"], flex=False)
    convert = partial(private.convert_float, signature=signature, configure=setting, fills=True)
    with patch.object(large, "_LEAST", _LARGE), patch.object(apart, "_LEAST", _LARGE):
        found = apart.convert_apart(fixed, signature, convert, folder / "apart")
    if found is None:
        return "made by the converter"
    return first_difference(graphs_of(found.with_constants(found.content)), graphs_of(official)) or "the same"


def one(number: int, packages: Path, folder: Path) -> list[str]:
    if number >= len(MODELS):
        return compare(ZOO[number - len(MODELS)], None, folder)
    model = MODELS[number]
    [place] = packages.glob(model.inside)
    if model.member:
        with zipfile.ZipFile(place) as archive:
            archive.extract(model.member, folder)
        place = folder / model.member
    place = model.export(place, folder) if model.export else place
    np.savez(folder / "samples.npz", **model.samples(packages, 20))
    if keras_file.is_keras_file(place):
        keras_export.export_keras_file(place, folder / "saved_model", trust=False)
        place = folder / "saved_model"
    return compare(place, folder / "samples.npz", folder)


def main(given: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if len(given) == 2:
            print(*one(int(given[0]), Path(given[1]), Path(folder)), sep="; ")  # noqa: T201
            return
        if missing := fetch(Path(folder)):
            sys.exit(f"the package index does not have {missing}")
        names = [*(model.name for model in MODELS), *(path.parent.name for path in ZOO)]
        for number, name in enumerate(names):
            for legacy in ("", "1"):  # files of Keras 2 need it
                command = [sys.executable, "-m", "tests.real.alike", str(number), folder]
                env = {**os.environ, "TF_USE_LEGACY_KERAS": legacy}
                done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
                if not done.returncode:
                    break
            print(f"{name}: {done.stdout.splitlines()[-1] if not done.returncode else done.stderr[-200:]}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
