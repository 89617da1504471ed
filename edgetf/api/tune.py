"""`edgetf.tune`: the mixture of variants with the fewest bytes, or the least latency, that is proven."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetf.api.cache import facts, folder_for
from edgetf.api.given import names_of, one_of
from edgetf.api.judge import budgets_of
from edgetf.api.reference import reference as make_reference
from edgetf.api.results import PinnedReference, Variants
from edgetf.api.samples import inputs_of_results, source_of_samples
from edgetf.api.verdicts import Tuned
from edgetf.benchmarks.benchmark import BenchmarkOptions
from edgetf.benchmarks.judging.own_metric import GivenMetric, metric_name
from edgetf.console.progress import progress
from edgetf.conversion.contract import RuntimeVersion, find_target, is_runtime
from edgetf.device.devices import find_device, find_settings
from edgetf.device.probe import runtime_of
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.files import sha256_file
from edgetf.recipes import Aim
from edgetf.results import LabelUse, read_reference
from edgetf.tuning.evaluate import Criteria
from edgetf.tuning.options import EVALUATIONS, TuneOptions
from edgetf.tuning.tune import tune as run

Place = str | os.PathLike[str]


def tune(
    variants: Variants | Place,
    reference: PinnedReference | Place,
    out: Place | None = None,
    *,
    samples: Any = None,
    objective: str = "size",
    max_drop: float | None = None,
    metric: GivenMetric | Sequence[GivenMetric] = (),
    metric_less_is_better: bool = False,
    max_metric_drop: float | None = None,
    max_bytes: int | None = None,
    max_latency_ms: float | None = None,
    device: str = "local",
    devices: Place | None = None,
    runtime: str | None = None,
    evaluations: int = EVALUATIONS,
    keep_float: str | Sequence[str] = (),
    verdict: Any = None,
    no_wait: bool = False,
    force: bool = False,
    on_event: OnEvent | None = None,
) -> Tuned:
    """Mix the schemes of a conversion into the best file that is proven, as `edgetf tune` does.

    Parameters
    ----------
    variants
        What `edgetf.convert` returned, or its folder.
    reference
        What `edgetf.reference` returned, or its folder. Half of its samples are for the search, half for the proof.
    out
        The folder for the results; by default one in the user's cache.
    samples
        Samples to rank operations on, without labels; by default those that the variants were calibrated on.
    objective
        What is to be least: "size" or "latency". (`--for` on the command line.)
    max_drop, max_metric_drop, max_bytes, max_latency_ms
        As for `edgetf.check`.
    metric, metric_less_is_better
        As for `edgetf.benchmark`.
    device, devices
        Where latency is measured and the winner is proven; the file that names devices.
    runtime
        What must load the result: "tflite-runtime==2.14", or the name of a device.
    evaluations
        How many candidates are evaluated on the samples of the search, at most.
    keep_float
        Names of Keras layers, or patterns of them, that stay in float: as in the float16 variant if there is one, else
        in float32.
    verdict
        Samples to prove the winner on, or a reference of such; by default half of those of `reference`.
    no_wait, force, on_event
        As for `edgetf.benchmark`.

    Returns
    -------
    Tuned
        `["tuned"].path` is the file; `document` is `tuning.json`, with every candidate. `exit_code` is the command's.

    Raises
    ------
    EdgetfError
        When nothing can be tuned: no float32 variant, samples that do not fit, too few of them.

    Examples
    --------
    >>> tuned = edgetf.tune(variants, reference, "tuned", samples=x_train, max_drop=5.0)
    >>> tuned.document.verdict
    <Verdict.PASS: 'pass'>
    """
    aim = one_of(Aim, objective, "objective")
    if metric_less_is_better and not metric:
        raise EdgetfError("metric_less_is_better is for a metric", "give one, or leave it out")
    if max_metric_drop is not None and not metric:
        raise EdgetfError("max_metric_drop is for a metric", "give one, or leave it out")
    if evaluations < 1:
        raise EdgetfError(f"evaluations={evaluations} are too few", "give at least 1")
    budgets = budgets_of(max_drop, max_metric_drop, None, None)
    budgets_of(None, None, max_latency_ms, max_bytes)  # refuses what is not a number
    place = variants.folder if isinstance(variants, Variants) else Path(variants)
    pinned = reference.folder if isinstance(reference, PinnedReference) else Path(reference)
    if max_drop is not None and not metric and not _has_classes(pinned):
        hint = "make a reference with labels; or leave max_drop out: decisions are then compared with the reference's"
        raise EdgetfError("max_drop is for labels of classes: the reference has no labels that fit", hint)
    settings = find_settings(device, None if devices is None else Path(devices))
    target = _target(runtime, device, None if devices is None else Path(devices))
    measuring = BenchmarkOptions(
        runtime=target.runtime if target else settings.runtime,
        delegate=settings.delegate,
        delegate_options=settings.delegate_options,
        threads=settings.threads,
        wait=not no_wait,
    )
    options = TuneOptions(
        samples=None if samples is None else source_of_samples(samples, inputs_of_results(pinned, [place])),
        proof=None if verdict is None else _proof(verdict, pinned, on_event),
        aim=aim,
        criteria=Criteria(
            budgets,
            explicit_drop=max_drop is not None,
            metrics=(metric,) if isinstance(metric, str) or callable(metric) else tuple(metric),
            less_is_better=metric_less_is_better,
        ),
        max_bytes=max_bytes,
        max_latency_ms=max_latency_ms,
        target=target,
        evaluations=evaluations,
        keep=names_of(keep_float),
        measuring=measuring,
        force=force or out is None,
    )
    folder = Path(out) if out is not None else _cached(place, pinned, device, options)
    with progress("Tuning", on_event) as report:
        document = run(
            place, pinned, find_device(device, None if devices is None else Path(devices)), folder, options, report
        )
    return Tuned(folder, document)


def _has_classes(reference: Path) -> bool:
    return any(score.use in (LabelUse.CLASS, LabelUse.POSITIONS) for score in read_reference(reference).labels)


def _target(runtime: str | None, device: str, devices: Path | None) -> RuntimeVersion | None:
    """The runtime that is named, or that of a device: the one named in its place, or a remote one."""
    if runtime is not None and is_runtime(runtime):
        return find_target(runtime)
    named = runtime or (device if device != "local" else None)
    return None if named is None else find_target(runtime_of(named, find_settings(named, devices)))


def _proof(given: Any, pinned: Path, on_event: OnEvent | None) -> Path:
    """The folder of a Reference of the samples that the winner is proven on."""
    if isinstance(given, PinnedReference):
        return given.folder
    if isinstance(given, (str, os.PathLike)) and (Path(given) / "reference.json").is_file():
        return Path(given)
    known = read_reference(pinned)
    return make_reference(
        known.source.path,
        given,
        signature=known.source.signature,
        labels_are=known.labels_are.value if known.labels_are else None,
        allow_nan=known.samples.allow_nan,
        on_event=on_event,
    ).folder


def _cached(place: Path, pinned: Path, device: str, options: TuneOptions) -> Path:
    """The folder in the cache for this tuning."""
    known = [sha256_file(path) for path in (place / "conversion.json", pinned / "reference.json") if path.is_file()]
    metrics = tuple(metric_name(metric) for metric in options.criteria.metrics)
    settled = replace(options, criteria=replace(options.criteria, metrics=metrics))
    return folder_for("tune", known, facts(settled, device=device))
