"""`edgetf.history`: earlier results, stored in an SQLite file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetf.api.given import one_of
from edgetf.api.judge import documents_of
from edgetf.api.results import Bench
from edgetf.benchmarks.history.changes import Change, ChangeKind
from edgetf.benchmarks.history.changes import compare as run
from edgetf.benchmarks.history.store import (
    Entry,
    Row,
    add_results,
    choose_commit,
    commit_of,
    commits_of,
    default_place,
    latest,
    name_of,
    reading_sessions,
    rows,
)
from edgetf.benchmarks.history.store import entries as read
from edgetf.benchmarks.history.trend import draw_trend
from edgetf.defaults import DEVICE
from edgetf.files import refuse_output, write_whole

Place = str | os.PathLike[str]


@dataclass(frozen=True)
class History:
    """The results in the file at `path`."""

    path: Path

    def entries(
        self,
        *,
        variant: str | None = None,
        device: str | None = None,
        model: str | None = None,
        last: int | None = None,
    ) -> list[Entry]:
        """All results or the `last` ones, optionally of one variant, device or model; the oldest first."""
        return read(self.path, variant, device, model, last=last)

    def compare(self, old: str, new: str, *, model: str | None = None, allow: Sequence[str] = ()) -> list[Change]:
        """The changes between two commits, for each variant on each device.

        `allow` names kinds of changes that are not a failure: "gone", "parity", "samples", "runtime", "latency".
        Raises EdgetfError for an unknown commit, and if nothing can be compared.
        """
        names = commits_of(self.path, model)
        before, after = (choose_commit(one, names) for one in (old, new))
        known = latest(self.path, (before, after), model)
        kinds = {one_of(ChangeKind, one, "allow") for one in allow}
        with reading_sessions(self.path, (before, after)) as sessions_of:
            return run(known, before, after, kinds, sessions_of)

    def add(self, bench: Bench | Place, *, commit: str | None = None) -> int:
        """Add a benchmark that was made elsewhere; returns the number of new results."""
        place = bench.folder if isinstance(bench, Bench) else Path(bench)
        named = commit if commit is not None else commit_of(place)
        return sum(add_results(doc, named, name_of(doc, place), self.path) for doc in documents_of(bench))

    def trend(
        self,
        out: Place,
        *,
        device: str = DEVICE,
        model: str | None = None,
        variant: str | None = None,
        force: bool = False,
    ) -> Path:
        """Plot latency and accuracy drop over time to the SVG file `out`. Raises EdgetfError if the file exists.

        If there are more variants than a plot has colours and dashes for, those whose results are the oldest are left
        out; the plot says how many.
        """
        draw(rows(self.path, variant, device, model), device, Path(out), force)
        return Path(out)


def history(path: Place | None = None) -> History:
    """The history of benchmarks, which `edgetf history` shows.

    Parameters
    ----------
    path
        The SQLite file; by default `$EDGETF_HISTORY`, or the user's.

    Returns
    -------
    History
        With `entries`, `compare`, `add` and `trend`.

    Examples
    --------
    >>> edgetf.history().compare("v1.0", "HEAD")  # doctest: +SKIP
    """
    return History(default_place() if path is None else Path(path))


def draw(found: Iterable[Row], device: str, out: Path, force: bool) -> tuple[str, ...]:
    """Plot `found` to the SVG file `out`; returns the variants that it leaves out. Raises EdgetfError."""
    refuse_output(out, force)
    trend = draw_trend(found, device)
    write_whole(out, trend.svg.encode())
    return trend.left_out
