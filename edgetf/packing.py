"""In: a model as mutable objects of the flatbuffer schema. Out: its bytes, in which equal vectors and names occur once.

A flatbuffer refers to its parts by offsets, so that two tensors may refer to the same vector. Neither the converter nor
the schema's own packer makes use of that: a fifth of a small int8 file are zero points, all 0, of one tensor after
another. What a reader finds is the same, value by value.

https://flatbuffers.dev/internals: offsets may refer to anything that was written before.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

_IDENTIFIER = b"TFL3"
_COMPARED = 1 << 16  # bytes of a vector: larger ones are constants, of which `prune` stores equal ones once
_FIRST, _OF_A_PART = 1 << 16, 1 << 12  # bytes for everything but constants, and for each tensor and operation
_MOST = (1 << 31) - 1  # bytes of a flatbuffer
_LENGTH = 4  # bytes before the elements of each vector
_Kind = tuple[int, int]  # bytes of an element, and its alignment
_TEXT = (0, 1)  # a string: like bytes, with a 0 behind them


def to_bytes(model: Any) -> bytes:
    """The bytes of a `ModelT`. Raises BuilderSizeError for more than 2 GB."""
    builder = _Builder(min(_expected(model), _MOST))
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def _expected(model: Any) -> int:
    """Bytes that will do: otherwise the memory is doubled, and copied, until they fit. Unused ones cost nothing."""
    parts = sum(len(part or ()) for graph in model.subgraphs or () for part in (graph.tensors, graph.operators))
    constants = sum(len(buffer.data) for buffer in model.buffers or () if buffer.data is not None)
    return _FIRST + _OF_A_PART * parts + constants


class _Builder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no types
    """Removes a vector that it has just written, and refers to an equal one, as the base class does with vtables."""

    head: int

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._known: dict[tuple[_Kind, bytes], int] = {}
        self._begin, self._kind, self._movable = 0, _TEXT, True

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        self._begin, self._kind, self._movable = self.Offset(), (elemSize, alignment), True
        return int(super().StartVector(elemSize, numElems, alignment))

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        self._begin, self._kind, self._movable = self.Offset(), _TEXT, True
        return int(super().CreateString(s, encoding, errors))

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802
        """Like the base class, which copies the vector twice on its way."""
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

    def EndVector(self, numElems: int | None = None) -> int:  # noqa: N802, N803
        count, end = self.vectorNumElems, int(super().EndVector(numElems))
        size = count + 1 if self._kind is _TEXT else count * self._kind[0]
        if not self._movable or size > _COMPARED:
            return end
        key = (self._kind, bytes(self.Bytes[self.head : self.head + _LENGTH + size]))
        if key in self._known:
            self.head = len(self.Bytes) - self._begin
        return self._known.setdefault(key, end)
