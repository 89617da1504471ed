"""`edgetf.benchmark`: variants on one or several devices. Each device has its own folder of results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgetf.api.cache import folder_for
from edgetf.api.given import one_of
from edgetf.api.places import Variant, places_of
from edgetf.api.results import Bench, PinnedReference
from edgetf.api.samples import inputs_of_results, source_of_samples
from edgetf.benchmarks.benchmark import BenchmarkOptions
from edgetf.benchmarks.benchmark import benchmark as run
from edgetf.benchmarks.history.mlflow import export as send
from edgetf.benchmarks.history.store import add_results, commit_of, default_place, name_of
from edgetf.benchmarks.judging.own_metric import GivenMetric, metric_name
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.timing.resume import key_of
from edgetf.benchmarks.timing.targets import find_targets
from edgetf.console.progress import progress
from edgetf.defaults import BLOCKS, DEVICE, MAX_DROP
from edgetf.device.devices import find_device, find_settings, refuse_unfit
from edgetf.device.kinds import KINDS
from edgetf.device.runner.delegates import PRECISION, find_delegate
from edgetf.device.settings import DeviceSettings
from edgetf.errors import EdgetfError
from edgetf.events import Note, OnEvent
from edgetf.files import read_document, sha256_file, sha256_tree, to_plain, write_document
from edgetf.results import Benchmark, LabelsAre, read_benchmark
from edgetf.samples.source import parse_source


def benchmark(
    variants: Variant | Sequence[Variant],
    out: str | os.PathLike[str] | None = None,
    *,
    reference: PinnedReference | str | os.PathLike[str] | None = None,
    samples: Any = None,
    device: str | Sequence[str] = DEVICE,
    devices: str | os.PathLike[str] | None = None,
    runtime: str | None = None,
    delegate: str | None = None,
    delegate_option: Mapping[str, str] | None = None,
    threads: int | None = None,
    affinity: Sequence[int] = (),
    nice: int = 0,
    blocks: int = BLOCKS,
    max_latency_ms: float | None = None,
    sustained: float = 0.0,
    sequential: bool = False,
    max_drop: float | None = None,
    metric: GivenMetric | Sequence[GivenMetric] = (),
    metric_less_is_better: bool = False,
    labels_are: str | None = None,
    allow_nan: bool = False,
    history: str | os.PathLike[str] | None = None,
    commit: str | None = None,
    mlflow: str | None = None,
    no_wait: bool = False,
    force: bool = False,
    on_event: OnEvent | None = None,
) -> Bench:
    """Run variants on a device: latency, memory, and parity with the reference, as `edgetf benchmark` does.

    Parameters
    ----------
    variants
        What `edgetf.convert` returned, one of its variants, a `.tflite` file, a folder of them, or several of these.
    out
        The folder for the results; by default one in the user's cache, which the result names. Repeating the same run
        replaces it.
    reference
        What `edgetf.reference` returned, or its folder. Without it, parity is not computed.
    samples
        As for `edgetf.convert`; by default those of the reference. Without samples, inputs are random and only latency
        is measured.
    device
        A name in `devices.toml`, or several; "local" is this machine.
    devices
        The file that defines devices.
    runtime, delegate, threads
        "auto", "litert" or "tflite-runtime"; a delegate that the device has, or "none", or the path on the device of a
        library that is one; threads while timing. The defaults are the device's settings.
    delegate_option
        Options of the delegate, by name; by default the device's, if the delegate is.
    affinity, nice
        CPUs to time on, and the priority, as for nice(1).
    blocks
        Minimum number of turns of each variant.
    max_latency_ms
        The limit of the median latency, in milliseconds: variants take more turns until it is decided, at most three
        times `blocks`. `edgetf.check` judges by it.
    sustained
        Also load each variant for this many seconds.
    sequential, max_drop
        Stop running samples once the verdict on this budget (in points of accuracy) is certain.
    metric, metric_less_is_better
        Functions of (outputs, labels), or their names (`module:function`), to judge by; whether lower is better for all
        of them.
    labels_are, allow_nan, force, on_event
        As for `edgetf.reference`.
    history, commit, mlflow
        The SQLite file that stores results, the commit to store them for, an MLflow server to send them to.
    no_wait
        Raise at once if another run holds the device.

    Returns
    -------
    Bench
        By variant: `["int8"].latency_ms.median`, `.verdict`, `.path`; with several devices, by DEVICE/VARIANT. Devices
        that failed are in `failures`.

    Raises
    ------
    EdgetfError
        If nothing could be measured. DeviceError, a subclass, if the device failed.

    Examples
    --------
    >>> bench = edgetf.benchmark(variants, "bench", reference=reference)
    >>> bench["int8"].latency_ms.median
    0.0...
    """
    names = [device] if isinstance(device, str) else list(device)
    places = places_of(variants)
    if max_drop is not None and not sequential:
        raise EdgetfError("max_drop needs sequential", "otherwise give it to edgetf.check")
    if sequential and metric:
        raise EdgetfError("a metric needs all samples", "do not give sequential")
    if metric_less_is_better and not metric:
        raise EdgetfError("metric_less_is_better needs metric", "give a metric, or leave it out")
    if (threads is not None and threads < 1) or blocks < 2:
        raise EdgetfError("threads must be at least 1 and blocks at least 2", "give more, or leave them out")
    if len(set(names)) < len(names):
        raise EdgetfError(f"a device is named twice: {', '.join(names)}", "name each device once")
    compared = reference.folder if isinstance(reference, PinnedReference) else _path(reference)
    base = BenchmarkOptions(
        reference=compared,
        samples=None if samples is None else source_of_samples(samples, inputs_of_results(compared, places)),
        affinity=tuple(affinity),
        nice=nice,
        blocks=blocks,
        max_latency_ms=max_latency_ms,
        sustained_s=sustained,
        sequential=Budgets(max_drop=MAX_DROP if max_drop is None else max_drop) if sequential else None,
        metrics=(metric,) if isinstance(metric, str) or callable(metric) else tuple(metric),
        less_is_better=metric_less_is_better,
        labels_are=one_of(LabelsAre, labels_are, "labels_are") if labels_are else None,
        wait=not no_wait,
        allow_nan=allow_nan,
        force=force or out is None,
    )
    devices_of = {name: find_settings(name, _path(devices)) for name in names}
    settled = {
        name: _settle(base, settings, _Given(runtime, delegate, delegate_option, threads))
        for name, settings in devices_of.items()
    }
    folder = Path(out) if out is not None else _cached(places, settled)
    runs = [
        _Run(
            places,
            name,
            _path(devices),
            folder / name if len(names) > 1 else folder,
            options,
            _ignored(name, threads, options),
        )
        for name, options in settled.items()
    ]
    kept = KeptHistory(_path(history), commit, mlflow, places[0])
    documents, failures = _measure_all(runs, folder, kept, on_event)
    found = {run.device: (run.out, documents[run.device]) for run in runs if run.device in documents}
    return Bench(folder, found, failures)


@dataclass(frozen=True)
class _Given:
    """Options that a device has a default for."""

    runtime: str | None
    delegate: str | None
    delegate_options: Mapping[str, str] | None
    threads: int | None


def _settle(base: BenchmarkOptions, settings: DeviceSettings, given: _Given) -> BenchmarkOptions:
    """The options for one device: runtime, delegate and threads as given, otherwise the device's."""
    delegate = given.delegate or settings.delegate
    chosen = settings.options_of(delegate, given.delegate_options or {})
    refuse_unfit(settings, delegate, base.affinity, chosen)
    if PRECISION in find_delegate(delegate).options:  # it decides on the answers, and is recorded in any case
        chosen = {PRECISION: "default", **chosen}
    if not KINDS[settings.kind].timed:
        if base.sustained_s:
            raise EdgetfError(f"{settings.kind.value} devices measure no times", "leave --sustained out")
        base = replace(base, timing=None, energy_s=0.0, blocks=1, patience=1)
        given = replace(given, threads=1)
    return replace(
        base,
        runtime=given.runtime or settings.runtime,
        delegate=delegate,
        delegate_options=chosen,
        threads=given.threads or settings.threads,
    )


