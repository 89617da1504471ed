"""Every benchmark is kept: `benchmark.json` in, rows of an SQLite file out; and what changed between two commits.

One row is one variant on one device, with the commit of the repository that its file (or the current folder) lies in,
and the whole result as JSON beside the columns that one asks by. Times are compared by the medians of their blocks,
each a process of its own; accuracies by the samples that were right. A change is told only with its significance.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgetf import files
from edgetf.errors import EdgetfError, MissingExtraError, nearest
from edgetf.results import Accuracy, Benchmark, Result, Status

try:
    from scipy import stats
except ModuleNotFoundError as error:
    raise MissingExtraError("scipy", "report") from error

# 1: first
_SCHEMA = 1
_PLACE = "EDGETF_HISTORY"
_ALPHA = 0.05
_TEXTS = ("digest", "created", "commit", "model", "variant", "device", "machine", "settings", "samples")
_TABLE = """
create table if not exists result (
    id integer primary key,
    digest text not null,        -- of the benchmark that it is from
    created text not null,       -- UTC, ISO 8601
    "commit" text not null,      -- empty where there is no repository
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
    """One variant on one device, as it was measured at `created` of `commit` (empty where there is no repository)."""

    digest: str
    created: str
    commit: str
    model: str
    variant: str
    device: str
    machine: str
    settings: str
    samples: str
    result: Result


@dataclass(frozen=True)
class Change:
    """One figure of a variant on a device at two commits. `p` is that of "no difference"; None: nothing to test with.

    `ratio_low` to `ratio_high` is the 95 % interval of new over old for the latency, of new less old in points for the
    accuracy. `worse` and `better` are told only where it is significant, by Holm's rule over all that is compared.
    """

    variant: str
    device: str
    what: str
    old: float
    new: float
    low: float | None
    high: float | None
    p: float | None
    told: str


def default_place() -> Path:
    """`EDGETF_HISTORY`, else the user's data folder."""
    if given := os.environ.get(_PLACE):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "edgetf" / "history.sqlite"


def commit_of(place: Path) -> str:
    """The commit of the repository that `place` lies in, marked where files differ from it; empty without one."""
    folder = place if place.is_dir() else place.parent
    try:
        told = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()


def keep(document: Benchmark, commit: str, place: Path) -> int:
    """Add the results of `document` to the file at `place`; returns how many are new. Raises EdgetfError."""
    plain = files.to_text(document).encode()
    digest = hashlib.sha256(plain).hexdigest()
    model = document.reference.source.digest if document.reference else ""
    rows = []
    for result in document.results:
        settings = f"{result.runtime}, {result.delegate}, {result.threads} thread(s), CPUs {list(result.affinity)}"
        machine = document.machine.get("model") or document.machine.get("cpu", "")
        samples = document.samples.digest if document.samples else ""
        told = json.dumps(files.to_plain(result))
        of = model or result.sha256 or ""
        row = (digest, document.created, commit, of, result.variant, result.device, machine, settings, samples, told)
        rows.append(row)
    with _open(place) as base:
        before = base.total_changes
        base.executemany(
            'insert or ignore into result (digest, created, "commit", model, variant, device, machine, settings,'
            " samples, result) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        return base.total_changes - before


def entries(place: Path, variant: str | None = None, device: str | None = None) -> list[Entry]:
    """All that is kept, oldest first, of one variant or device where they are named. Raises EdgetfError."""
    if not place.is_file():
        raise EdgetfError(
            f"there is no history at {place}", "edgetf benchmark begins one; or: edgetf history add BENCH"
        )
    with _open(place) as base:
        found = base.execute(
            'select digest, created, "commit", model, variant, device, machine, settings, samples, result from result'
            " where (?1 is null or variant = ?1) and (?2 is null or device = ?2) order by created, id",
            (variant, device),
        ).fetchall()
    texts = (dict(zip(_TEXTS, row, strict=False)) for row in found)
    return [
        Entry(**text, result=files.from_plain(json.loads(row[-1]), Result))
        for text, row in zip(texts, found, strict=True)
    ]


def compare(known: Sequence[Entry], old: str, new: str) -> list[Change]:
    """What changed between two commits (or the beginnings of their names), for each variant on each device.

    The latest benchmark of each commit counts. Raises EdgetfError for a commit that is not kept, or where nothing was
    measured in both with the same settings.
    """
    before, after = (_of(known, commit) for commit in (old, new))
    changes: list[Change] = []
    for key in before.keys() & after.keys():
        changes += _changes(before[key], after[key])
    if not changes:
        hint = "the same variant, device, machine and settings must have been measured in both"
        raise EdgetfError(f"nothing can be compared between {old} and {new}", hint)
    return _by_holm(sorted(changes, key=lambda one: (one.device, one.variant, one.what)))


def resolve(name: str, known: Sequence[Entry]) -> str:
    """The commit that git calls `name` in the current folder, where the history has none that begins so."""
    if any(one.commit.startswith(name) for one in known):
        return name
    try:
        told = subprocess.run(
            ["git", "rev-parse", "--short=12", "--verify", "--quiet", f"{name}^{{commit}}"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return name
    return told.stdout.strip()


def _of(known: Sequence[Entry], commit: str) -> dict[tuple[str, ...], Entry]:
    chosen = [one for one in known if one.commit and one.commit.startswith(commit)]
    names = {one.commit for one in chosen}
    if len(names) != 1:
        all_ = list(dict.fromkeys(one.commit for one in known if one.commit))
        problem = f"there are {len(names)} commits that begin with {commit!r}" if names else f"no commit {commit!r}"
        raise EdgetfError(f"{problem} in the history", nearest(commit, all_))
    return {
        (one.variant, one.device, one.machine, one.settings): one for one in chosen if one.result.status == Status.OK
    }


def _changes(old: Entry, new: Entry) -> Iterator[Change]:
    common = (old.variant, old.device)
    if old.result.latency_ms and new.result.latency_ms and not (old.result.emulated or new.result.emulated):
        yield _latency(common, old.result, new.result)
    for before in old.result.parity.outputs if old.result.parity else ():
        for after in new.result.parity.outputs if new.result.parity else ():
            if before.name == after.name and before.accuracy and after.accuracy and old.samples == new.samples:
                yield _accuracy(common, before.name, before.accuracy, after.accuracy)
    if old.result.bytes is not None and new.result.bytes is not None:
        yield Change(
            *common, "bytes", old.result.bytes, new.result.bytes, None, None, None, _sign(old.result, new.result)
        )


def _sign(old: Result, new: Result) -> str:
    assert old.bytes is not None
    assert new.bytes is not None
    return "equal" if old.bytes == new.bytes else "larger" if new.bytes > old.bytes else "smaller"


def _latency(common: tuple[str, str], old: Result, new: Result) -> Change:
    """Welch's t-test of the logarithms of the block medians: a ratio, with what differs between processes in it."""
    assert old.latency_ms is not None
    assert new.latency_ms is not None
    one, other = (np.log([block.median_ms for block in result.blocks]) for result in (old, new))
    medians = old.latency_ms.median, new.latency_ms.median
    if min(len(one), len(other)) < 2 or old.stable is False or new.stable is False:
        why = "not told: too few blocks" if min(len(one), len(other)) < 2 else "not told: a timing was not stable"
        return Change(*common, "median ms", *medians, None, None, None, why)
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        return Change(*common, "median ms", *medians, None, None, None, "not told: all blocks are equal")
    test = stats.ttest_ind(other, one, equal_var=False)
    interval = test.confidence_interval(1 - _ALPHA)
    low, high = float(np.exp(interval.low)), float(np.exp(interval.high))
    return Change(*common, "median ms", *medians, low, high, float(test.pvalue), "slower" if low > 1 else "faster")


def _accuracy(common: tuple[str, str], output: str, old: Accuracy, new: Accuracy) -> Change:
    """Fisher's exact test of right and wrong; the pairs are not kept, so that a real change may be missed."""
    right = [round(one.variant * one.n) for one in (old, new)]
    counts = [[right[0], old.n - right[0]], [right[1], new.n - right[1]]]
    p = float(stats.fisher_exact(counts).pvalue)
    low, high = _newcombe(right[1], new.n, right[0], old.n)
    told = "less accurate" if new.variant < old.variant else "more accurate"
    return Change(*common, f"accuracy of {output}, %", 100 * old.variant, 100 * new.variant, low, high, p, told)


def _newcombe(a: int, n: int, b: int, m: int) -> tuple[float, float]:
    """Interval of a/n - b/m in points (Newcombe 1998, Statistics in Medicine 17:873, method 10)."""
    one, other = (stats.binomtest(k, total).proportion_ci(1 - _ALPHA, method="wilson") for k, total in ((a, n), (b, m)))
    p, q = a / n, b / m
    low = p - q - np.hypot(p - one.low, other.high - q)
    high = p - q + np.hypot(one.high - p, q - other.low)
    return 100 * float(low), 100 * float(high)


def _by_holm(changes: list[Change]) -> list[Change]:
    """Only what is significant among all is told (Holm 1979, Scandinavian Journal of Statistics 6:65)."""
    order = sorted((k for k, one in enumerate(changes) if one.p is not None), key=lambda k: changes[k].p or 0.0)
    told, open_ = list(changes), len(order)
    for rank, k in enumerate(order):
        if (changes[k].p or 0.0) > _ALPHA / (open_ - rank):
            for rest in order[rank:]:
                told[rest] = replace(changes[rest], told="no change that is significant")
            break
    return told


@contextmanager
def _open(place: Path) -> Iterator[sqlite3.Connection]:
    """The file, made where it is not there; what was written is kept whole or not at all."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(place, timeout=30)
        try:
            version = base.execute("pragma user_version").fetchone()[0]
            if version not in (0, _SCHEMA):
                raise EdgetfError(f"{place} has schema {version}, this edgetf reads {_SCHEMA}", "upgrade edgetf")
            with base:
                base.execute(_TABLE)
                base.execute(f"pragma user_version = {_SCHEMA}")
                yield base
        finally:
            base.close()
    except (OSError, sqlite3.Error) as error:
        raise EdgetfError(f"cannot use the history {place}: {error}", "name another file with --history") from error
