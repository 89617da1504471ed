"""`.npz` files: those of `np.savez` are memory-mapped; those of `np.savez_compressed` are read into memory.

An uncompressed member of the zip file has the same bytes as a `.npy` file: its header shows where its values begin.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgetf.arrays import read_header
from edgetf.errors import EdgetfError, clean
from edgetf.reading import parsing
from edgetf.samples.core import Samples
from edgetf.samples.mapped import BLOCK_BYTES, Array, array_at, map_file, release

HINT = "make one with: np.savez('samples.npz', INPUT=array, labels=array)"
_FORMAT: Any = np.lib.format  # numpy 1.26 has no types for it
_LOCAL_HEADER = 30  # bytes before the name and the extra field; it ends with their lengths


def save_samples(path: Path, samples: Samples) -> None:
    """Write Samples as an `.npz` file for `load_samples`."""
    save_arrays(path, samples.arrays())


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an `.npz` of arrays by name, some megabytes at a time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write_array(file, array)


def read_npz(path: Path, hint: str = HINT, check: bool = True) -> dict[str, Array]:
    """The arrays of an `.npz` file by name; mapped ones are read-only. Raises EdgetfError for any other file.

    Without `check`, the checksums of mapped ones are not verified: the caller compares a digest of the values.
    """
    if not path.is_file():
        raise EdgetfError(f"there are no samples at {path}", hint)
    with parsing(path, "an .npz file of plain arrays", hint), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        _refuse_names(members, names)
        _refuse_bomb(path, members)
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        mapping = map_file(file) if stored and members else None
        read = [_unpack(archive, m) if mapping is None else _mapped(archive, m, mapping, check) for m in members]
        return dict(zip(names, read, strict=True))


def _refuse_names(members: Sequence[zipfile.ZipInfo], names: Sequence[str]) -> None:
    counts = Counter(names)
    for member, name in zip(members, names, strict=True):
        if not member.filename.endswith(".npy") or clean(name) != name:
            raise ValueError(f"{member.filename!r} is not an array")
        if counts[name] > 1:
            raise ValueError(f"there are several arrays called {name!r}")


def _refuse_bomb(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Raise EdgetfError for a file that does not fit into memory when it is decompressed."""
    packed = [member for member in members if member.compress_type != zipfile.ZIP_STORED]
    size = sum(member.file_size for member in packed)
    if size > _memory_bytes() // 2:
        hint = "save it with np.savez, which does not compress: such a file is memory-mapped"
        raise EdgetfError(f"{path} unpacks to {size / 1e9:.3g} GB, more than half of this machine's memory", hint)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _write_array(file: IO[bytes], array: Array) -> None:
    """Like `np.lib.format.write_array`, which would keep the pages of a mapped array in memory."""
    if array.ndim == 0 or array.size == 0:
        _FORMAT.write_array(file, array, allow_pickle=False)
        return
    if array.dtype.hasobject:
        raise ValueError("arrays of objects are not supported")
    header = {"descr": _FORMAT.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    _FORMAT.write_array_header_1_0(file, header)
    step = max(1, BLOCK_BYTES * len(array) // array.nbytes)
    for begin in range(0, len(array), step):
        file.write(np.ascontiguousarray(array[begin : begin + step]).tobytes())
        release(array)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """The array of a compressed member, limited to the size in the zip file."""
    with archive.open(member) as file:
        shape, order, dtype = read_header(file)
        _check_size(member, file.tell(), shape, dtype)
        values = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
        left = memoryview(values.data)
        while left:
            block = file.read(min(len(left), BLOCK_BYTES))
            if not block:
                raise EOFError(f"{member.filename} ends too early")
            left[: len(block)] = block
            left = left[len(block) :]
        if file.read(1):  # at the end, zipfile compares the checksum
            raise ValueError(f"{member.filename} is longer than its array")
    return values.view(dtype).reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


def _mapped(archive: zipfile.ZipFile, member: zipfile.ZipInfo, mapping: Any, check: bool) -> Array:
    """The array of an uncompressed member; its checksum is verified first, as zipfile does. Raises ValueError."""
    with archive.open(member) as file:
        shape, order, dtype = read_header(file)
        header_bytes = file.tell()
    _check_size(member, header_bytes, shape, dtype)
    at = member.header_offset
    lengths = mapping[at + _LOCAL_HEADER - 4 : at + _LOCAL_HEADER]
    begin = at + _LOCAL_HEADER + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    if check:
        _check_crc(mapping, begin, member)
    return array_at(mapping, begin + header_bytes, dtype, shape, order)


def _check_size(member: zipfile.ZipInfo, header_bytes: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if header_bytes + dtype.itemsize * math.prod(shape) != member.file_size:
        raise ValueError("the number of values differs from the header")


def _check_crc(mapping: Any, begin: int, member: zipfile.ZipInfo) -> None:
    content = np.frombuffer(mapping, np.uint8, member.file_size, begin)
    crc = 0
    for k in range(0, len(content), BLOCK_BYTES):
        crc = zlib.crc32(content[k : k + BLOCK_BYTES].data, crc)
        release(content)
    if crc != member.CRC:
        raise ValueError(f"{member.filename} is damaged: its checksum is wrong")
