"""The history file: every benchmark is stored. In: `benchmark.json`. Out: rows of an SQLite file.

A row is a variant on a device, with the commit of the repository of its file (or of the current folder), the complete
result as JSON, and columns for queries. `changes` compares entries.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.errors import EdgetfError, clean, nearest
from edgetf.limits import fault_of_text, find_fault
from edgetf.process import HungError, ask
from edgetf.reading import parsing
from edgetf.results import Benchmark, Result, Verdict

# 1: first
_SCHEMA = 1
_PLACE = "EDGETF_HISTORY"
_GIT_S = 10.0
_DIRTY = "+"  # appended to a commit if files differ from it
_TABLE = """
create table if not exists result (
    id integer primary key,
    digest text not null,        -- of the benchmark that it is from
    created text not null,       -- UTC, ISO 8601
    "commit" text not null,      -- empty where there is no repository
    name text not null,          -- of the model, the same for all its commits: where it lies in the repository
    model text not null,         -- SHA-256 of the SavedModel where it is known, else of the file
    variant text not null,
    device text not null,
    machine text not null,       -- what the device calls itself
    settings text not null,      -- runtime, delegate, threads: only equal ones are compared
    samples text not null,       -- SHA-256 of the samples, empty without any
    result text not null,        -- the Result as JSON
    unique (digest, variant, device)
)
"""


@dataclass(frozen=True)
class Entry:
    """One variant on one device, measured at the time `created` at `commit` (empty without a repository).

    `text` is its Result as JSON, which is only parsed when needed.
    """

    digest: str
    created: str
    commit: str
    name: str
    model: str
    variant: str
    device: str
    machine: str
    settings: str
    samples: str
    text: str

    @cached_property
    def result(self) -> Result:
        """The complete result. Raises EdgetfError for a result of another version of edgetf."""
        try:
            return files.read_plain(json.loads(self.text), Result)
        except Exception as error:  # cattrs can raise any exception
            raise self._unreadable() from error

    @cached_property
    def nice(self) -> int:
        """The priority that it ran with; 0 if that is not stored."""
        try:
            return int(json.loads(self.text)["nice"])
        except Exception:  # a text that is not a Result is an error only if it is compared
            return 0

    @cached_property
    def glance(self) -> Glance:
        """The figures for lists and plots, twenty times as fast. Raises EdgetfError as `result` does."""
        try:
            plain = json.loads(self.text)
            times, parity = plain["latency_ms"], plain["parity"]
            outputs = parity["outputs"] if parity else []
            drop = next((found for output in outputs if (found := output["accuracy"])), None)
            glance = Glance(
                (float(times["median"]), float(times["low"]), float(times["high"])) if times else None,
                (float(drop["drop_points"]), float(drop["low"]), float(drop["high"])) if drop else None,
                Verdict(parity["verdict"]) if parity else None,
            )
            if fault := find_fault(glance):
                raise ValueError(fault)
            return glance
        except Exception as error:  # a text that is not a Result can raise any exception
            raise self._unreadable() from error

    def _unreadable(self) -> EdgetfError:
        message = f"the history holds a result of another version: {self.variant}, {self.created}"
        return EdgetfError(message, "name another file with --history")


@dataclass(frozen=True)
class Glance:
    """Median in ms and accuracy drop in points, each with its interval, and the verdict; None if missing."""

    latency_ms: tuple[float, float, float] | None
    drop_points: tuple[float, float, float] | None
    verdict: Verdict | None


def default_place() -> Path:
    """`EDGETF_HISTORY`, or the file in the user's data folder."""
    if given := os.environ.get(_PLACE):
        return Path(given)
    try:
        data = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
    except RuntimeError as error:
        raise EdgetfError("there is no home folder for the history", f"set {_PLACE} to a file, or HOME") from error
    return data / "edgetf" / "history.sqlite"


def commit_of(place: Path) -> str:
    """The commit of the repository of `place`, marked if files differ from it; empty without a repository."""
    folder = place if place.is_dir() else place.parent
    return _git("-C", str(folder), "describe", "--always", "--abbrev=12", "--exclude=*", f"--dirty={_DIRTY}")


def name_of(document: Benchmark, variants: Path) -> str:
    """The name of a model for all its commits: the path of it, or else of its `variants`, in the repository."""
    place = Path(document.reference.source.path) if document.reference else variants
    place = place.resolve()
    root = next((folder for folder in (place, *place.parents) if (folder / ".git").exists()), None)
    return str(place.relative_to(root)) if root else str(place)


