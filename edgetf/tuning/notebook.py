"""The results of a tuning so far, in a file: after it was killed, it resumes, and the best so far is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgetf.benchmarks.timing.resume import key_of
from edgetf.events import Note, OnEvent
from edgetf.files import write_whole
from edgetf.owned import remove

FOLDER = ".edgetf-partial-tune"
BEST = "best.tflite"
_FILE = "notes.json"


class Notebook:
    """The folder `folder` of a tuning that may have started earlier; `decisive` is all that determines its results."""

    def __init__(self, folder: Path, decisive: Mapping[str, Any], on_event: OnEvent) -> None:
        self.folder, self._key = folder, key_of(decisive)
        self.scores: dict[str, Any] = {}
        self.latencies: dict[str, Any] = {}
        self.evaluations: dict[str, Any] = {}
        with suppress(Exception):  # a damaged notebook of any kind starts over
            kept = json.loads((folder / _FILE).read_text())
            if kept["key"] == self._key:
                parts = (kept["scores"], kept["latencies"], kept["evaluations"])
                self.scores, self.latencies, self.evaluations = (dict(part) for part in parts)
        if self.evaluations or self.scores:
            found = f"{len(self.scores)} mixtures scored, {len(self.evaluations)} evaluated"
            note = f"resuming an interrupted run ({found}); to start over, remove {folder}"
            on_event(Note(note))
        else:
            remove(folder)
            folder.mkdir(parents=True, exist_ok=True)

    def save(self) -> None:
        parts = {"scores": self.scores, "latencies": self.latencies, "evaluations": self.evaluations}
        write_whole(self.folder / _FILE, json.dumps({"key": self._key, **parts}).encode())

    def save_best(self, content: bytes) -> None:
        """Keep the best so far for the user."""
        write_whole(self.folder / BEST, content)

    def discard(self) -> None:
        remove(self.folder)