def _ignored(device: str, threads: int | None, options: BenchmarkOptions) -> str:
    """A note if the device does not use as many threads as were given; empty otherwise."""
    if threads in (None, options.threads):
        return ""
    return f"{device}: one thread, not {threads}: microcontrollers have no others"


def _cached(places: Sequence[Path], settled: Mapping[str, BenchmarkOptions]) -> Path:
    """The folder in the cache for these variants, devices and options."""
    targets = [(target.name, target.sha256) for target in find_targets(places)]
    return folder_for("benchmark", targets, [(name, _plain(options)) for name, options in settled.items()])


def _plain(options: BenchmarkOptions) -> Any:
    """The options that affect the results."""
    names = tuple(metric_name(metric) for metric in options.metrics)
    return to_plain(replace(options, metrics=names, wait=True, force=False))


def _path(place: str | os.PathLike[str] | None) -> Path | None:
    return None if place is None else Path(place)


def _measure_all(
    runs: Sequence[_Run], out: Path, kept: KeptHistory, on_event: OnEvent | None
) -> tuple[dict[str, Benchmark], dict[str, EdgetfError]]:
    """Measure on each device. If one of several devices fails, the others are still measured."""
    finished = _Finished(out, runs) if len(runs) > 1 else None
    documents: dict[str, Benchmark] = {}
    failures: dict[str, EdgetfError] = {}
    for one in runs:
        with progress("Measuring", on_event) as report:
            if finished and finished.note:
                report(Note(finished.note))
                finished.note = ""
            if one.ignored:
                report(Note(one.ignored))
            if finished and one.device in finished.names:
                report(Note(f"{one.device}: measured before the interruption"))
                documents[one.device] = read_benchmark(one.out)
                continue
            try:
                device = find_device(one.device, one.devices)
                documents[one.device] = run(one.variants, device, one.out, one.options, report)
            except EdgetfError as error:
                if len(runs) == 1:
                    raise
                failures[one.device] = error
                continue
            if finished:
                finished.add(one.device)
            kept.keep(documents[one.device], report)
    if finished and not failures:
        finished.forget()
    if not documents:
        raise next(iter(failures.values()))
    return documents, failures


