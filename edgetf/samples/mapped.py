"""Memory-mapped arrays: processed block by block, with their memory released after each block.

A mapped page counts as the process's memory from its first read until it is released. Code that reads a large array
once therefore calls `release` repeatedly.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import EdgetfError

Array = NDArray[np.generic]
T = TypeVar("T")
BLOCK_BYTES = 1 << 22


def map_file(file: IO[bytes]) -> mmap.mmap:
    """Map an open file, read-only. It stays mapped after the file is closed or removed."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def array_at(mapping: mmap.mmap, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any = "C") -> Array:
    """The read-only array of `shape` whose bytes begin at `offset`; it is not read yet."""
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.zeros(shape, dtype)
    return np.frombuffer(mapping, dtype, count, offset).reshape(shape, order=order)


def offset_of(array: Array) -> int | None:
    """The first byte of a mapped array in its file; None for an array that is not a part of a mapped file as it is."""
    mapping = _mapping_of(array)
    if mapping is None or not array.flags.c_contiguous or not array.size:
        return None
    return int(array.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data)


def _mapping_of(array: Array) -> mmap.mmap | None:
    """The mapping that the array's memory belongs to."""
    base: Any = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.obj if isinstance(base, memoryview) else base.base
    return base if isinstance(base, mmap.mmap) else None


def release(array: Array) -> None:
    """Release the memory of a mapped array; later reads come from the file again."""
    mapping = _mapping_of(array)
    # only read-only pages: a private page would lose its changes
    if mapping is not None and memoryview(mapping).readonly and hasattr(mmap, "MADV_DONTNEED"):
        with contextlib.suppress(OSError, ValueError):  # madvise is optional
            mapping.madvise(mmap.MADV_DONTNEED)


def blocks(array: Array, rows: NDArray[np.intp] | None = None) -> Iterator[tuple[int, Array]]:
    """The array, or these rows of it, in pieces of some megabytes along axis 0, in C order, each with its first row."""
    step = max(1, BLOCK_BYTES // max(1, array[0].nbytes))
    for begin in range(0, len(array) if rows is None else len(rows), step):
        piece = slice(begin, begin + step)
        yield begin, np.ascontiguousarray(array[piece if rows is None else rows[piece]])
        release(array)


def map_blocks(array: Array, take: Callable[[int, Array], T], rows: NDArray[np.intp] | None = None) -> Iterator[T]:
    """What `take` returns for the first row of each of the `blocks` and the block, in their order.

    It is called in threads, as many as there are cores.
    """
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[T]] = deque()
        for begin, block in blocks(array, rows):
            waiting.append(pool.submit(take, begin, block))
            if len(waiting) > workers:  # more would only fill the memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Spool:
    """A stream of rows that may not fit into memory: written to temporary files, then mapped.

    A reference needs random and repeated access to rows. The files are in TMPDIR and have no names: they vanish with
    the last array that uses them. `hint` is for samples whose forms differ.
    """

    def __init__(self, source: str, hint: str = "give all of them the same form") -> None:
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
                have, first = _describe(kind), _describe(self._kinds[name])
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
            hint = f"free some space in {tempfile.gettempdir()}, or set TMPDIR to another folder"
            raise EdgetfError(f"cannot store the samples of {self._source}: {error.strerror}", hint) from error


def _describe(kind: tuple[np.dtype[Any], tuple[int, ...]]) -> str:
    return f"{kind[0].name} {list(kind[1])}"
