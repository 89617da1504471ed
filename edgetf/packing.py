"""In: a model as mutable objects of the flatbuffer schema. Out: its bytes, in which equal vectors and names occur once.

A flatbuffer refers to its parts by offsets, so that two tensors may refer to the same vector. Neither the converter nor
the schema's own packer makes use of that: a fifth of a small int8 file are zero points, all 0, of one tensor after
another. What a reader finds is the same, value by value.

Large vectors, which are the constants, stand behind everything else: each is copied once, from where it is to its place
in the result, and the builder holds none of them. (The schema's own packer needs three times their bytes.)

https://flatbuffers.dev/internals: offsets may refer to anything that was written before.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

_IDENTIFIER = b"TFL3"
_COMPARED = 1 << 16  # bytes of a vector: larger ones are constants, of which `prune` stores equal ones once
_FIRST, _OF_A_PART = 1 << 16, 1 << 12  # bytes for everything but constants, and for each tensor and operation
_MOST = (1 << 31) - 1  # bytes of a flatbuffer
_LENGTH = struct.Struct("<I")  # before the elements of each vector; a reference has this form, too
_ALIGNED = 16  # bytes, as the schema wants it of constants
_Kind = tuple[int, int]  # bytes of an element, and its alignment
_TEXT = (0, 1)  # a string: like bytes, with a 0 behind them

Values = NDArray[Any]
Fill = Callable[[NDArray[np.uint8]], None]


def to_bytes(model: Any, late: Mapping[int, Fill] | None = None) -> bytes:
    """The bytes of a `ModelT`. Of more than 2 GB, large buffers have offsets in the file, as the converter writes them.

    `late` fills in large buffers, by their numbers: the buffers themselves have a `stand_in` of as many bytes.
    """
    fills = {id(model.buffers[k].data): fill for k, fill in (late or {}).items()}
    large = [one for one in model.buffers or () if one.data is not None and len(one.data) > _COMPARED]
    if _expected(model) + sum(len(one.data) + _ALIGNED for one in large) > _MOST:
        return _with_offsets(model, large, fills)
    builder = _built(model)
    return _joined(builder, [values for _, values in builder.large], fills, [place for place, _ in builder.large])


def stand_in(size: int) -> NDArray[np.uint8]:
    """An array of that many bytes which takes no memory."""
    return np.broadcast_to(np.zeros(1, np.uint8), (size,))


def _expected(model: Any) -> int:
    """Bytes that will do for all but large vectors: otherwise the memory is doubled, and copied, until they fit."""
    parts = sum(len(part or ()) for graph in model.subgraphs or () for part in (graph.tensors, graph.operators))
    sizes = [len(buffer.data) for buffer in model.buffers or () if buffer.data is not None]
    return min(_FIRST + _OF_A_PART * parts + sum(size for size in sizes if size <= _COMPARED), _MOST)


def _built(model: Any) -> _Builder:
    """The builder of everything but large vectors."""
    builder = _Builder(_expected(model))
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return builder


def _with_offsets(model: Any, large: Sequence[Any], fills: Mapping[int, Fill]) -> bytes:
    """The flatbuffer without its large buffers, and these behind it."""
    values = [buffer.data for buffer in large]
    for buffer in large:
        buffer.data, buffer.offset, buffer.size = None, 1, 1  # offsets take as many bytes whatever they are
    first = _built(model)
    for buffer, one, place in zip(large, values, _places(first.length, values, 0), strict=True):
        buffer.offset, buffer.size = place, len(one)
    builder = _built(model)
    for buffer, one in zip(large, values, strict=True):
        buffer.data, buffer.offset, buffer.size = one, 0, 0
    return _joined(builder, values, fills, ())


def _places(begin: int, values: Sequence[Values], before: int) -> list[int]:
    """Where values stand behind `begin` bytes, with some bytes before each."""
    places = []
    for one in values:
        begin += before
        places.append(begin + -begin % _ALIGNED)
        begin = places[-1] + one.nbytes
    return places


def _joined(builder: _Builder, values: Sequence[Values], fills: Mapping[int, Fill], links: Sequence[int]) -> bytes:
    """What was built, with large vectors behind it. `links` are the places of the references to these, counted from
    the end of what was built; without them, only their elements stand there."""
    before = _LENGTH.size if links else 0
    places = _places(builder.length, values, before)
    stream = io.BytesIO()  # its value is not a copy
    stream.seek((places[-1] + values[-1].nbytes if values else builder.length) - 1)
    stream.write(b"\0")
    result = np.frombuffer(stream.getbuffer(), np.uint8)
    with memoryview(builder.Bytes) as built:
        result[: builder.length] = built[builder.Head() :]
    for place, one, link in itertools.zip_longest(places, values, links):
        if link is not None:
            at = builder.length - link
            _LENGTH.pack_into(result.data, at, place - before - at)
            _LENGTH.pack_into(result.data, place - before, one.size)
        target = result[place:][: one.nbytes]
        if id(one) in fills:
            fills[id(one)](target)
        else:
            np.copyto(target.view(one.dtype.newbyteorder("<")), one)
        del target
    del result
    return stream.getvalue()


class _Builder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no types
    """Removes a vector that it has just written, and refers to an equal one, as the base class does with vtables.

    Large vectors are not written: `large` has them, with the places of the references to them, from the end.
    """

    head: int

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._known: dict[tuple[_Kind, bytes], int] = {}
        self._begin, self._kind, self._movable = 0, _TEXT, True
        self._left_out: dict[int, Values] = {}
        self.large: list[tuple[int, Values]] = []

    @property
    def length(self) -> int:
        """The bytes that were built."""
        return len(self.Bytes) - self.head

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        self._begin, self._kind, self._movable = self.Offset(), (elemSize, alignment), True
        return int(super().StartVector(elemSize, numElems, alignment))

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        self._begin, self._kind, self._movable = self.Offset(), _TEXT, True
        return int(super().CreateString(s, encoding, errors))

    def CreateNumpyVector(self, x: Values) -> int:  # noqa: N802
        """Like the base class, which copies the vector twice on its way; of a large one, only its place."""
        if x.nbytes > _COMPARED:
            self.StartVector(_LENGTH.size, 0, _LENGTH.size)
            self._movable = False  # each needs a place of its own
            end = int(self.EndVector())
            self._left_out[end] = x
            return end
        values = np.ascontiguousarray(x.astype(x.dtype.newbyteorder("<"), copy=False))
        self.StartVector(x.itemsize, x.size, x.dtype.alignment)
        self.head -= values.nbytes
        with memoryview(self.Bytes) as place:
            place[self.head : self.head + values.nbytes] = values.view(np.uint8).data
        self.vectorNumElems = x.size
        return int(self.EndVector())

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: N802
        self._movable = False  # the same bytes at another place refer to something else
        super().PrependUOffsetTRelative(off)
        if off in self._left_out:
            self.large.append((self.Offset(), self._left_out[off]))

    def EndVector(self, numElems: int | None = None) -> int:  # noqa: N802, N803
        count, end = self.vectorNumElems, int(super().EndVector(numElems))
        size = count + 1 if self._kind is _TEXT else count * self._kind[0]
        if not self._movable or size > _COMPARED:
            return end
        key = (self._kind, bytes(self.Bytes[self.head : self.head + _LENGTH.size + size]))
        if key in self._known:
            self.head = len(self.Bytes) - self._begin
        return self._known.setdefault(key, end)
