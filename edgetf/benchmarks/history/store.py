"""The history file: every benchmark is stored. In: `benchmark.json`. Out: rows of an SQLite file.

A row is a variant on a device, with the commit of the repository of its file (or of the current folder), the complete
result as JSON, and columns for queries. `changes` compares entries. Lists and plots take `Row`s, which have the figures
of `glances` and not the results: these are hundreds of megabytes in a long history.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.benchmarks.history.glances import (
    FIGURES,
    Glance,
    add_glances,
    batches,
    fill,
    nice_of,
    prepare,
    read_glance,
    read_session,
    unreadable,
)
from edgetf.benchmarks.history.sessions import RECENT, Session
from edgetf.errors import EdgetfError, clean, nearest
from edgetf.limits import fault_of_text
from edgetf.process import HungError, ask
from edgetf.reading import parsing
from edgetf.results import Benchmark, Result

# 1: first
_SCHEMA = 1
_PLACE = "EDGETF_HISTORY"
_GIT_S = 10.0
_AT_ONCE = 4000  # rows in memory
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
            raise unreadable(self.variant, self.created) from error

    @cached_property
    def nice(self) -> int:
        """The priority that it ran with; 0 if that is not stored."""
        return nice_of(self.text)


@dataclass(frozen=True)
class Row:
    """What lists and plots show of an entry. Reading it does not read the result."""

    digest: str
    created: str
    commit: str
    name: str
    variant: str
    device: str
    glance: Glance


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
        delegate = " ".join(filter(None, (result.delegate_with_options, result.delegate_sha256)))
        settings = f"{result.runtime}, {delegate}, {result.threads} thread(s), CPUs {list(result.affinity)}"
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
        new = base.total_changes - before
        add_glances(base, [row[0] for row in base.execute("select id from result where digest = ?", (digest,))])
        return new


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
    where, values = _where(variant=variant, device=device, name=name)
    if commits is not None:
        where, values = f'{where} and "commit" in ({",".join("?" * len(commits))})', [*values, *commits]
    with _reading(place) as base:
        found = base.execute(
            f"select {_COLUMNS} from result where {where} order by created desc, id desc limit ?",
            (*values, -1 if last is None else last),
        ).fetchall()
    with parsing(place, *_BOUNDARY):
        return [_entry(row) for row in reversed(found)]


def each_entry(place: Path, variant: str | None = None, device: str | None = None) -> Iterator[Entry]:
    """All entries as `entries` returns them, one at a time: the results of a long history do not fit in memory."""
    where, values = _where(variant=variant, device=device)
    with _reading(place) as base:
        asked = base.execute(f"select id from result where {where} order by created, id", values)
        for keys in batches([key for (key,) in asked]):
            yield from _in_order(keys, _with_keys(base, place, keys))


def rows(
    place: Path,
    variant: str | None = None,
    device: str | None = None,
    name: str | None = None,
    last: int | None = None,
) -> Iterator[Row]:
    """The Row of each of `entries`, oldest first. Raises EdgetfError, also for a result of another version."""
    where, values = _where(variant=variant, device=device, name=name)
    columns = f'digest, created, "commit", name, variant, device, {FIGURES}, id'
    asked = f"select {columns} from result join glance using (id) where {where}"
    with _reading(place) as base:
        fill(base)
        if last is not None:
            found = base.execute(f"{asked} order by created desc, id desc limit ?", (*values, last))
            yield from _rows(place, found.fetchall()[::-1])
            return
        # page after page: a query that is still open would refuse all writers as long as a list is read in `less`
        some = base.execute(f"{asked} order by created, id limit {_AT_ONCE}", values).fetchall()
        while some:
            yield from _rows(place, some)
            after = (some[-1][1], some[-1][-1])
            page = f"{asked} and (created, id) > (?, ?) order by created, id limit {_AT_ONCE}"
            some = base.execute(page, (*values, *after)).fetchall()


def latest(place: Path, commits: Sequence[str], name: str | None = None) -> list[Entry]:
    """The entries of some `commits` that a comparison takes: the last one of each variant, with equal conditions.

    A commit may have been measured a thousand times. Raises EdgetfError.
    """
    where, values = _where(name=name)
    with _reading(place) as base:
        fill(base)
        asked = base.execute(
            'select result.id, "commit", name, variant, device, machine, settings, nice from result'
            f' join glance using (id) where {where} and "commit" in ({",".join("?" * len(commits))})'
            " order by created, id",
            (*values, *commits),
        )
        last: dict[tuple[Any, ...], int] = {}
        for key, *conditions in asked:
            last[tuple(conditions)] = key
        return [one for keys in batches([*last.values()]) for one in _in_order(keys, _with_keys(base, place, keys))]


@contextmanager
def reading_sessions(place: Path, commits: Sequence[str]) -> Iterator[Callable[[Entry], list[Session]]]:
    """A function that returns the Sessions with the conditions of an entry: those at the `commits`, and the last ones.

    Raises EdgetfError.
    """
    conditions = "name, variant, device, machine, settings, nice"
    asked = f'select result.id, "commit", file, median, {conditions} from result join glance using (id) where steady'
    recent = " and ".join(f"{one} = ?" for one in conditions.split(", "))
    with _reading(place) as base:
        fill(base)
        at: dict[tuple[Any, ...], dict[int, Sequence[Any]]] = {}
        for row in base.execute(f'{asked} and "commit" in ({",".join("?" * len(commits))})', tuple(commits)):
            at.setdefault(row[4:], {})[row[0]] = row[1:4]

        def find(one: Entry) -> list[Session]:
            own = (one.name, one.variant, one.device, one.machine, one.settings, one.nice)
            last = base.execute(f"{asked} and {recent} order by created desc limit {RECENT}", own)
            found = at.get(own, {}) | {row[0]: row[1:4] for row in last}
            with parsing(place, *_BOUNDARY):
                return [read_session(_cleaned(commit), file, median) for commit, file, median in found.values()]

        yield find


_COLUMNS = 'digest, created, "commit", name, model, variant, device, machine, settings, samples, result'
_BOUNDARY = ("a history of edgetf", "name another file with --history")


def _where(**wanted: str | None) -> tuple[str, list[str]]:
    """The condition that columns have the values that are given, and these values."""
    given = {column: value for column, value in wanted.items() if value is not None}
    return " and ".join([f"{column} = ?" for column in given] or ["true"]), [*given.values()]


def _with_keys(base: sqlite3.Connection, place: Path, keys: Sequence[int]) -> dict[int, Entry]:
    asked = f"select id, {_COLUMNS} from result where id in ({','.join('?' * len(keys))})"
    found = base.execute(asked, keys).fetchall()
    with parsing(place, *_BOUNDARY):
        return {key: _entry(row) for key, *row in found}


def _entry(row: Sequence[Any]) -> Entry:
    """The Entry of a row, whose values must be strings."""
    digest, created, commit, name, model, variant, device, machine, settings, samples = map(_cleaned, row[:-1])
    text = str(row[-1])
    return Entry(digest, created, commit, name, model, variant, device, machine, settings, samples, text)


def _rows(place: Path, found: Sequence[Sequence[Any]]) -> list[Row]:
    made = []
    with parsing(place, *_BOUNDARY):
        for values in found:
            digest, created, commit, name, variant, device = map(_cleaned, values[:6])
            if (glance := read_glance(values[6:-1])) is None:
                raise unreadable(variant, created)
            made.append(Row(digest, created, commit, name, variant, device, glance))
    return made


@lru_cache(maxsize=1024)  # most texts are those of the row before
def _cleaned(text: Any) -> str:
    if not isinstance(text, str) or fault_of_text(text, is_file=False):
        raise ValueError("a row has values of other types")
    return clean(text)


def count(place: Path, variant: str | None = None, device: str | None = None) -> int:
    """The number of entries."""
    where, values = _where(variant=variant, device=device)
    with _reading(place) as base:
        return int(base.execute(f"select count(*) from result where {where}", values).fetchone()[0])


def commits_of(place: Path, name: str | None = None) -> list[str]:
    """The stored commits, optionally of one model, oldest first."""
    where, values = _where(name=name)
    with _reading(place) as base:
        asked = f'select "commit" from result where {where} group by "commit" order by min(created)'
        return [row[0] for row in base.execute(asked, values).fetchall() if row[0]]


def _in_order(keys: Sequence[int], found: Mapping[int, Entry]) -> list[Entry]:
    return [found[key] for key in keys if key in found]


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
                if version != _SCHEMA:
                    base.execute(_TABLE)
                    base.execute(f"pragma user_version = {_SCHEMA}")
                prepare(base)
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
