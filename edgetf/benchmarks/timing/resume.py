"""Resuming interrupted benchmarks: each finished turn is kept, and the same command continues.

A folder beside the results contains the measurements and `progress.json`, which lists the complete turns with digests
of their files. `key` identifies the settings of the run: with another key nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.errors import KeptInterrupt
from edgetf.events import Note, OnEvent
from edgetf.owned import remove

# 1: first
_SCHEMA = 1
_PROGRESS = "progress.json"
FOLDER = ".edgetf-partial-benchmark"


@dataclass(frozen=True)
class Finished:
    """A finished turn: its folder below the measurements, its number, its end time, and the digest of its files."""

    folder: str
    number: int
    ended: str
    sha256: str


@dataclass(frozen=True)
class Progress:
    """`stops` are sentences for the result on where the run was interrupted."""

    schema: int
    key: str
    turns: tuple[Finished, ...]
    stops: tuple[str, ...]


class Resumable:
    """The folder `folder` of a run that may have been started before; `place` in it contains the measurements."""

    def __init__(self, folder: Path, key: str, on_event: OnEvent) -> None:
        self.folder, self.place = folder, folder / "measurements"
        self._progress, self._on_event = Progress(_SCHEMA, key, (), ()), on_event
        self._find()

    @property
    def stops(self) -> tuple[str, ...]:
        return self._progress.stops

    def find(self, folder: str) -> Finished | None:
        """The turn that wrote `folder` in an earlier run."""
        return next((turn for turn in self._progress.turns if turn.folder == folder), None)

    def keep(self, folder: str, number: int) -> None:
        """Record that a turn is complete."""
        turn = Finished(folder, number, files.now(), files.sha256_tree(self.place / folder))
        self._write(replace(self._progress, turns=(*self._progress.turns, turn)))

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A context for the run. If it is interrupted, finished turns stay in the folder; without any, it is removed.

        Raises KeptInterrupt for an interruption with finished turns.
        """
        try:
            yield
        except BaseException as error:
            if not self._progress.turns or not all(map(self._is_whole, self._progress.turns)):
                self.discard()
                raise
            kept, how = (
                f"{_turns(len(self._progress.turns))} kept in {self.folder}",
                "the same command resumes after them",
            )
            if isinstance(error, KeyboardInterrupt):
                raise KeptInterrupt(kept, f"{how}; to start over, remove that folder") from error
            self._on_event(Note(f"{kept}: {how}"))
            raise

    def discard(self) -> None:
        remove(self.folder)

    def _find(self) -> None:
        """Resume after the finished turns, or start over, with a note."""
        if not (self.folder / _PROGRESS).is_file():
            self.discard()  # remains of a run that was killed in its first turn
            return
        try:
            found = files.read_document(self.folder / _PROGRESS, Progress, _SCHEMA)
            is_whole = bool(found.turns) and all(self._is_whole(turn) for turn in found.turns)
        except Exception:  # a damaged file of any kind must not prevent a new run
            self._start_over("is damaged")
            return
        if found.key != self._progress.key:
            self._start_over("has other variants, samples or settings, or another device or runtime")
        elif not is_whole:
            self._start_over("is damaged")
        else:
            self._resume(found)

    def _is_whole(self, turn: Finished) -> bool:
        """Whether the turn's folder is inside of the measurements and unchanged."""
        folder = (self.place / turn.folder).resolve()
        inside = folder != self.place.resolve() and folder.is_relative_to(self.place.resolve())
        return inside and folder.is_dir() and files.sha256_tree(folder) == turn.sha256

    def _resume(self, found: Progress) -> None:
        count, last = len(found.turns), found.turns[-1].ended
        stop = f"the run was interrupted after {_turns(count)}, at {last}, and resumed at {files.now()}"
        self._write(replace(found, stops=(*found.stops, stop)))
        note = f"resuming after {_turns(count)} of an interrupted run; to start over, remove {self.folder}"
        self._on_event(Note(note))

    def _start_over(self, why: str) -> None:
        self.discard()
        note = f"the interrupted run in {self.folder} {why}: starting over"
        self._on_event(Note(note))

    def _write(self, progress: Progress) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_document(self.folder / _PROGRESS, progress)
        self._progress = progress


def _turns(count: int) -> str:
    return f"{count} turn{'s' if count != 1 else ''}"


def key_of(decisive: Mapping[str, Any]) -> str:
    """A digest of the settings of a run, plain values by name."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()
