"""Any source of Samples in, Samples that fit a model's signature out.

An `.npz` file is keyed by the input names of the signature (a model with one input also takes `x`), labels lie under
`labels`. What does not fit is told with what was expected and what came.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from edgetf import files
from edgetf.errors import EdgetfError
from edgetf.results import SamplesUsed, TensorSpec
from edgetf.samples.core import LABELS, Samples, SampleSource, make_samples
from edgetf.samples.datasets import call_function, read_tfds
from edgetf.samples.images import read_folder
from edgetf.samples.mapped import Array
from edgetf.samples.npz import read_npz, save_arrays
from edgetf.samples.records import SUFFIXES, is_records, read_records, write_records
from edgetf.samples.source import short_name, take_apart

ALIAS = "x"


def load_samples(source: SampleSource, inputs: Sequence[TensorSpec]) -> Samples:
    """Read what `--samples` takes and check it against the signature's `inputs`.

    Raises EdgetfError that names what was expected and what came: missing or extra names, shapes, dtypes.
    """
    arrays = read_arrays(source, inputs)
    labels = arrays.pop(LABELS, None)
    if len(inputs) == 1 and list(arrays) == [ALIAS]:
        arrays = {inputs[0].name: arrays[ALIAS]}
    if LABELS in [spec.name for spec in inputs]:
        raise EdgetfError(f"an input of the model is called {LABELS!r}, which samples keep for labels", "rename it")
    expected, found = [spec.name for spec in inputs], list(arrays)
    if set(expected) != set(found):
        alias = f" (or {ALIAS!r})" if len(inputs) == 1 else ""
        raise EdgetfError(
            f"{source} holds {_names(found)}, the model's inputs are {_names(expected)}{alias}",
            _naming_hint(source, expected, found),
        )
    for spec in inputs:
        _check(source, spec, arrays[spec.name])
    return make_samples(str(source), {name: arrays[name] for name in expected}, labels)


def read_arrays(source: SampleSource, inputs: Sequence[TensorSpec] | None) -> dict[str, Array]:
    """The arrays of a source by name, labels among them.

    `inputs` None reads them as they are; raises EdgetfError for a source that only a signature gives a shape to, and
    for records that are not those that were written.
    """
    parts = take_apart(source)
    path = Path(parts.rest)
    if parts.kind == "function":
        return call_function(parts.rest)
    if parts.kind == "tfds":
        return read_tfds(parts, inputs)
    if parts.kind == "path" and is_records(path):
        parts.allow((LABELS, *(spec.name for spec in inputs or ())))
        arrays, digest = read_records(path, inputs, parts.options)
        if digest not in (None, make_samples(str(source), arrays, None).digest):  # which knows no names but these
            reason = f"{source} holds other samples than were written: a shard was exchanged"
            raise EdgetfError(reason, "write it again")
        return arrays
    if parts.kind == "folder" or path.is_dir():
        return read_folder(parts, inputs)
    parts.allow(())
    return read_npz(path)


def write_arrays(out: Path, arrays: dict[str, Array], shards: int, force: bool) -> SamplesUsed:
    """Write arrays to `out`, which ends in .npz, .tfrecord or .tfrecord.gz; returns what was written.

    Raises EdgetfError for arrays that are no samples, another ending, shards of an .npz, and what is in the way.
    """
    used = make_samples(str(out), arrays, None).used()
    if out.name.endswith(SUFFIXES):
        write_records(out, arrays, shards, used.digest, force)
    elif out.suffix != ".npz" or shards > 1:
        raise EdgetfError(f"cannot write {shards} of {out.name}", "give OUT.npz, or OUT.tfrecord[.gz] with --shards")
    else:
        with files.staged(out.parent, [out.name], force) as staging:
            save_arrays(staging / out.name, arrays)
    return used


def _naming_hint(source: SampleSource, expected: Sequence[str], found: Sequence[str]) -> str:
    missing, extra = [n for n in expected if n not in found], [n for n in found if n not in expected]
    if extra and not missing:
        return f"leave out {_names(extra)}: only inputs and {LABELS!r} belong there"
    for name in extra:
        if close := difflib.get_close_matches(name, [*missing, LABELS], n=1, cutoff=0.6):
            return f"rename {name!r} to {close[0]!r}"
    return f"save it with: np.savez({short_name(source)!r}, {', '.join(f'{n}=...' for n in expected)}, labels=...)"


def _check(source: SampleSource, spec: TensorSpec, array: Array) -> None:
    want, have = spec.describe(), f"{array.dtype.name} {list(array.shape)}"
    if array.dtype.name != spec.dtype:
        hint = f"convert it with: array.astype({spec.dtype!r})"
        raise EdgetfError(f"{source}: {spec.name!r} is {have}, the model takes {want}", hint)
    row = spec.shape[1:]
    fits = array.ndim == len(spec.shape) and all(w in (None, h) for w, h in zip(row, array.shape[1:], strict=True))
    batch = spec.shape[0] if spec.shape else None
    if not fits or (batch is not None and len(array) % batch):
        hint = "samples lie along axis 0; the other axes must be the model's"
        raise EdgetfError(f"{source}: {spec.name!r} is {have}, the model takes {want}", hint)


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"
