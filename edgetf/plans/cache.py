"""`edgetf.cache`: what `edgetf.run` keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgetf.console.printing import escape, print_lines, print_table, to_html, to_text
from edgetf.errors import EdgetfError
from edgetf.plans.store import Kept, kept, remove, store_home
from edgetf.units import human_bytes

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Cached:
    """The results in the `folder` of the store, the last used first; those in `removed` are no longer there, and
    `others` is the number of those that were used too lately to be asked for."""

    folder: Path
    kept: tuple[Kept, ...]
    removed: tuple[Kept, ...]
    others: int = 0

    def __str__(self) -> str:
        return to_text(self.show)

    def _repr_html_(self) -> str:
        return to_html(self.show)

    def show(self) -> None:
        if self.removed:
            print_lines(f"Removed: {_sum(self.removed)}.")
        if not self.kept:
            aged = "of that age " if self.others else ""
            print_lines(f"There are no results {aged}in {escape(str(self.folder))}.")
            return
        rows = [
            [one.verb.value, one.place.name, human_bytes(one.bytes), _age(one.age_s), "yes" if one.in_use else ""]
            for one in self.kept
        ]
        print_table(f"Results in {escape(str(self.folder))}", ["step", "key", "size", "last used", "in use"], rows)
        print_lines(f"{_sum(self.kept)}.")


def cache(*, clean: bool = False, older_than: float | None = None) -> Cached:
    """List the results that `edgetf.run` keeps and takes again, or remove them, as `edgetf cache` does.

    Parameters
    ----------
    clean
        Remove the results, except for one that a run makes at the moment.
    older_than
        Only results that no run has used for this number of days.

    Returns
    -------
    Cached
        `kept` and `removed`: each with its `verb`, `place`, `bytes` and `age_s`.

    Raises
    ------
    EdgetfError
        If a result cannot be removed.

    Examples
    --------
    >>> edgetf.cache(clean=True).kept
    ()
    """
    if older_than is not None and not older_than >= 0:
        raise EdgetfError(f"older_than={older_than!r} is not a number of days", "give one, or leave it out")
    every = kept()
    found = [one for one in every if one.age_s >= (older_than or 0.0) * _DAY_S]
    removed = tuple(one for one in found if remove(one.place)) if clean else ()
    places = {one.place for one in removed}
    left = tuple(one for one in found if one.place not in places)
    return Cached(store_home(), left, removed, len(every) - len(found))


def _sum(results: tuple[Kept, ...]) -> str:
    count = len(results)
    return f"{count} result{'s' * (count != 1)}, {human_bytes(sum(one.bytes for one in results))}"


def _age(seconds: float) -> str:
    if seconds < _DAY_S:
        return "today"
    days = int(seconds / _DAY_S)
    return f"{days} day{'s' * (days > 1)} ago"
