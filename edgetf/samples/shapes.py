"""Hints for samples whose array does not fit an input: an expression that converts it.

A form is a shape in which "n" means the number of samples, and None any length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

Form = Sequence[int | str | None]


def fits(form: Form, shape: Sequence[int]) -> bool:
    """Whether an array of `shape` has this form."""
    return len(form) == len(shape) and all(w in (None, "n", h) for w, h in zip(form, shape, strict=True))


def shape_hint(forms: Sequence[Form], shape: Sequence[int]) -> str:
    """A hint for an array of `shape`, which does not have any of the `forms`."""
    for form in forms:
        for expression, made in _changes(form, shape):
            if fits(form, made):
                return f"save it as: {expression}"
    wanted = "[" + ", ".join("any" if axis is None else str(axis) for axis in forms[0]) + "]"
    return f"samples are along axis 0: save it as {wanted}, where n is their number"


def _changes(form: Form, shape: Sequence[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Expressions that do not change values, and the shapes of their results; the most probable first."""
    yield "array[..., None]", (*shape, 1)
    if fits(form[1:], shape):
        yield "array[None]", (1, *shape)
    for axis in (axis for axis, length in enumerate(shape) if axis and length == 1):
        yield f"array.squeeze({axis})", (*shape[:axis], *shape[axis + 1 :])
    if len(shape) > 2:
        yield f"numpy.moveaxis(array, 1, {len(shape) - 1})", (shape[0], *shape[2:], shape[1])
        yield f"numpy.moveaxis(array, {len(shape) - 1}, 1)", (shape[0], shape[-1], *shape[1:-1])
    row = [axis for axis in form[1:] if isinstance(axis, int)]
    if len(row) == len(form) - 1 and shape and math.prod(row) == math.prod(shape[1:]):
        yield f"array.reshape(-1, {', '.join(map(str, row))})".replace(", )", ")"), (shape[0], *row)