@dataclass(frozen=True)
class _Run:
    """The variants on one device, with the folder `out` for their results; `ignored` is what was asked for in vain."""

    variants: tuple[Path, ...]
    device: str
    devices: Path | None
    out: Path
    options: BenchmarkOptions
    ignored: str = ""


@dataclass(frozen=True)
class KeptHistory:
    """Where results are stored. If no commit is named, it is that of the repository of `model`."""

    place: Path | None
    commit: str | None
    mlflow: str | None
    model: Path

    def keep(self, document: Benchmark, report: OnEvent) -> None:
        """Store a benchmark, and send it to MLflow if requested. A failure here does not affect the results."""
        named = self.commit if self.commit is not None else commit_of(self.model)
        try:
            add_results(document, named, name_of(document, self.model), self.place or default_place())
        except EdgetfError as error:
            report(Note(f"not stored in the history: {error.message}; {error.hint}"))
        if self.mlflow is not None:
            send(document, named, self.mlflow)


# 1: first
_KEPT_SCHEMA = 1


@dataclass(frozen=True)
class _Kept:
    """`key` is a digest of what determines the results; `done` the digests of the results by device."""

    schema: int
    key: str
    done: dict[str, str]


class _Finished:
    """The `names` of the finished devices of a command with several, to resume it after an interruption.

    Commands are the same if the contents of variants, reference and samples are. With --force, no device is finished.
    `note` is what became of an interrupted command that is not resumed.
    """

    def __init__(self, out: Path, runs: Sequence[_Run]) -> None:
        asked = runs[0].options
        found = [(target.name, target.sha256) for target in find_targets(runs[0].variants)]
        options = [_plain(run.options) for run in runs]
        decisive = {"variants": found, "devices": [run.device for run in runs], "options": options}
        self._key = key_of({**decisive, "reference": _reference_of(asked), "samples": _samples_of(asked)})
        self._places = {run.device: run.out / "benchmark.json" for run in runs}
        self._file, self._done, self.note = out / ".edgetf-partial-devices.json", dict[str, str](), ""
        if self._file.is_file() and not asked.force:
            self._find()

    def _find(self) -> None:
        """Take over the finished devices whose results are unchanged."""
        try:
            kept = read_document(self._file, _Kept, _KEPT_SCHEMA)
            done = {name: sha256 for name, sha256 in kept.done.items() if self._digest(name) == sha256}
        except Exception:  # a damaged file of any kind must not prevent a new run
            self.note = f"the list of finished devices in {self._file} is damaged: starting over"
            return
        if kept.key == self._key:
            self._done = done
        else:
            self.note = f"an interrupted run with other options or inputs is not resumed: {self._file}"

    @property
    def names(self) -> list[str]:
        return list(self._done)

    def add(self, device: str) -> None:
        self._done[device] = self._digest(device)
        write_document(self._file, _Kept(_KEPT_SCHEMA, self._key, self._done))

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)

    def _digest(self, device: str) -> str:
        """The digest of the device's results; empty if there are none."""
        return sha256_file(self._places[device]) if self._places[device].is_file() else ""


def _reference_of(options: BenchmarkOptions) -> str:
    """The digest of `reference.json`, which contains those of its arrays and samples; empty if there is none."""
    place = options.reference
    file = place / "reference.json" if place and place.is_dir() else place
    return sha256_file(file) if file and file.is_file() else ""


def _samples_of(options: BenchmarkOptions) -> list[str]:
    """The digests of the files or folders that --samples names."""
    if options.samples is None:
        return []
    path = Path(parse_source(options.samples).rest)
    places = [path] if path.exists() else sorted(path.parent.glob(path.name))
    return [sha256_tree(place) if place.is_dir() else sha256_file(place) for place in places]
