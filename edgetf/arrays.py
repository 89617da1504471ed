"""`.npy` arrays from untrusted files. In: a file, or a member of a zip file. Out: an array in native byte order.

Nothing is unpickled, sizes are checked against the bytes, and big-endian numbers are converted.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgetf.files import open_plain
from edgetf.reading import parsing

Array = NDArray[np.generic]
KINDS = "biufcSU"  # numpy's kinds: booleans, integers, real and complex numbers, strings
_LAST_CHARACTER = 0x10FFFF
_FORMAT: Any = np.lib.format  # numpy 1.26 has no types for it
_MOST_BYTES = 1 << 62


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], str, np.dtype[Any]]:
    """The shape, the order ("C" or "F") and the type of the array in `file`, which is then at its values.

    Raises ValueError for an array of anything but numbers, and any error of numpy.
    """
    version = _FORMAT.read_magic(file)
    if version not in ((1, 0), (2, 0)):  # 3.0 is for arrays with named fields
        raise ValueError(f"its format {version} is not that of plain arrays")
    read = _FORMAT.read_array_header_1_0 if version == (1, 0) else _FORMAT.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if held := foreign_kind(dtype):
        raise ValueError(f"it holds {held}, not numbers or strings")
    if not all(type(axis) is int and axis >= 0 for axis in shape) or len(shape) > 32:
        raise ValueError(f"its shape {shape} is invalid")
    if prod(shape) * dtype.itemsize > _MOST_BYTES:
        raise ValueError(f"its shape {shape} is larger than any memory")
    return shape, "F" if fortran else "C", dtype


def foreign_kind(dtype: np.dtype[Any]) -> str:
    """A description of the content of an array of another type than numbers, such as "objects"; empty for numbers."""
    if dtype.hasobject:
        return "objects"
    return "" if dtype.kind in KINDS and dtype.subdtype is None else f"values of type {dtype.name}"


def native(array: Array) -> Array:
    """The array in the byte order of this machine. Raises ValueError for strings with invalid characters."""
    array = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "U" and array.size:
        codes = np.ascontiguousarray(array).view(np.uint32)
        if codes.max() > _LAST_CHARACTER:
            raise ValueError("it holds strings with invalid characters")
    return array


def read_npy(path: Path, hint: str) -> Array:
    """The array in a `.npy` file, memory-mapped and read-only. Raises EdgetfError for any other file."""
    with parsing(path, "a .npy file of numbers", hint):
        with open_plain(path, hint) as file:
            shape, order, dtype = read_header(file)
            begin = file.tell()
        size = prod(shape) * dtype.itemsize
        if begin + size > path.stat().st_size:
            raise ValueError(f"it has fewer values than its shape {shape}")
        if size == 0:  # an empty array cannot be mapped
            return np.zeros(shape, dtype)
        return native(np.memmap(path, dtype, "r", begin, shape, order))  # type: ignore[call-overload]
