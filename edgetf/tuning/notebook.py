"""The results of a tuning so far, in a file: after it was killed, it resumes, and the best so far is there.

Scores of mixtures depend on the variants and the samples alone, and are kept if a later run has other budgets.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgetf.benchmarks.judging.own_metric import Given, load_metric, metric_name
from edgetf.benchmarks.timing.resume import key_of
from edgetf.events import Note, OnEvent
from edgetf.files import sha256_file, write_whole
from edgetf.owned import remove

FOLDER = ".edgetf-partial-tune"
BEST = "best.tflite"
_FILE = "notes.json"


class Notebook:
    """The folder `folder` of a tuning that may have started earlier.

    `scored` is all that determines scores; `decisive` all that determines the other results besides. `refused` has the
    reasons of the device for files that do not run there.
    """

    def __init__(self, folder: Path, scored: Mapping[str, Any], decisive: Mapping[str, Any], on_event: OnEvent) -> None:
        self.folder, self._keys = folder, [key_of(scored), key_of({**scored, **decisive})]
        self.scores: dict[str, Any] = {}
        self.latencies: dict[str, Any] = {}
        self.evaluations: dict[str, Any] = {}
        self.refused: dict[str, Any] = {}
        same = False
        with suppress(Exception):  # a damaged notebook of any kind starts over
            kept = json.loads((folder / _FILE).read_text())
            scores, parts = dict(kept["scores"]), [dict(kept[name]) for name in ("latencies", "evaluations", "refused")]
            self.scores = scores if kept["keys"][0] == self._keys[0] else {}
            if same := kept["keys"] == self._keys:
                self.latencies, self.evaluations, self.refused = parts
        if same:
            found = f"{len(self.scores)} mixtures scored, {len(self.evaluations)} evaluated"
            on_event(Note(f"resuming an interrupted run ({found}); to start over, remove {folder}"))
            return
        if (folder / _FILE).exists():
            kept_too = "; its scores are used" if self.scores else ""
            on_event(Note(f"an interrupted run with other options or inputs is not resumed{kept_too}"))
        remove(folder)
        folder.mkdir(parents=True, exist_ok=True)

    def save(self) -> None:
        parts = {
            "scores": self.scores,
            "latencies": self.latencies,
            "evaluations": self.evaluations,
            "refused": self.refused,
        }
        write_whole(self.folder / _FILE, json.dumps({"keys": self._keys, **parts}).encode())

    def save_best(self, content: bytes) -> None:
        """Keep the best so far for the user."""
        write_whole(self.folder / BEST, content)

    def discard(self) -> None:
        remove(self.folder)


def fact_of_metric(metric: Given) -> tuple[str, str | None]:
    """The name of a metric and the digest of the file that it is in, where there is one."""
    with suppress(Exception):  # a function of a notebook has none
        file = inspect.getsourcefile(inspect.unwrap(load_metric(metric).function))
        return metric_name(metric), sha256_file(Path(file)) if file else None
    return metric_name(metric), None
