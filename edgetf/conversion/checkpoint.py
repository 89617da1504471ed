"""The variables of a SavedModel, read without TensorFlow. In: the prefix of a checkpoint. Out: arrays by key.

A checkpoint of TensorFlow 2 is a "tensor bundle": `PREFIX.index`, a sorted table in LevelDB's format whose values are
BundleEntryProtos, and shards with the bytes of the tensors one after the other
(tensorflow/core/util/tensor_bundle/tensor_bundle.h, google/leveldb doc/table_format.md). What this does not read
raises NeedsTensorFlowError: compressed tables, texts, variables in slices, other byte orders.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.conversion.messages import NeedsTensorFlowError, messages, numpy_dtype

_FOOTER, _MAGIC = 48, 0xDB4775248B80FB57
_MOST_KEYS = 1 << 28  # bytes of all keys: a few bytes can stand for a long one
_TRAILER = 5  # bytes after a block: how it is compressed, and its checksum


@contextmanager
def _left_to_tensorflow(key: str) -> Iterator[None]:
    """Raise NeedsTensorFlowError, with the reason as its cause, for a variable that cannot be read here."""
    try:
        yield
    except NeedsTensorFlowError:
        raise
    except Exception as error:
        raise NeedsTensorFlowError(key) from error


class Checkpoint:
    """The checkpoint with this prefix. Reading it raises NeedsTensorFlowError for one that TensorFlow has to read.

    So does a damaged one, which TensorFlow reports. The checksums of values are not compared.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix

    def get_tensor(self, key: str) -> np.ndarray[Any, Any]:
        """The array of a variable, mapped from the file."""
        with _left_to_tensorflow(key):
            return self._read(key)

    def get_part(self, key: str, begin: int, end: int) -> np.ndarray[Any, Any]:
        """Some elements of a variable, in one axis, mapped from the file. Raises as `get_tensor` does."""
        with _left_to_tensorflow(key):
            return self._read(key, (begin, end))

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a variable, from the index alone."""
        return tuple(int(axis.size) for axis in self._entry(key).shape.dim)

    def nbytes(self, key: str) -> int:
        """The bytes of a variable, from the index alone."""
        return int(self._entry(key).size)

    def checksum(self, key: str) -> int:
        """The checksum of a variable's bytes, from the index alone: those of equal ones are equal."""
        return int(self._entry(key).crc32c)

    def _entry(self, key: str) -> Any:
        with _left_to_tensorflow(key):
            return messages().BundleEntryProto.FromString(self._entries[key])

    def _read(self, key: str, part: tuple[int, int] | None = None) -> np.ndarray[Any, Any]:
        entry = self._entry(key)
        if entry.slices or not 0 <= entry.shard_id < self._shards:
            raise ValueError("it is in slices")
        dtype, shape = numpy_dtype(entry.dtype), tuple(axis.size for axis in entry.shape.dim)
        count = math.prod(shape)
        if entry.size != count * dtype.itemsize:
            raise ValueError("its bytes are not those of its shape")
        if not count:
            return np.zeros(shape, dtype)
        file, offset, size = f"{self._prefix}.data-{entry.shard_id:05d}-of-{self._shards:05d}", entry.offset, entry.size
        if part is not None:
            begin, end = (min(one, count) for one in part)
            shape = (end - begin,)
            offset, size = offset + begin * dtype.itemsize, (end - begin) * dtype.itemsize
        mapped = np.memmap(file, np.uint8, "r", offset, (size,))
        return mapped.view(dtype).reshape(shape)

    @cached_property
    def _entries(self) -> dict[str, bytes]:
        return dict(_table(Path(f"{self._prefix}.index").read_bytes()))

    @cached_property
    def _shards(self) -> int:
        header = messages().BundleHeaderProto.FromString(self._entries[""])
        if header.endianness or sys.byteorder != "little":
            raise ValueError("it has another byte order")
        return int(header.num_shards)


def _table(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The keys and values of a table."""
    footer = data[-_FOOTER:]
    if struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("it is not a table")
    _, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    left = len(data)
    for _, value in _block(data, index):
        place, _ = _handle(value, 0)
        left -= place[1]
        if left < 0:  # a short file could stand for hours of reading
            raise ValueError("its blocks overlap")
        for key, entry in _block(data, place):
            yield key.decode(), entry


def _block(data: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block: each key is stored without what it shares with the one before."""
    begin, size = handle
    if begin + size + _TRAILER > len(data) or data[begin + size]:
        raise ValueError("a block is compressed, or not there")
    block = data[begin : begin + size]
    restarts = struct.unpack("<I", block[-4:])[0]
    at, end, key, total = 0, size - 4 * (restarts + 1), b"", 0
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        at, total = at + rest, total + len(key)
        if total > _MOST_KEYS:
            raise ValueError("its keys are longer than any model's")
        yield key, block[at : at + length]
        at += length


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """The offset and size of a block, and the place after them."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits per byte, at most 64 in all, and the place after it."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is longer than any")
