"""`edgetf.check`, `edgetf.gate` and `edgetf.choose`: judge results against budgets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgetf.api.given import names_of, one_of
from edgetf.api.places import Variant, places_of
from edgetf.api.results import Bench
from edgetf.api.verdicts import Checks, Choices
from edgetf.benchmarks.judging import choose as choosing
from edgetf.benchmarks.judging import gate as gates
from edgetf.benchmarks.judging.check import Checked, refuse_changed, select
from edgetf.benchmarks.judging.check import check as judge
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.defaults import OBJECTIVE
from edgetf.errors import EdgetfError
from edgetf.results import Benchmark

Place = str | os.PathLike[str]


def check(
    bench: Bench | Place,
    *,
    variant: str | Sequence[str] = (),
    max_drop: float | None = None,
    max_metric_drop: float | None = None,
    max_latency_ms: float | None = None,
    max_bytes: int | None = None,
    allow_changed: bool = False,
) -> Checks:
    """Judge a benchmark against budgets, as `edgetf check` does.

    Parameters
    ----------
    bench
        What `edgetf.benchmark` returned, or its folder.
    variant
        Names of variants; by default all.
    max_drop
        Points of accuracy that may be lost, 1 by default.
    max_metric_drop
        Loss that is allowed for a metric, in its own unit, 0.01 by default.
    max_latency_ms, max_bytes
        Limits for the median latency and the size of the file.
    allow_changed
        Judge what was measured, although a variant's file has changed since.

    Returns
    -------
    Checks
        By variant: `["int8"].verdict`, `.reason`, `.passed`. Each prints as a line with PASS, FAIL or NOT ENOUGH DATA
        and the reason. `exit_code` is the command's; `warnings`, which are printed too, are about budgets that nothing
        can miss.

    Raises
    ------
    EdgetfError
        If there is nothing to judge, or no variant of that name.

    Examples
    --------
    >>> print(edgetf.check(bench, max_drop=5.0)["int8"])
    PASS: accuracy drop +0.00 points [..., ...], budget 5
    """
    budgets = budgets_of(max_drop, max_metric_drop, max_latency_ms, max_bytes)
    checked: list[Checked] = []
    for document in documents_of(bench):
        checked += _check(select(document, names_of(variant)), budgets, max_drop is not None, allow_changed)
    return Checks(checked)


def gate(
    budget: Place,
    benches: Bench | Place | Sequence[Bench | Place],
    *,
    variants: Variant | Sequence[Variant] = (),
    junit: Place | None = None,
    summary: Place | None = None,
) -> Checks:
    """Judge benchmarks against the budgets in a file, as `edgetf gate` does.

    Parameters
    ----------
    budget
        A TOML file with the budgets.
    benches
        Benchmarks, or their folders.
    variants
        The `.tflite` files to release: each must have been measured and be unchanged since.
    junit, summary
        Files for the verdicts: JUnit XML, and Markdown (appended).

    Returns
    -------
    Checks
        By variant; with several models or devices, their names are included. `exit_code` is the command's.

    Raises
    ------
    EdgetfError
        If the file is not a valid budget file, or names a variant that was not measured.

    Examples
    --------
    >>> edgetf.gate("budget.toml", bench).passed
    True
    """
    several = [benches] if isinstance(benches, (Bench, str, os.PathLike)) else benches
    documents = [document for one in several for document in documents_of(one)]
    places = places_of(variants) if variants else ()
    checked = gates.judge_gate(gates.load_gate(Path(budget)), documents, places)
    gates.write_reports(checked, _path(junit), _path(summary))
    return Checks(checked)


def choose(
    bench: Bench | Place,
    *,
    objective: str = OBJECTIVE,
    max_drop: float | None = None,
    max_metric_drop: float | None = None,
    max_latency_ms: float | None = None,
    max_bytes: int | None = None,
    allow_changed: bool = False,
) -> Choices:
    """Choose the variant to ship, as `edgetf choose` does.

    Parameters
    ----------
    bench
        What `edgetf.benchmark` returned, or its folder.
    objective
        What to minimize: "latency", "size", "memory", or "both" (latency times bytes). On the command line: `--for`.
    max_drop, max_metric_drop, max_latency_ms, max_bytes, allow_changed
        As for `edgetf.check`.

    Returns
    -------
    Choices
        By device: `["local"].variant`, `.candidates`. It prints as the command's output.

    Raises
    ------
    EdgetfError
        If there is nothing to judge.

    Examples
    --------
    >>> edgetf.choose(bench, objective="size", max_drop=5.0)["local"].variant
    'int8'
    """
    budgets = budgets_of(max_drop, max_metric_drop, max_latency_ms, max_bytes)
    aim, found, judged = one_of(choosing.Objective, objective, "objective"), [], list[Checked]()
    for document in documents_of(bench):
        checked = _check(document, budgets, max_drop is not None, allow_changed)
        found += [(document, choice) for choice in choosing.rank(document, checked, aim, budgets)]
        judged += checked
    return Choices(found, gates.warnings_of(judged))


def _check(document: Benchmark, budgets: Budgets, explicit_drop: bool, allow_changed: bool) -> list[Checked]:
    checked = judge(document, budgets, explicit_drop)
    return checked if allow_changed else refuse_changed(document.results, checked)


def documents_of(bench: Bench | Place) -> list[Benchmark]:
    """The documents of a benchmark, one for each device."""
    return list((bench if isinstance(bench, Bench) else Bench.read(Path(bench))).documents.values())


def budgets_of(
    max_drop: float | None, max_metric_drop: float | None, max_latency_ms: float | None, max_bytes: int | None
) -> Budgets:
    limits = {"max_drop": max_drop, "max_metric_drop": max_metric_drop}
    for name, limit in (limits | {"max_latency_ms": max_latency_ms, "max_bytes": max_bytes}).items():
        if limit is not None and (not isinstance(limit, (int, float)) or not limit >= 0):  # also true for NaN
            raise EdgetfError(f"{name}={limit!r} is not a number of at least 0", "give one, or leave it out")
    budgets = Budgets(max_metric_drop=max_metric_drop, max_latency_ms=max_latency_ms, max_bytes=max_bytes)
    return budgets if max_drop is None else replace(budgets, max_drop=max_drop)


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place)
