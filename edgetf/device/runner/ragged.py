"""Outputs whose shape differs from sample to sample: each worker appends its rows to a file, and they are joined here.

In: values as they arrive, with the shape of each row. Out: an `.npy` file padded with zeros to the largest shape, and
one with the shapes if they differ.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .interpreter import JobError

Values = np.ndarray[Any, Any]


class RaggedWriter:
    """Appends rows of one output to `PATH.values` and their shapes to `PATH.shapes`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shapes: list[tuple[int, ...]] = []

    def append(self, rows: Values) -> None:
        """Add rows along axis 0, all of one shape."""
        with _beside(self._path, "values").open("ab") as file:
            file.write(np.ascontiguousarray(rows).tobytes())
        self._shapes += [rows.shape[1:]] * len(rows)

    def close(self) -> None:
        """Write the shapes. Raises JobError if the number of axes differs."""
        if len({len(shape) for shape in self._shapes}) > 1:
            raise JobError("the number of axes of an output changes from sample to sample")
        with _beside(self._path, "shapes").open("wb") as file:
            np.save(file, np.array(self._shapes, np.int64).reshape(len(self._shapes), -1))


def join(parts: list[Path], dtype: np.dtype[Any], out: Path) -> Path | None:
    """Write the rows of all `parts`, in order, as the array `out`; returns the file of shapes if they differ.

    The parts are removed.
    """
    shapes = [np.load(str(_beside(part, "shapes"))) for part in parts]
    written = pad([_beside(part, "values") for part in parts], shapes, dtype, out)
    for part in parts:
        for kind in ("values", "shapes"):
            _beside(part, kind).unlink()
    return written


def pad(files: list[Path], shapes: list[Values], dtype: np.dtype[Any], out: Path, header_bytes: int = 0) -> Path | None:
    """Write the rows in `files`, whose `shapes` are known, as one array `out`; returns as `join` does."""
    every = np.concatenate(shapes)
    reserve(out, dtype, (len(every), *(int(axis) for axis in every.max(axis=0))))
    into = np.load(str(out), mmap_mode="r+")
    k = 0
    for path, known in zip(files, shapes):
        with path.open("rb") as file:
            file.seek(header_bytes)
            for row in known:
                shape = tuple(int(axis) for axis in row)
                content = file.read(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
                into[(k, *(slice(0, axis) for axis in shape))] = np.frombuffer(content, dtype).reshape(shape)
                k += 1
    into.flush()
    if not (every != every[:1]).any():
        return None
    beside = out.with_name(f"{out.stem}-shapes.npy")
    np.save(str(beside), every)
    return beside


def reserve(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """An array in a file, with room on the disk for all of it: a full disk is an error now, not a SIGBUS later."""
    np.lib.format.open_memmap(str(path), "w+", dtype, shape)  # type: ignore[no-untyped-call]
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}.{kind}")
