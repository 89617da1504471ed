"""How samples are saved, as Python code. In: the inputs of a model. Out: a call of numpy.savez, or why not."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping

import numpy as np

from edgetf.arrays import foreign_kind
from edgetf.results import TensorSpec

_TEXT = "string"
_OWN_ARGUMENTS = {"file", "allow_pickle"}  # of numpy.savez: no array can have these names


def why_not(spec: TensorSpec) -> tuple[str, str] | None:
    """Why samples cannot hold an input, and a hint; None if they can."""
    if spec.dtype == _TEXT:
        hint = "convert strings to numbers before the model: remove its text layers, and give their output as samples"
        return f"{spec.name!r} takes strings, which samples cannot hold", hint
    if not _is_known(spec.dtype):
        hint = "export the model with an input of a type that numpy has, such as float32, and cast it inside"
        return f"{spec.name!r} takes {spec.dtype}, which samples cannot hold", hint
    return None


def needs_flex(inputs: Iterable[TensorSpec]) -> bool:
    """Whether an input takes strings, which only the Flex delegate can process."""
    return any(spec.dtype == _TEXT for spec in inputs)


def savez(path: str, arrays: Mapping[str, str]) -> str:
    """A call of numpy.savez for arrays by name, given as expressions; empty if a name cannot be saved by it."""
    if _OWN_ARGUMENTS & set(arrays):
        return ""
    plain = {name: array for name, array in arrays.items() if name.isidentifier() and not keyword.iskeyword(name)}
    others = ", ".join(f"{name!r}: {array}" for name, array in arrays.items() if name not in plain)
    words = [
        repr(path),
        *(f"{name}={array}" for name, array in plain.items()),
        *([f"**{{{others}}}"] if others else []),
    ]
    return f"np.savez({', '.join(words)})"


def _is_known(dtype: str) -> bool:
    """Whether it is a type of numpy itself: ml_dtypes adds others, whose files hold bytes without a type."""
    try:
        return np.dtype(dtype).isbuiltin == 1 and not foreign_kind(np.dtype(dtype))
    except TypeError:
        return False
