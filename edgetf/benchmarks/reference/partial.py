"""Outputs of all samples, written batch by batch: memory does not grow with them, and a killed run resumes.

A folder contains a `.npy` file for each output, whose header is written last, a file with the shape of each row, and
`progress.json`, which records how many samples are certainly in them. What was written after that is cut off when the
run resumes. Rows of different shapes are padded with zeros at the end, and their shapes lie beside them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from edgetf import files
from edgetf.device.runner.ragged import pad
from edgetf.errors import EdgetfError, KeptInterrupt
from edgetf.events import Note, OnEvent, ignore
from edgetf.owned import remove
from edgetf.samples import Array

# 1: first
# 2: rows of different shapes
_SCHEMA = 2
_SHAPE = "<i8"
_HEADER = 256  # bytes before the numbers, a multiple of 64 as the format wants it
_SAVE_S = 2.0
_BLOCK = 1 << 22  # bytes that are copied at once
_PROGRESS = "progress.json"


@dataclass(frozen=True)
class Written:
    """One output: `rows` are in `file`, the first of `shape`, and all of them unless it is `ragged`."""

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    rows: int
    ragged: bool = False

    @property
    def shapes(self) -> str:
        """The file with the shape of each row, as numbers of _SHAPE."""
        return f"{self.file}.shapes"

    def is_possible(self) -> bool:
        """Whether `append` can have written it, and its file is in the folder."""
        here = Path(self.file).name == self.file
        return here and self.rows > 0 and min(self.shape, default=0) >= 0 and not np.dtype(self.dtype).hasobject


@dataclass(frozen=True)
class Progress:
    """`done` samples are written, in batches of `batch`. `key` is a digest of all that determines what is written."""

    schema: int
    key: str
    batch: int
    done: int
    outputs: tuple[Written, ...]


@dataclass
class Partial:
    """The folder of a run that may have started earlier: with another `key` it starts over, with a note."""

    folder: Path
    key: str
    on_event: OnEvent = ignore
    progress: Progress | None = None
    _rows: dict[str, Written] = field(default_factory=dict)
    _saved: float = field(default_factory=monotonic)

    def __post_init__(self) -> None:
        is_known = (self.folder / _PROGRESS).is_file()  # without it, these are the remains of the first seconds
        why = "is damaged"
        with suppress(Exception):  # its content is untrusted: no error in reading it may stop the run
            found = files.read_document(self.folder / _PROGRESS, Progress, _SCHEMA)
            if found.key != self.key:
                why = "has another model, samples, device or precision"
            elif self._cut(found):
                self.progress, self._rows = found, {one.name: one for one in found.outputs}
                return
        self.discard()
        if is_known:
            self.on_event(Note(f"the interrupted run in {self.folder} {why}: starting over"))

    def append(self, outputs: Mapping[str, Array], done: int, batch: int) -> None:
        """Write one batch of outputs, rows along axis 0, after which `done` samples are written.

        Raises EdgetfError if an output has another type or number of axes than before.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._rows and self._rows.keys() != outputs.keys():
            raise self._damaged()
        for k, (name, values) in enumerate(sorted(outputs.items())):
            fresh = Written(name, f"output-{k}.npy", values.dtype.str, values.shape[1:], 0)
            known = self._known(name, fresh)
            with (self.folder / known.file).open("ab") as file:
                if known.rows == 0:
                    file.write(bytes(_HEADER))
                file.write(np.ascontiguousarray(values).tobytes())
            with (self.folder / known.shapes).open("ab") as file:
                file.write(np.array([fresh.shape] * len(values), _SHAPE).tobytes())
            ragged = known.ragged or known.shape != fresh.shape
            self._rows[name] = replace(known, rows=known.rows + len(values), ragged=ragged)
        self._has_written(done, batch)

    def extend(self, part: Partial) -> None:
        """Append all that `part` has: the outputs of the next samples, in the same batches, block by block.

        Raises EdgetfError if an output has another type or number of axes than before.
        """
        assert part.progress is not None
        done, batch = self.progress.done if self.progress else 0, part.progress.batch
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._rows and self._rows.keys() != part._rows.keys():
            raise self._damaged()
        for k, (name, more) in enumerate(sorted(part._rows.items())):
            known = self._known(name, replace(more, file=f"output-{k}.npy", rows=0, ragged=False))
            for own, other, header in ((known.file, more.file, _HEADER), (known.shapes, more.shapes, 0)):
                with (self.folder / own).open("ab") as file, (part.folder / other).open("rb") as source:
                    if known.rows == 0:
                        file.write(bytes(header))
                    source.seek(header)
                    shutil.copyfileobj(source, file, _BLOCK)
            ragged = known.ragged or more.ragged or known.shape != more.shape
            self._rows[name] = replace(known, rows=known.rows + more.rows, ragged=ragged)
        self._has_written(done + part.progress.done, batch)

    def _known(self, name: str, fresh: Written) -> Written:
        """What is written of an output: nothing yet, or rows like `fresh`. Raises EdgetfError for other ones."""
        known = self._rows.setdefault(name, fresh)
        if (known.dtype, len(known.shape)) != (fresh.dtype, len(fresh.shape)):
            hint = "export the model with outputs of one kind"
            raise EdgetfError(f"the output {name!r} changes its type or its axes from sample to sample", hint)
        return known

    def _has_written(self, done: int, batch: int) -> None:
        self.progress = Progress(_SCHEMA, self.key, batch, done, tuple(self._rows.values()))
        if monotonic() - self._saved >= _SAVE_S:
            self.save()

    def save(self) -> None:
        """Record what is certainly written, for a run that resumes."""
        if self.progress is not None:
            files.write_document(self.folder / _PROGRESS, self.progress)
        self._saved = monotonic()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Any end of the block keeps the samples that are certainly written; without any, nothing is kept.

        Raises KeptInterrupt for an interruption that kept some.
        """
        try:
            yield
        except BaseException as error:
            with suppress(EdgetfError):  # the disk may be full: then the previous record counts
                self.save()
            if not (self.folder / _PROGRESS).is_file():
                self.discard()
            if isinstance(error, KeyboardInterrupt) and self.progress is not None:
                kept = f"the outputs of {self.progress.done:,} samples kept in {self.folder}"
                how = "the same command resumes after them; to start over, remove that folder"
                raise KeptInterrupt(kept, how) from error
            raise

    def finish(self, out: Path) -> dict[str, tuple[Path, Path | None]]:
        """Make complete `.npy` files of all that was written, in `out` too.

        Returns by output name the file, and that of the shapes, shape (rows, axes), if they differ. The folder stays
        until `discard`: the next steps may be interrupted as well.
        """
        self.save()
        try:
            return self._finish(out)
        except (ValueError, IndexError, MemoryError) as error:  # the files do not match the record
            raise self._damaged() from error

    def _damaged(self) -> EdgetfError:
        """The error for files that do not belong together; they are removed."""
        self.discard()
        return EdgetfError(f"what an interrupted run left in {self.folder} is damaged", "run it again: it starts over")

    def _finish(self, out: Path) -> dict[str, tuple[Path, Path | None]]:
        found: dict[str, tuple[Path, Path | None]] = {}
        for name, written in self._rows.items():
            path = out / written.file
            if written.ragged:
                shapes = self._shapes(written)
                found[name] = path, pad([self.folder / written.file], [shapes], np.dtype(written.dtype), path, _HEADER)
                continue
            with (self.folder / written.file).open("r+b") as file:
                file.write(_header(written))
            try:
                path.hardlink_to(self.folder / written.file)
            except OSError:  # a file system without links
                shutil.copyfile(self.folder / written.file, path)
            found[name] = path, None
        return found

    def _shapes(self, written: Written) -> NDArray[np.int64]:
        axes = len(written.shape)
        known = np.fromfile(self.folder / written.shapes, _SHAPE, written.rows * axes)
        return np.asarray(known.reshape(written.rows, axes), np.int64)

    def discard(self) -> None:
        """Remove the folder, and start over."""
        remove(self.folder)
        self.progress, self._rows = None, {}

    def _cut(self, found: Progress) -> bool:
        """Cut off what was written after `found`; False if less is there, or if `found` is impossible."""
        if found.done < 1 or found.batch < 1 or not found.outputs:
            return False
        if [one.file for one in found.outputs] != [f"output-{k}.npy" for k in range(len(found.outputs))]:
            return False
        if len({one.name for one in found.outputs}) < len(found.outputs):
            return False
        for one in found.outputs:
            path, beside = self.folder / one.file, self.folder / one.shapes
            if not one.is_possible() or path.is_symlink() or beside.is_symlink():
                return False
            shapes_size = one.rows * len(one.shape) * np.dtype(_SHAPE).itemsize
            if not path.is_file() or not beside.is_file() or beside.stat().st_size < shapes_size:
                return False
            numbers = self._shapes(one).prod(axis=1).sum() if one.ragged else one.rows * prod(one.shape)
            size = _HEADER + int(numbers) * np.dtype(one.dtype).itemsize
            if path.stat().st_size < size:
                return False
            for each, length in ((path, size), (beside, shapes_size)):
                with each.open("r+b") as file:
                    file.truncate(length)
        return True


def _header(written: Written) -> bytes:
    """The header of numpy's format 1.0 (numpy.lib.format), filled up to _HEADER bytes."""
    shape = (written.rows, *written.shape)
    text = f"{{'descr': {written.dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    room = _HEADER - 10
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text.ljust(room - 1).encode("latin1") + b"\n"