def add_results(document: Benchmark, commit: str, name: str, place: Path) -> int:
    """Add the results of `document` on the model `name` to the file at `place`; returns the number of new ones.

    Raises EdgetfError for a file that cannot be used.
    """
    plain = files.to_text(document).encode()
    digest = hashlib.sha256(plain).hexdigest()
    model = document.reference.source.digest if document.reference else ""
    rows = []
    for result in document.results:
        settings = f"{result.runtime}, {result.delegate}, {result.threads} thread(s), CPUs {list(result.affinity)}"
        machine = document.machine.get("model") or document.machine.get("cpu", "")
        samples = document.samples.digest if document.samples else ""
        text = json.dumps(files.to_plain(result))
        of = model or result.sha256 or ""
        row = (
            digest,
            document.created,
            commit,
            name,
            of,
            result.variant,
            result.device,
            machine,
            settings,
            samples,
            text,
        )
        rows.append(row)
    with _open(place) as base:
        before = base.total_changes
        base.executemany(
            'insert or ignore into result (digest, created, "commit", name, model, variant, device, machine, settings,'
            " samples, result) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        return base.total_changes - before


def entries(
    place: Path,
    variant: str | None = None,
    device: str | None = None,
    name: str | None = None,
    commits: Sequence[str] | None = None,
    last: int | None = None,
) -> list[Entry]:
    """The entries, oldest first, optionally of one variant, device or model, or of some `commits`, or only the `last`
    ones. Raises EdgetfError."""
    marks = ",".join("?" * len(commits or ()))
    chosen = f' and "commit" in ({marks})' if commits is not None else ""
    with _reading(place) as base:
        found = base.execute(
            'select digest, created, "commit", name, model, variant, device, machine, settings, samples, result'
            " from result where (? is null or variant = ?) and (? is null or device = ?) and (? is null or name = ?)"
            f"{chosen} order by created desc, id desc limit ?",
            (*(one for one in (variant, device, name) for _ in "12"), *(commits or ()), -1 if last is None else last),
        ).fetchall()
    with parsing(place, "a history of edgetf", "name another file with --history"):
        return [_entry(row) for row in reversed(found)]


def _entry(row: Sequence[Any]) -> Entry:
    """The Entry of a row, whose values must be strings."""
    *texts, result = row
    if not all(isinstance(text, str) and not fault_of_text(text, is_file=False) for text in texts):
        raise ValueError("a row has values of other types")
    return Entry(*[clean(text) for text in texts] + [str(result)])


def count(place: Path, variant: str | None = None, device: str | None = None) -> int:
    """The number of entries."""
    with _reading(place) as base:
        asked = "select count(*) from result where (?1 is null or variant = ?1) and (?2 is null or device = ?2)"
        return int(base.execute(asked, (variant, device)).fetchone()[0])


def commits_of(place: Path, name: str | None = None) -> list[str]:
    """The stored commits, optionally of one model, oldest first."""
    with _reading(place) as base:
        asked = 'select "commit" from result where (?1 is null or name = ?1) group by "commit" order by min(created)'
        return [row[0] for row in base.execute(asked, (name,)).fetchall() if row[0]]


@contextmanager
def _reading(place: Path) -> Iterator[sqlite3.Connection]:
    if not place.is_file():
        hint = "edgetf benchmark creates it; or: edgetf history add BENCH"
        raise EdgetfError(f"there is no history at {place}", hint)
    with _open(place) as base:
        yield base


def find_commit(name: str, known: Iterable[Entry]) -> str:
    """`choose_commit` among the commits of the entries."""
    return choose_commit(name, list(dict.fromkeys(one.commit for one in known if one.commit)))


def choose_commit(name: str, names: Sequence[str]) -> str:
    """The stored commit with this name or prefix, or of this git reference here. Raises EdgetfError."""
    for wanted in (name, _ask_git(name)):
        if wanted in names:
            return wanted
        found = [one for one in names if wanted and (one.startswith(wanted) or wanted.startswith(one))]
        clean = [one for one in found if not one.endswith(_DIRTY)]
        if len(clean or found) == 1:
            return (clean or found)[0]
        if found:
            several = clean or found
            problem = f"there are {len(several)} commits that begin with {name!r}"
            raise EdgetfError(problem, f"give more of: {', '.join(several)}")
    hint = nearest(name, names) if names else "no entry has a commit: name it with benchmark --commit"
    raise EdgetfError(f"no commit {name!r} in the history", hint)


def _ask_git(name: str) -> str:
    """The commit of the git reference `name` in the current folder, or an empty string."""
    return _git("rev-parse", "--short=12", "--verify", "--quiet", f"{name}^{{commit}}")


def _git(*arguments: str) -> str:
    """What git printed, in one line; an empty string if it failed, or did not end."""
    try:
        answered = ask(["git", *arguments], seconds=_GIT_S)
    except (OSError, ValueError, HungError):  # ValueError: a name that no command line can contain
        return ""
    return "" if answered.code else clean(answered.stdout.strip())


@contextmanager
def _open(place: Path) -> Iterator[sqlite3.Connection]:
    """Open the file, or create it; changes are committed completely or not at all."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(place, timeout=30)
        try:
            version = base.execute("pragma user_version").fetchone()[0]
            if version not in (0, _SCHEMA):
                message = f"{place} has schema {version}, this edgetf reads {_SCHEMA}"
                raise EdgetfError(message, "upgrade edgetf, or name another file with --history")
            with base:
                base.execute(_TABLE)
                base.execute(f"pragma user_version = {_SCHEMA}")
                yield base
        finally:
            base.close()
    except (
        OSError,
        sqlite3.Error,
        OverflowError,
        UnicodeError,
    ) as error:  # also for invalid text and numbers of many digits
        raise EdgetfError(f"cannot use the history {place}: {error}", "name another file with --history") from error
