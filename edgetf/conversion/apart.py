"""Convert a large model without its weights. In: a SavedModel. Out: the float flatbuffer that the converter would make.

TensorFlow's converter needs eight times the bytes of the weights. Here it gets a SavedModel in which all elements of a
large variable are one number, its mark, and the values are put into the flatbuffer that it returns:

- A constant whose elements are all a variable's mark is that variable, in the order of axes that the operation which
  reads it wants. Conversions with other marks show which constants these are, and that no other depends on variables.
- If others do, such as weights that the converter multiplies by a factor, some variables at a time have their own
  values in another conversion, and the constants that change are taken from it.

Apart from these constants, all conversions must have the same result. Otherwise the model is converted as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.checkpoint import Checkpoint
from edgetf.conversion.constants import add_buffer
from edgetf.conversion.hollow import write_hollow
from edgetf.conversion.large import LargeVariable, Layout, find_large
from edgetf.conversion.messages import NeedsTensorFlowError
from edgetf.conversion.savedmodel import read_graph
from edgetf.conversion.unfill import Unfilled, Value
from edgetf.flatbuffer import data_of, pack, unpack
from edgetf.packing import stand_in

_LEAST = 1 << 25  # bytes of all large variables
_AT_ONCE, _GROUPS = 1 << 26, 16  # bytes of the variables that have their own values together, or a share of all
_LEAST_FILLED = 0.5  # the share of all bytes that are one number each in the first result
_PIECE = 1 << 20  # numbers that are looked at together
_MARKS, _STEP = (0.6875, 1.3125), 2.0**-20  # below the first marks of two conversions, and twice between two marks
_NAME = "edgetf constant {:08d}"

Convert = Callable[[Path], bytes]
Marks = dict[LargeVariable, float]


class DifferentError(Exception):
    """The conversions do not fit together: the model has to be converted as a whole."""


@dataclass(frozen=True)
class Constant:
    """A constant that is read when it is written: its bytes, and what fills them in. Equal ones have the same key."""

    key: object
    nbytes: int
    fill: Callable[[NDArray[np.uint8]], None]


@dataclass(frozen=True)
class Apart:
    """A flatbuffer with names in place of large constants (`content`), and the constants by these names."""

    content: bytes
    constants: Mapping[bytes, Constant]

    def with_constants(self, content: bytes) -> bytes:
        """`content`, which was made of `self.content`, with the constants.

        Raises DifferentError if their values have something that the converter treats in another way.
        """
        model, _ = unpack(content)
        late = {}
        for k, buffer in enumerate(model.buffers):
            found = None if buffer.data is None else self.constants.get(bytes(data_of(model, k)[: len(_NAME) * 2]))
            if found is not None:
                buffer.data, late[k] = stand_in(found.nbytes), found.fill
        return pack(model, late)


def convert_apart(saved_model: Path, signature: str, convert: Convert, work: Path) -> Apart | None:
    """What `convert` would make of `saved_model`; None if its variables are small, or if it has to see all values.

    `convert` gets another folder, and leaves large constants of one number to a FILL. `work` is a folder for what is
    read later.
    """
    checkpoint = Checkpoint(saved_model / "variables" / "variables")
    try:
        variables = find_large(read_graph(saved_model), signature, checkpoint)
    except (NeedsTensorFlowError, KeyError, ValueError, IndexError, AttributeError):
        return None
    if sum(one.nbytes for one in variables) < _LEAST:
        return None
    work.mkdir(parents=True, exist_ok=True)

    def run(marks: Marks) -> Unfilled:
        return Unfilled(convert(write_hollow(saved_model, work / "hollow", signature, marks)))

    try:
        return _Conversions(run, variables, checkpoint, work).join()
    except DifferentError:
        return None


class _Conversions:
    """The conversions of one model: `run` makes one, with these marks in place of variables."""

    def __init__(
        self, run: Callable[[Marks], Unfilled], variables: Sequence[LargeVariable], checkpoint: Checkpoint, work: Path
    ) -> None:
        self._run, self._variables, self._checkpoint, self._work = run, variables, checkpoint, work
        self._first, self._second = (
            {one: below + (2 * k + 1) * _STEP for k, one in enumerate(variables)} for below in _MARKS
        )
        self._marks = {(np.float32(self._first[one]), np.float32(self._second[one])): one for one in variables}
        self._total = sum(one.nbytes for one in variables)

    def join(self) -> Apart:
        """Raises DifferentError if the results differ by more than what depends on the variables."""
        base = self._run(self._first)
        values = [base.value(k) for k in range(len(base.tensors))]
        if base.filled_bytes < self._total * _LEAST_FILLED:
            raise DifferentError("most constants depend on variables and on other values")
        changed = self._changed(base, self._run(self._second))
        if any(isinstance(one, np.float32) and k not in changed for k, one in enumerate(values)):
            raise DifferentError("a constant of one number is the model's own")
        stored: dict[int, tuple[LargeVariable, Layout]] = {}
        for k in changed:
            variable = self._marked(values[k], changed[k])
            layout = None if variable is None else base.layout(k, variable)
            if variable is not None and layout is not None:
                stored[k] = variable, layout
        found = {k: self._stored(*one) for k, one in stored.items()}
        if derived := changed.keys() - stored.keys():
            found |= self._derived(base, derived, {variable for variable, _ in stored.values()})
        return _named(base, found)

    def _changed(self, base: Unfilled, other: Unfilled) -> dict[int, Value]:
        """The constants of `other` that `base` has with another value, by their places."""
        if base.form() != other.form():
            raise DifferentError("not only constants depend on variables")
        pairs = ((k, base.value(k), other.value(k)) for k in range(len(base.tensors)))
        return {k: second for k, first, second in pairs if not _is_same(first, second)}

    def _marked(self, first: Value, second: Value) -> LargeVariable | None:
        """The variable whose marks these are."""
        if not isinstance(first, np.float32) or not isinstance(second, np.float32):
            return None
        return self._marks.get((first, second))

    def _derived(self, base: Unfilled, derived: set[int], stored: set[LargeVariable]) -> dict[int, Constant]:
        """The constants that the converter computes from variables other than the stored ones."""
        if derived & self._changed(base, self._run(self._first | {one: self._second[one] for one in stored})).keys():
            raise DifferentError("a constant depends on a variable that is stored as it is")
        found: dict[int, Constant] = {}
        for group in self._groups([one for one in self._variables if one not in stored]):
            own = self._run({one: mark for one, mark in self._first.items() if one not in group})
            for k, value in self._changed(base, own).items():
                if k not in derived or k in found or isinstance(value, np.float32):
                    raise DifferentError("a constant depends on several groups of variables")
                file = self._work / f"{k}.bin"
                value.tofile(file)
                found[k] = Constant(file, value.nbytes, partial(_read_file, file))
        if found.keys() != derived:
            raise DifferentError("it is unknown what a constant depends on")
        return found

    def _groups(self, variables: Sequence[LargeVariable]) -> Iterator[list[LargeVariable]]:
        """Variables that have their own values together: few at a time, and not too many times."""
        group: list[LargeVariable] = []
        for one in variables:
            if group and sum(v.nbytes for v in (*group, one)) > max(_AT_ONCE, self._total // _GROUPS):
                yield group
                group = []
            group.append(one)
        if group:
            yield group

    def _stored(self, variable: LargeVariable, layout: Layout) -> Constant:
        shape, axes = layout.reshaped, layout.axes
        size = math.prod(shape[1:])
        rows = max(1, _PIECE // size)

        def fill(target: NDArray[np.uint8]) -> None:
            as_it_was = target.view(np.float32).reshape([shape[k] for k in axes]).transpose(np.argsort(axes))
            for begin in range(0, shape[0], rows):
                values = self._checkpoint.get_part(variable.key, begin * size, (begin + rows) * size)
                if not np.isfinite(values).all():  # the converter replaces infinity
                    raise DifferentError("weights are not finite")
                as_it_was[begin : begin + rows] = values.reshape(-1, *shape[1:])

        return Constant((variable.key, layout), variable.nbytes, fill)


def _read_file(file: Path, target: NDArray[np.uint8]) -> None:
    with file.open("rb") as opened:
        opened.readinto(target.data)


def _is_same(first: Value, second: Value) -> bool:
    return isinstance(first, np.float32) == isinstance(second, np.float32) and np.array_equal(first, second)


def _named(base: Unfilled, found: Mapping[int, Constant]) -> Apart:
    """The first result with a name in place of each constant that was found."""
    buffers: dict[object, int] = {}
    names: dict[bytes, Constant] = {}
    for k, constant in sorted(found.items()):
        if constant.key not in buffers:
            name = _NAME.format(len(names)).encode()
            names[name], buffers[constant.key] = (
                constant,
                add_buffer(base.model, base.schema, np.frombuffer(name, "u1")),
            )
        base.tensors[k].buffer = buffers[constant.key]
    return Apart(pack(base.model), names)
