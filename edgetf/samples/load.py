"""Load Samples. In: any source. Out: Samples that fit a model's signature.

The keys of an `.npz` file are the input names of the signature (`x` is also allowed for a single input), `labels`, and
`labels_OUTPUT` for the labels of one output. If an input is called `labels`, the labels are called `labels_`. An error
names both the expected and the actual form.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from edgetf import files
from edgetf.arrays import native
from edgetf.digests import State, keep, kept, settled_state_of
from edgetf.errors import EdgetfError
from edgetf.reading import parsing
from edgetf.results import SamplesUsed, TensorSpec
from edgetf.samples.core import LABELS, Samples, SampleSource, label_name, make_samples, split_arrays
from edgetf.samples.datasets import call_function, read_tfds
from edgetf.samples.formats import NPZ, RECORDS
from edgetf.samples.images import read_folder
from edgetf.samples.mapped import Array
from edgetf.samples.npz import read_npz, save_arrays
from edgetf.samples.records import is_records, read_records, write_records
from edgetf.samples.saving import savez, why_not
from edgetf.samples.shapes import fits, shape_hint
from edgetf.samples.source import FOLDER, FUNCTION, PATH, TFDS, parse_source, short_name

ALIAS = "x"


def load_samples(
    source: SampleSource, inputs: Sequence[TensorSpec], allow_nan: bool = False, check: bool = True
) -> Samples:
    """Read a source of samples and check it against the signature's `inputs`; `allow_nan` allows NaN in inputs.

    Samples are along axis 0 of each array. If an array has one axis more than the input, the input has no batch axis;
    if `inputs` record this, it is checked. Raises EdgetfError with the expected and the actual names, shapes or dtypes.
    Without `check`, checksums of an `.npz` file are not verified: the caller compares the digest.
    """
    expected, state = [spec.name for spec in inputs], _state_of(source)
    known = _known(state, expected, allow_nan)
    arrays, labels, of_outputs = split_arrays(read_arrays(source, inputs, check and known is None), expected)
    arrays = _named(source, inputs, arrays)
    for spec in inputs:
        others_batched = any(len(other.shape) > 1 and other.shape[0] == spec.shape[0] for other in inputs if spec.shape)
        _check(source, spec, arrays[spec.name], others_batched)
    unbatched = frozenset(spec.name for spec in inputs if arrays[spec.name].ndim > len(spec.shape))
    batch = _batch(source, [spec for spec in inputs if spec.name not in unbatched], unbatched)
    if known is None:
        samples = make_samples(str(source), arrays, labels, of_outputs, allow_nan)
    else:  # what has a digest was checked when it was computed
        samples = Samples(str(source), arrays, labels, known[0], output_labels=of_outputs, allow_nan=allow_nan)
        samples = replace(samples, inputs_digest=known[1])
    if len(samples) % batch:
        hint = f"give a multiple of {batch} samples, or export the model for one at a time"
        raise EdgetfError(f"{source} has {len(samples)} samples, the model takes {batch} at a time", hint)
    is_same = _state_of(source) == state
    if known is not None and not is_same:  # it was replaced before it was mapped: the digests are those of another file
        return load_samples(source, inputs, allow_nan, check)
    samples = replace(samples, batch=batch, unbatched=unbatched, state=state if is_same else None)
    if check and known is None:  # without the check, only the caller can know that the file is not damaged
        _keep(samples)
    return samples


def load_same(source: SampleSource, inputs: Sequence[TensorSpec], known: SamplesUsed) -> Samples | None:
    """Like `load_samples`, for the samples that a document names; None if they are others.

    NaN is read in any case: the same samples have what was allowed, and others are not the same.
    """
    if _is_npz(source):  # with the known digest, a file is not damaged
        with contextlib.suppress(EdgetfError):
            samples = load_samples(source, inputs, allow_nan=True, check=False)
            if samples.digest == known.digest:
                _keep(samples)
                return replace(samples, allow_nan=known.allow_nan)
    samples = load_samples(source, inputs, allow_nan=True)
    return replace(samples, allow_nan=known.allow_nan) if samples.digest == known.digest else None


def _known(state: State | None, inputs: Sequence[str], allow_nan: bool) -> list[str] | None:
    """`digest` and `inputs_digest` of samples whose file is in a state in which it was read before."""
    if state is None:
        return None
    finite = kept(state, _meaning(inputs, False), 2)
    return finite or (kept(state, _meaning(inputs, True), 2) if allow_nan else None)


def _keep(samples: Samples) -> None:
    """Keep the digests of these samples, which were checked, for later commands."""
    if samples.state is not None:
        keep(samples.state, _meaning(list(samples.inputs), samples.allow_nan), [samples.digest, samples.inputs_digest])


def _meaning(inputs: Sequence[str], allow_nan: bool) -> str:
    return json.dumps(["samples", inputs, allow_nan])


def has_changed(samples: Samples) -> bool:
    """Whether the file that the samples are mapped from may have changed since; True for other sources."""
    return samples.state is None or _state_of(samples.source) != samples.state


def _state_of(source: SampleSource) -> State | None:
    """The state of an `.npz` file; None for other sources, and for one that changes at the moment."""
    return settled_state_of(Path(source)) if _is_npz(source) else None


def _is_npz(source: SampleSource) -> bool:
    return parse_source(source).kind is PATH and Path(source).suffix == NPZ and Path(source).is_file()


def read_arrays(source: SampleSource, inputs: Sequence[TensorSpec] | None, check: bool = True) -> dict[str, Array]:
    """The arrays of a source by name, including labels; `check` as in `load_samples`.

    With `inputs` None they are not checked against a signature. Raises EdgetfError for a source that needs a signature,
    and for records that have changed since they were written.
    """
    arrays = _read_as_they_are(source, inputs, check)
    with parsing(source, "a source of numbers", "write it again"):
        return {name: native(array) for name, array in arrays.items()}


def _read_as_they_are(source: SampleSource, inputs: Sequence[TensorSpec] | None, check: bool) -> dict[str, Array]:
    parts = parse_source(source)
    path = Path(parts.rest)
    if parts.kind is FUNCTION:
        return call_function(parts.rest)
    if parts.kind is TFDS:
        return read_tfds(parts, inputs)
    if parts.kind is PATH and is_records(path):
        of_outputs = (name for name in parts.options if name.startswith(f"{LABELS}_"))
        parts.allow((LABELS, *of_outputs, *(spec.name for spec in inputs or ())))
        arrays, digest = read_records(path, inputs, parts.options)
        if digest not in (
            None,
            make_samples(str(source), arrays, None, allow_nan=True).digest,
        ):  # also checks the names
            reason = f"{source} has changed since it was written: a shard was replaced"
            raise EdgetfError(reason, "write it again")
        return arrays
    if parts.kind is FOLDER or path.is_dir():
        return read_folder(parts, inputs)
    parts.allow(())
    return read_npz(path, check=check)


def write_arrays(out: Path, arrays: dict[str, Array], shards: int, force: bool, allow_nan: bool = False) -> SamplesUsed:
    """Write arrays to `out`, which ends in .npz, .tfrecord or .tfrecord.gz; returns what was written.

    Raises EdgetfError for arrays that are not samples, another suffix, shards of an .npz, and an existing file.
    """
    used = replace(make_samples(str(out), arrays, None, allow_nan=allow_nan).used(), inputs_digest=None)
    if out.name.endswith(RECORDS):
        write_records(out, arrays, shards, used.digest, force)
    elif out.suffix != NPZ or shards > 1:
        raise EdgetfError(f"cannot write {shards} of {out.name}", "give OUT.npz, or OUT.tfrecord[.gz] with --shards")
    else:
        with files.staged(out.parent, [out.name], force) as staging:
            save_arrays(staging / out.name, arrays)
    return used


def _named(source: SampleSource, inputs: Sequence[TensorSpec], arrays: dict[str, Array]) -> dict[str, Array]:
    """The arrays of the inputs, in their order. Raises EdgetfError if the source has other names."""
    expected = [spec.name for spec in inputs]
    if len(inputs) == 1 and list(arrays) == [ALIAS]:
        arrays = {expected[0]: arrays[ALIAS]}
    found = list(arrays)
    if set(expected) != set(found):
        alias = f" (or {ALIAS!r})" if len(inputs) == 1 else ""
        raise EdgetfError(
            f"{source} holds {_names(found)}, the model's inputs are {_names(expected)}{alias}",
            _naming_hint(source, expected, found),
        )
    return {name: arrays[name] for name in expected}


def _naming_hint(source: SampleSource, expected: Sequence[str], found: Sequence[str]) -> str:
    missing, extra = [n for n in expected if n not in found], [n for n in found if n not in expected]
    labels = label_name(expected)
    if len(extra) == 1 and not missing and labels not in found:
        return f"if {extra[0]!r} holds the labels, save it as {labels!r}; otherwise leave it out"
    if extra and not missing:
        return f"leave out {_names(extra)}: only inputs, {labels!r} and '{LABELS}_OUTPUT' are allowed"
    for name in extra:
        if close := difflib.get_close_matches(name, [*missing, labels], n=1, cutoff=0.6):
            return f"rename {name!r} to {close[0]!r}"
    call = savez(short_name(source), dict.fromkeys([*expected, labels], "..."))
    return f"save it with: {call}" if call else f"give a module:function that returns a dict with {_names(expected)}"


def _check(source: SampleSource, spec: TensorSpec, array: Array, others_batched: bool) -> None:
    """Raise EdgetfError for an array that does not fit `spec`; `others_batched`: another input has a batch axis."""
    want, have = spec.describe(), f"{array.dtype.name} {list(array.shape)}"
    if refused := why_not(spec):
        raise EdgetfError(f"{source}: {refused[0]}", refused[1])
    if array.dtype.name != spec.dtype:
        scaled = ", scaled as in training" if array.dtype.name == "uint8" and spec.dtype.startswith("float") else ""
        hint = f"convert it with: array.astype({spec.dtype!r}){scaled}"
        raise EdgetfError(f"{source}: {spec.name!r} is {have}, the model takes {want}", hint)
    batched, whole = ("n", *spec.shape[1:]), ("n", *spec.shape)  # the forms of samples in a file
    # [2000] alone is the length of a sample: no real model takes a batch of 2000 single numbers
    length = len(spec.shape) == 1 and (spec.shape[0] or 0) > 1 and not others_batched
    forms = [batched] if spec.shape and (spec.batched or (spec.batched is None and not length)) else []
    forms += [whole] if not spec.batched else []
    if not any(fits(form, array.shape) for form in forms):
        message = f"{source}: {spec.name!r} is {have}, the model takes {want}"
        raise EdgetfError(message, shape_hint(forms, array.shape))


def _batch(source: SampleSource, batched: Sequence[TensorSpec], unbatched: Iterable[str]) -> int:
    """The number of samples for one inference: the fixed batch axis of the inputs that have one, otherwise 1."""
    sizes = {spec.shape[0] for spec in batched if spec.shape[0] is not None} or {1}
    if len(sizes) > 1 or (sizes != {1} and unbatched):
        found = ", ".join(f"{spec.name!r} {spec.describe()}" for spec in batched)
        message = f"{source}: the inputs of the model have different batch sizes ({found})"
        raise EdgetfError(message, "export the model with one free batch axis")
    return sizes.pop()


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"
