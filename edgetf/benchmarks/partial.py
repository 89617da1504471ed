"""Outputs of all samples, written batch by batch: memory does not grow with them, and a killed run goes on.

A folder holds a `.npy` file for each output, whose header is written last, and `progress.json`, which says how many
samples are surely in them. What was written after that is cut off when the run goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from time import monotonic

import numpy as np

from edgetf import files
from edgetf.errors import EdgetfError
from edgetf.samples import Array

# 1: first
_SCHEMA = 1
_HEADER = 256  # bytes before the numbers, a multiple of 64 as the format wants it
_SAVE_S = 2.0
_PROGRESS = "progress.json"


@dataclass(frozen=True)
class Written:
    """One output: `rows` of `shape` are in `file`."""

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    rows: int


@dataclass(frozen=True)
class Progress:
    """`done` samples are written, in batches of `batch`. `key` names all that decides what is written."""

    schema: int
    key: str
    batch: int
    done: int
    outputs: tuple[Written, ...]


@dataclass
class Partial:
    """The folder of a run that may have been begun before: with another `key` it starts over."""

    folder: Path
    key: str
    progress: Progress | None = None
    _rows: dict[str, Written] = field(default_factory=dict)
    _saved: float = field(default_factory=monotonic)

    def __post_init__(self) -> None:
        with suppress(EdgetfError):
            found = files.read_document(self.folder / _PROGRESS, Progress, _SCHEMA)
            if found.key == self.key and self._cut(found):
                self.progress, self._rows = found, {one.name: one for one in found.outputs}
                return
        self.discard()

    def append(self, outputs: Mapping[str, Array], done: int, batch: int) -> None:
        """Write one batch of outputs, rows along axis 0, after which `done` samples are there.

        Raises EdgetfError where an output has another shape than before.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for k, (name, values) in enumerate(sorted(outputs.items())):
            fresh = Written(name, f"output-{k}.npy", values.dtype.str, values.shape[1:], 0)
            known = self._rows.setdefault(name, fresh)
            if (known.dtype, known.shape) != (fresh.dtype, fresh.shape):
                hint = "give samples of one shape"
                raise EdgetfError("an output changes its shape from sample to sample", hint)
            with (self.folder / known.file).open("ab") as file:
                if known.rows == 0:
                    file.write(bytes(_HEADER))
                file.write(np.ascontiguousarray(values).tobytes())
            self._rows[name] = replace(known, rows=known.rows + len(values))
        self.progress = Progress(_SCHEMA, self.key, batch, done, tuple(self._rows.values()))
        if monotonic() - self._saved >= _SAVE_S:
            self.save()

    def save(self) -> None:
        """Say what is surely written, for a run that goes on."""
        if self.progress is not None:
            files.write_document(self.folder / _PROGRESS, self.progress)
        self._saved = monotonic()

    def finish(self, out: Path) -> dict[str, Path]:
        """Make whole `.npy` files of all that was written, in `out` too, and return those by output name.

        What is here stays until `discard`: what comes after may be interrupted as well.
        """
        self.save()
        found = {}
        for name, written in self._rows.items():
            with (self.folder / written.file).open("r+b") as file:
                file.write(_header(written))
            found[name] = out / written.file
            try:
                found[name].hardlink_to(self.folder / written.file)
            except OSError:  # a file system without links
                shutil.copyfile(self.folder / written.file, found[name])
        return found

    def discard(self) -> None:
        """Remove the folder, and begin from nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.progress, self._rows = None, {}

    def _cut(self, found: Progress) -> bool:
        """Cut off what came after `found` was said; False where less is there."""
        for one in found.outputs:
            path = self.folder / one.file
            size = _HEADER + one.rows * prod(one.shape) * np.dtype(one.dtype).itemsize
            if not path.is_file() or path.stat().st_size < size:
                return False
            with path.open("r+b") as file:
                file.truncate(size)
        return True


def _header(written: Written) -> bytes:
    """The header of numpy's format 1.0 (numpy.lib.format), filled up to _HEADER bytes."""
    shape = (written.rows, *written.shape)
    text = f"{{'descr': {written.dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    room = _HEADER - 10
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text.ljust(room - 1).encode("latin1") + b"\n"
