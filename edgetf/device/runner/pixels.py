"""Inputs that take pixels: the map to the model's values that is folded into a `.tflite` file, from its metadata.

In: the file. Out: for each such input, what turns the model's values back into pixels. The map is read from the file
that runs, so that it cannot be that of another; a few fields of the flatbuffer are enough, and need no library.
"""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np

from .answers import line
from .job import JobError

_ENTRY = b"edgetf_pixels"
_BUFFERS, _METADATA = 4, 6  # fields of the table Model
_NAME, _BUFFER = 0, 1  # of Metadata
_DATA = 0  # of Buffer
_LONGEST = 1 << 20  # bytes of metadata

Content = Any  # bytes, or a mapped file


@dataclass(frozen=True)
class Pixels:
    """The model's value of a pixel is (pixel - mean) / std; arrays of one number, or one for each channel."""

    mean: np.ndarray[Any, Any]
    std: np.ndarray[Any, Any]

    def of(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The pixels, uint8, that are nearest to the model's values, with the channels along the last axis.

        Raises JobError for values with other channels.
        """
        if len(self.mean) not in (1, values.shape[-1] if values.ndim else 1):
            raise JobError(f"it maps pixels of {len(self.mean)} channels, the samples have the shape {values.shape}")
        steps = np.rint(values * self.std + self.mean)
        np.maximum(steps, np.float32(0), out=steps)
        np.minimum(steps, np.float32(255), out=steps)
        stored: np.ndarray[Any, Any] = steps.astype(np.uint8)
        return stored


def read_pixels(path: str) -> dict[str, Pixels]:
    """The maps of a `.tflite` file, by input name. Raises JobError if its metadata is damaged, and OSError."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return find_pixels(content)


def find_pixels(content: Content) -> dict[str, Pixels]:
    """The maps in a flatbuffer, as `read_pixels`."""
    try:
        stored = _find_entry(content)
        known = {} if stored is None else json.loads(stored)
        return {name: _pixels(one["mean"], one["std"]) for name, one in known.items()}
    except Exception as error:  # of struct, json and numpy
        raise JobError(f"its map of pixels is damaged: {line(str(error))}") from error


def as_pixels(content: Content, rows: Mapping[str, Any]) -> dict[str, Any]:
    """The model's values of each input as a flatbuffer takes them: as pixels, where it maps these itself."""
    maps = find_pixels(content)
    return {name: maps[name].of(values) if name in maps else values for name, values in rows.items()}


def _pixels(mean: Any, std: Any) -> Pixels:
    found = Pixels(np.asarray(mean, np.float32), np.asarray(std, np.float32))
    if found.mean.ndim != 1 or found.mean.shape != found.std.shape or not np.isfinite([found.mean, found.std]).all():
        raise ValueError("it has no numbers for each channel")
    return found


def _find_entry(content: Content) -> bytes | None:
    """The bytes of the metadata called _ENTRY, if there is one."""
    model = _number(content, 0)
    metadata, buffers = _field(content, model, _METADATA), _field(content, model, _BUFFERS)
    if not metadata or not buffers:
        return None
    for table in _tables(content, metadata):
        name = _field(content, table, _NAME)
        if name and _bytes(content, name) == _ENTRY:
            number = _field(content, table, _BUFFER)
            buffer = _tables(content, buffers)[_number(content, number) if number else 0]
            data = _field(content, buffer, _DATA)
            return _bytes(content, data) if data else None
    return None


def _number(content: Content, at: int) -> int:
    found: int = struct.unpack_from("<I", content, at)[0]
    return found


def _field(content: Content, table: int, number: int) -> int:
    """Where a table has a field; 0 if it has not."""
    layout = table - struct.unpack_from("<i", content, table)[0]
    place = 4 + 2 * number
    if place >= struct.unpack_from("<H", content, layout)[0]:
        return 0
    offset: int = struct.unpack_from("<H", content, layout + place)[0]
    return table + offset if offset else 0


def _vector(content: Content, field: int) -> tuple[int, int]:
    """Where the elements of a vector begin, and how many there are: no more than there are bytes."""
    start = field + _number(content, field)
    count = _number(content, start)
    if count > len(content):
        raise ValueError("a list is longer than the file")
    return start + 4, count


def _tables(content: Content, field: int) -> list[int]:
    start, count = _vector(content, field)
    places = range(start, start + 4 * count, 4)
    return [place + _number(content, place) for place in places]


def _bytes(content: Content, field: int) -> bytes:
    start, count = _vector(content, field)
    return bytes(content[start : start + min(count, _LONGEST)])
