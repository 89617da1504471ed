"""Any source of Samples in, Samples that fit a model's signature out.

An `.npz` file is keyed by the input names of the signature (a model with one input also takes `x`), labels lie under
`labels`. What does not fit is told with what was expected and what came.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from edgetf.errors import EdgetfError
from edgetf.results import TensorSpec
from edgetf.samples.core import LABELS, Samples, SampleSource, make_samples
from edgetf.samples.mapped import Array
from edgetf.samples.npz import read_npz

ALIAS = "x"


def load_samples(source: SampleSource, inputs: Sequence[TensorSpec]) -> Samples:
    """Read what `--samples` takes and check it against the signature's `inputs`.

    Raises EdgetfError that names what was expected and what came: missing or extra names, shapes, dtypes.
    """
    arrays = read_npz(Path(source))
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


def short_name(source: SampleSource) -> str:
    """A source as people call it: a file by its name alone, anything else as it was given."""
    return Path(source).name


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
