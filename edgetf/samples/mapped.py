"""Arrays that lie in a file: mapped into memory, gone through block by block, and let go of after each block.

A mapped page counts as the process's memory from the first time it is read until it is given back, so that whoever
goes through a large array once calls `release` as they go.
"""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import EdgetfError

Array = NDArray[np.generic]
BLOCK_BYTES = 1 << 22


def map_file(file: IO[bytes]) -> mmap.mmap:
    """The whole of an open file, read-only. It stays mapped after the file is closed, or even removed."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def array_at(mapping: mmap.mmap, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any = "C") -> Array:
    """The array of `shape` whose bytes begin at `offset`, read-only, without reading them."""
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.zeros(shape, dtype)
    return np.frombuffer(mapping, dtype, count, offset).reshape(shape, order=order)


def release(array: Array) -> None:
    """Give back the memory of an array that lies in a file; what is read again is read from the file."""
    base: Any = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.obj if isinstance(base, memoryview) else base.base
    # only what cannot have been written to: a private page that was would lose it
    if isinstance(base, mmap.mmap) and memoryview(base).readonly and hasattr(mmap, "MADV_DONTNEED"):
        with contextlib.suppress(OSError, ValueError):  # only advice
            base.madvise(mmap.MADV_DONTNEED)


def blocks(array: Array) -> Iterator[tuple[int, Array]]:
    """The array in pieces of some megabytes along axis 0, in C order, each with the row at which it begins."""
    row_bytes = array.nbytes // len(array)
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    for begin in range(0, len(array), step):
        yield begin, np.ascontiguousarray(array[begin : begin + step])
        release(array)


class Spool:
    """Rows that come one after another and are too many to be held: written to temporary files, then mapped.

    A reference needs rows by number and more than once, which a stream does not give. The files lie in the folder that
    TMPDIR names and have no names of their own: they are gone with the last array that lies in them.
    `hint` says what to do about samples that differ.
    """

    def __init__(self, source: str, hint: str = "make them alike") -> None:
        self._source, self._hint = source, hint
        self._files: dict[str, IO[bytes]] = {}
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._rows = 0

    def append(self, batch: Mapping[str, Array]) -> None:
        """Add rows: arrays by name with the samples along axis 0. Raises EdgetfError for rows unlike the first."""
        for name, values in batch.items():
            kind = (values.dtype, values.shape[1:])
            if name not in self._files:
                self._files[name], self._kinds[name] = tempfile.TemporaryFile(), kind  # noqa: SIM115  # closed by `arrays`
            if self._kinds[name] != kind:
                have, first = _told(kind), _told(self._kinds[name])
                message = f"{self._source}: {name!r} is {have} at sample {self._rows}, and {first} before"
                raise EdgetfError(message, f"samples must all have one shape and type: {self._hint}")
            self._write(name, np.ascontiguousarray(values).tobytes())
        self._rows += len(next(iter(batch.values())))

    def arrays(self) -> dict[str, Array]:
        """All rows by name, read-only. Nothing can be added afterwards."""
        found: dict[str, Array] = {}
        for name, file in self._files.items():
            dtype, row = self._kinds[name]
            shape = (self._rows, *row)
            with file:
                file.flush()
                empty = file.tell() == 0
                found[name] = np.zeros(shape, dtype) if empty else array_at(map_file(file), 0, dtype, shape)
        return found

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._files[name].write(content)
        except OSError as error:
            hint = f"make room in {tempfile.gettempdir()}, or let TMPDIR name another folder"
            raise EdgetfError(f"cannot keep the samples of {self._source}: {error.strerror}", hint) from error


def _told(kind: tuple[np.dtype[Any], tuple[int, ...]]) -> str:
    return f"{kind[0].name} {list(kind[1])}"
