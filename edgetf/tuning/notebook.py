"""The results of a tuning so far, in a file: after it was killed, it resumes, and the best so far is there.

Scores of mixtures depend on the variants and the samples alone, and are kept if a later run has other budgets.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetf.benchmarks.judging.own_metric import GivenMetric, load_metric, metric_name
from edgetf.benchmarks.timing.resume import key_of
from edgetf.events import Note, OnEvent
from edgetf.files import read_document, sha256_file, to_plain, write_whole
from edgetf.owned import remove
from edgetf.recipes import Evaluation
from edgetf.tuning.running import Score

FOLDER = ".edgetf-partial-tune"
BEST = "best.tflite"
_FILE = "notes.json"
# 1: first
# 2: what XNNPACK takes of a mixture
_SCHEMA = 2
_MOST_MS = 1e12  # thirty years


@dataclass(frozen=True)
class _Notes:
    """`notes.json`: scores by mixture; latencies in ms, evaluations and reasons of refusals by the digest of the file.

    `keys` are digests of all that determines the scores, and of all that determines the rest.
    """

    schema: int
    keys: tuple[str, str]
    scores: dict[str, Score]
    latencies: dict[str, float]
    evaluations: dict[str, Evaluation]
    refused: dict[str, str]


class Notebook:
    """The folder `folder` of a tuning that may have started earlier.

    `scored` is all that determines scores; `decisive` all that determines the other results besides. `refused` has the
    reasons of the device for files that do not run there. The values of `scores` and `evaluations` are plain.
    """

    def __init__(self, folder: Path, scored: Mapping[str, Any], decisive: Mapping[str, Any], on_event: OnEvent) -> None:
        self.folder, self._keys = folder, (key_of(scored), key_of({**scored, **decisive}))
        self.scores: dict[str, Any] = {}
        self.latencies: dict[str, float] = {}
        self.evaluations: dict[str, Any] = {}
        self.refused: dict[str, str] = {}
        resumes, note = self._find()
        if note:
            on_event(Note(note))
        if not resumes:
            remove(folder)
            folder.mkdir(parents=True, exist_ok=True)

    def _find(self) -> tuple[bool, str]:
        """Take over what an earlier run left: whether this one resumes it, and a note."""
        if not (self.folder / _FILE).exists():
            return False, ""
        try:
            kept = _read(self.folder / _FILE)
        except Exception:  # a damaged file of any kind must not prevent a new run
            return False, f"the interrupted run in {self.folder} is damaged: starting over"
        plain = to_plain(kept)
        if kept.keys[0] == self._keys[0]:
            self.scores = plain["scores"]
        if kept.keys != self._keys:
            too = "; its scores are used" if self.scores else ""
            return False, f"an interrupted run with other options or inputs is not resumed{too}"
        self.latencies, self.refused = dict(kept.latencies), dict(kept.refused)
        self.evaluations = plain["evaluations"]
        found = f"{len(self.scores)} mixtures scored, {len(self.evaluations)} evaluated"
        return True, f"resuming an interrupted run ({found}); to start over, remove {self.folder}"

    def save(self) -> None:
        parts = {
            "scores": self.scores,
            "latencies": self.latencies,
            "evaluations": self.evaluations,
            "refused": self.refused,
        }
        write_whole(self.folder / _FILE, json.dumps({"schema": _SCHEMA, "keys": self._keys, **parts}).encode())

    def save_best(self, content: bytes) -> None:
        """Keep the best so far for the user."""
        write_whole(self.folder / BEST, content)

    def discard(self) -> None:
        remove(self.folder)


def _read(file: Path) -> _Notes:
    """The notes in a file, with all values checked. Raises EdgetfError and ValueError."""
    kept = read_document(file, _Notes, _SCHEMA)
    if not all(0 <= one < _MOST_MS for one in kept.latencies.values()):
        raise ValueError("a latency is out of range")
    return kept


def fact_of_metric(metric: GivenMetric) -> tuple[str, str | None]:
    """The name of a metric and the digest of the file that it is in, where there is one."""
    with suppress(Exception):  # a function of a notebook has none
        file = inspect.getsourcefile(inspect.unwrap(load_metric(metric).function))
        return metric_name(metric), sha256_file(Path(file)) if file else None
    return metric_name(metric), None
