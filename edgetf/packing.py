"""In: a model as mutable objects of the flatbuffer schema. Out: its bytes, in which equal vectors and names occur once.

A flatbuffer refers to its parts by offsets, so that two tensors may refer to the same vector. Neither the converter nor
the schema's own packer makes use of that: a fifth of a small int8 file are zero points, all 0, of one tensor after
another. What a reader finds is the same, value by value.

https://flatbuffers.dev/internals: offsets may refer to anything that was written before.
"""

from __future__ import annotations

from typing import Any

import flatbuffers

_IDENTIFIER = b"TFL3"
_COMPARED = 1 << 16  # bytes of a vector: larger ones are constants, of which `prune` stores equal ones once
_LENGTH = 4  # bytes before the elements of each vector
_Kind = tuple[int, int]  # bytes of an element, and its alignment
_TEXT = (0, 1)  # a string: like bytes, with a 0 behind them


def to_bytes(model: Any) -> bytes:
    """The bytes of a `ModelT`. Raises BuilderSizeError for more than 2 GB."""
    builder = _Builder()
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no types
    """Removes a vector that it has just written, and refers to an equal one, as the base class does with vtables."""

    head: int

    def __init__(self) -> None:
        super().__init__(1024)
        self._known: dict[tuple[_Kind, bytes], int] = {}
        self._begin, self._kind, self._movable = 0, _TEXT, True

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        self._begin, self._kind, self._movable = self.Offset(), (elemSize, alignment), True
        return int(super().StartVector(elemSize, numElems, alignment))

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        self._begin, self._kind, self._movable = self.Offset(), _TEXT, True
        return int(super().CreateString(s, encoding, errors))

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
