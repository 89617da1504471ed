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
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers.builder import BuilderSizeError
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
    """The bytes of a `ModelT`. Raises BuilderSizeError for more than 2 GB.

    `late` fills in large buffers, by their numbers: the buffers themselves have a `stand_in` of as many bytes.
    """
    builder = _Builder(_expected(model))
    fills = {id(model.buffers[k].data): fill for k, fill in (late or {}).items()}
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    with memoryview(builder.Bytes) as whole, whole[builder.Head() :] as small:
        return _joined(small, builder.large, fills) if builder.large else bytes(small)


def stand_in(size: int) -> NDArray[np.uint8]:
    """An array of that many bytes which takes no memory."""
    return np.broadcast_to(np.zeros(1, np.uint8), (size,))


def _expected(model: Any) -> int:
    """Bytes that will do for all but large vectors: otherwise the memory is doubled, and copied, until they fit."""
    parts = sum(len(part or ()) for graph in model.subgraphs or () for part in (graph.tensors, graph.operators))
    sizes = [len(buffer.data) for buffer in model.buffers or () if buffer.data is not None]
    return min(_FIRST + _OF_A_PART * parts + sum(size for size in sizes if size <= _COMPARED), _MOST)


def _joined(small: memoryview, large: Sequence[tuple[int, Values]], fills: Mapping[int, Fill]) -> bytes:
    """The flatbuffer `small` with large vectors behind it; each has the place of its reference, counted from the end
    of `small`."""
    places, end = [], len(small)
    for _, values in large:
        places.append(end + -(end + _LENGTH.size) % _ALIGNED)
        end = places[-1] + _LENGTH.size + values.nbytes
    if end > _MOST:
        raise BuilderSizeError(f"{end} bytes are more than a flatbuffer can have")
    stream = io.BytesIO()  # its value is not a copy
    stream.seek(end - 1)
    stream.write(b"\0")
    result = np.frombuffer(stream.getbuffer(), np.uint8)
    result[: len(small)] = small
    for place, (reference, values) in zip(places, large, strict=True):
        at = len(small) - reference
        _LENGTH.pack_into(result.data, at, place - at)
        _LENGTH.pack_into(result.data, place, values.size)
        target = result[place + _LENGTH.size :][: values.nbytes]
        if id(values) in fills:
            fills[id(values)](target)
        else:
            np.copyto(target.view(values.dtype.newbyteorder("<")), values)
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
