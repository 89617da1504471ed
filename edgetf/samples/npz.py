"""`.npz` files: what `np.savez` wrote is mapped from the file and never read as a whole; `np.savez_compressed` is read.

A member that is stored lies in the zip file as it would in a `.npy` file: its header says where its values begin.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgetf.errors import EdgetfError
from edgetf.samples.core import LABELS, Samples
from edgetf.samples.mapped import BLOCK_BYTES, Array, array_at, map_file, release

HINT = "make one with: np.savez('samples.npz', INPUT=array, labels=array)"
_FORMAT: Any = np.lib.format  # numpy 1.26 has no types for it
_LOCAL_HEADER = 30  # bytes, before the name and the extra field, whose lengths it ends with


def save_samples(path: Path, samples: Samples) -> None:
    """Write Samples as the `.npz` that `load_samples` reads."""
    save_arrays(path, samples.inputs if samples.labels is None else {**samples.inputs, LABELS: samples.labels})


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an `.npz` of arrays by name, some megabytes at a time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write_array(file, array)


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an `.npz` file by name, read-only where they are mapped. Raises EdgetfError for any other file."""
    if not path.is_file():
        raise EdgetfError(f"there are no samples at {path}", HINT)
    try:
        arrays = _map(path)
        if arrays is None:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise EdgetfError(f"{path} is not an .npz file of plain arrays", HINT) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # another kind of zip file
        raise EdgetfError(f"{path} is not an .npz file of plain arrays", HINT)
    return arrays


def _write_array(file: IO[bytes], array: Array) -> None:
    """As `np.lib.format.write_array` does, which would keep all that it has read of a mapped array."""
    if array.ndim == 0 or array.size == 0:
        _FORMAT.write_array(file, array, allow_pickle=False)
        return
    if array.dtype.hasobject:
        raise ValueError("objects are no plain arrays")
    header = {"descr": _FORMAT.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    _FORMAT.write_array_header_1_0(file, header)
    step = max(1, BLOCK_BYTES * len(array) // array.nbytes)
    for begin in range(0, len(array), step):
        file.write(np.ascontiguousarray(array[begin : begin + step]).tobytes())
        release(array)


def _map(path: Path) -> dict[str, Array] | None:
    """The arrays where all lie stored in the file; None where some are compressed or of an unusual format."""
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        stored = all(m.compress_type == zipfile.ZIP_STORED and m.filename.endswith(".npy") for m in members)
        if not members or not stored:
            return None
        mapping = map_file(file)
        found = {}
        for member in members:
            array = _member(archive, member, mapping)
            if array is None:
                return None
            found[member.filename.removesuffix(".npy")] = array
        return found


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, mapping: Any) -> Array | None:
    """The array of a stored member, whose checksum is compared first, as zipfile does. Raises ValueError."""
    with archive.open(member) as file:
        version = _FORMAT.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            return None
        read = _FORMAT.read_array_header_1_0 if version == (1, 0) else _FORMAT.read_array_header_2_0
        shape, fortran, dtype = read(file)
        header_bytes = file.tell()
    if dtype.hasobject:
        raise ValueError("objects are no plain arrays")
    if header_bytes + dtype.itemsize * int(np.prod(shape, dtype=np.int64)) != member.file_size:
        raise ValueError("the values are not as many as the header says")
    at = member.header_offset
    lengths = mapping[at + _LOCAL_HEADER - 4 : at + _LOCAL_HEADER]
    begin = at + _LOCAL_HEADER + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    _check_crc(mapping, begin, member)
    return array_at(mapping, begin + header_bytes, dtype, shape, "F" if fortran else "C")


def _check_crc(mapping: Any, begin: int, member: zipfile.ZipInfo) -> None:
    content = np.frombuffer(mapping, np.uint8, member.file_size, begin)
    crc = 0
    for k in range(0, len(content), BLOCK_BYTES):
        crc = zlib.crc32(content[k : k + BLOCK_BYTES].data, crc)
        release(content)
    if crc != member.CRC:
        raise ValueError(f"{member.filename} is damaged: its checksum does not fit")
