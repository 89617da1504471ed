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
from edgetf.results import Accuracy, Benchmark, Parity, Result, Status, Verdict

try:
    from scipy import stats
except ModuleNotFoundError as error:
    raise MissingExtraError("scipy", "report") from error

# 1: first
_SCHEMA = 1
_PLACE = "EDGETF_HISTORY"
_ALPHA = 0.05
_DIRTY = "+"  # behind a commit that files differ from
_TEXTS = ("digest", "created", "commit", "name", "model", "variant", "device", "machine", "settings", "samples")
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
    """One variant on one device, as it was measured at `created` of `commit` (empty where there is no repository)."""

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
    result: Result


@dataclass(frozen=True)
class Change:
    """One figure of a variant of the model `name` on a device at two commits, and what is `told` of it.

    `low` to `high` is the 95 % interval of new over old for the latency, of new less old in points for the accuracy;
    `p` is that of "no difference". A change of these is told only where it is significant, by Holm's rule over all
    that is compared.
    """

    name: str
    variant: str
    device: str
    what: str
    old: float | None
    new: float | None
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
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--exclude=*", f"--dirty={_DIRTY}"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()


def name_of(document: Benchmark, variants: Path) -> str:
    """What a model is called over all its commits: where it, or else its `variants`, lie in their repository."""
    place = Path(document.reference.source.path) if document.reference else variants
    place = place.resolve()
    root = next((folder for folder in (place, *place.parents) if (folder / ".git").exists()), None)
    return str(place.relative_to(root)) if root else str(place)


def keep(document: Benchmark, commit: str, name: str, place: Path) -> int:
    """Add the results of `document` on the model `name` to the file at `place`; returns how many are new.

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
        told = json.dumps(files.to_plain(result))
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
            told,
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


def entries(place: Path, variant: str | None = None, device: str | None = None, name: str | None = None) -> list[Entry]:
    """All that is kept, oldest first, of one variant, device or model where they are named. Raises EdgetfError."""
    if not place.is_file():
        raise EdgetfError(
            f"there is no history at {place}", "edgetf benchmark begins one; or: edgetf history add BENCH"
        )
    with _open(place) as base:
        found = base.execute(
            'select digest, created, "commit", name, model, variant, device, machine, settings, samples, result'
            " from result"
            " where (?1 is null or variant = ?1) and (?2 is null or device = ?2) and (?3 is null or name = ?3)"
            " order by created, id",
            (variant, device, name),
        ).fetchall()
    try:
        return [
            Entry(**dict(zip(_TEXTS, row, strict=False)), result=files.from_plain(json.loads(row[-1]), Result))
            for row in found
        ]
    except Exception as error:  # whatever cattrs raises: another version's, or damaged
        raise EdgetfError(f"{place} holds results of another version", "name another file with --history") from error


def compare(known: Sequence[Entry], old: str, new: str) -> list[Change]:
    """What changed between two commits (or the beginnings of their names), for each variant of a model on each device.

    The latest benchmark of each commit counts. Raises EdgetfError for a commit that is not kept, or where nothing was
    measured in both with the same settings.
    """
    before, after = (_of(known, find_commit(commit, known)) for commit in (old, new))
    changes: list[Change] = []
    for key, one in before.items():
        if one.result.status == Status.OK:
            changes += _changes(one, after[key]) if key in after else [_run(one, "not measured now")]
    if not changes or not before.keys() & after.keys():
        hint = "the same model, variant, device, machine and settings must have been measured in both"
        raise EdgetfError(f"nothing can be compared between {old} and {new}", hint)
    return _by_holm(sorted(changes, key=lambda one: (one.name, one.device, one.variant, one.what)))


def find_commit(name: str, known: Sequence[Entry]) -> str:
    """The kept commit that `name` is, begins, or (in the current folder) is what git calls so. Raises EdgetfError."""
    names = list(dict.fromkeys(one.commit for one in known if one.commit))
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
    hint = nearest(name, names) if names else "nothing that is kept has a commit: name it with benchmark --commit"
    raise EdgetfError(f"no commit {name!r} in the history", hint)


def _ask_git(name: str) -> str:
    """The commit that git calls `name` in the current folder, or nothing."""
    command = ["git", "rev-parse", "--short=12", "--verify", "--quiet", f"{name}^{{commit}}"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()


def _of(known: Sequence[Entry], commit: str) -> dict[tuple[str, ...], Entry]:
    """The latest entry of each kind at `commit`, a failed one too."""
    chosen = [one for one in known if one.commit == commit]
    return {(one.name, one.variant, one.device, one.machine, one.settings): one for one in chosen}


def _run(one: Entry, told: str) -> Change:
    return Change(one.name, one.variant, one.device, "run", None, None, None, None, None, told)


def _changes(old: Entry, new: Entry) -> Iterator[Change]:
    if new.result.status != Status.OK:
        yield _run(new, "fails now")
        return
    common = (old.name, old.variant, old.device)
    sizes = old.result.bytes, new.result.bytes
    if sizes[0] is not None and sizes[1] is not None:
        told = "equal" if sizes[0] == sizes[1] else "larger" if sizes[1] > sizes[0] else "smaller"
        yield Change(*common, "bytes", *sizes, None, None, None, told)
    if old.result.latency_ms and new.result.latency_ms and not (old.result.emulated or new.result.emulated):
        yield _latency(common, old.result, new.result)
    if old.samples == new.samples and old.result.parity and new.result.parity:
        yield from _parity(common, old.result.parity, new.result.parity)


def _parity(common: tuple[str, str, str], old: Parity, new: Parity) -> Iterator[Change]:
    after = {output.name: output.accuracy for output in new.outputs}
    for output in old.outputs:
        if output.accuracy and (accuracy := after.get(output.name)):
            yield _accuracy(common, output.name, output.accuracy, accuracy)
    metrics = {metric.name: metric.variant for metric in new.metrics}
    for metric in old.metrics:
        if metric.name in metrics:
            told = "told without a test: the scores of samples are not kept"
            yield Change(*common, metric.name, metric.variant, metrics[metric.name], None, None, None, told)
    verdicts = old.verdict, new.verdict
    if verdicts[0] != verdicts[1]:
        worse = verdicts[1] is Verdict.FAIL or verdicts[0] is Verdict.PASS
        told = f"{'worse' if worse else 'better'}: {verdicts[0].value} became {verdicts[1].value}"
        yield Change(*common, "verdict", None, None, None, None, None, told)


def _latency(common: tuple[str, str, str], old: Result, new: Result) -> Change:
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


def _accuracy(common: tuple[str, str, str], output: str, old: Accuracy, new: Accuracy) -> Change:
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
                told = f"{place} has schema {version}, this edgetf reads {_SCHEMA}"
                raise EdgetfError(told, "upgrade edgetf, or name another file with --history")
            with base:
                base.execute(_TABLE)
                base.execute(f"pragma user_version = {_SCHEMA}")
                yield base
        finally:
            base.close()
    except (OSError, sqlite3.Error) as error:
        raise EdgetfError(f"cannot use the history {place}: {error}", "name another file with --history") from error
