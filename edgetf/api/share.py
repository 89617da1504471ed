"""`edgetf.report`, `edgetf.bundle` and `edgetf.verify`: share results with others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetf.api.places import Variant, places_of
from edgetf.api.results import Bench, PinnedReference
from edgetf.api.samples import inputs_of_results, source_of_samples
from edgetf.benchmarks.bundle import BundleOptions, make_bundle
from edgetf.benchmarks.diagnosis.twins import LadderOptions
from edgetf.benchmarks.history.tensorboard import write_hparams
from edgetf.benchmarks.report.render import write_report
from edgetf.console.progress import progress
from edgetf.defaults import GOLDEN
from edgetf.device.runner.delegates import AUTO
from edgetf.device.runner.interpreter import JobError
from edgetf.device.runner.manifest import Manifest
from edgetf.device.runner.verify import Proof
from edgetf.device.runner.verify import verify as prove
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.results import read_benchmark

Place = str | os.PathLike[str]


@dataclass(frozen=True)
class Bundle:
    """The file that `edgetf.bundle` wrote, and its manifest."""

    path: Path
    manifest: Manifest

    def __str__(self) -> str:
        return f"{self.manifest.variant}, {self.manifest.provenance.because}: {self.path}"


def report(
    bench: Bench | Place,
    out: Place | None = None,
    *,
    tensorboard: Place | None = None,
    reference: PinnedReference | Place | None = None,
    force: bool = False,
) -> tuple[Path, ...]:
    """Write a self-contained HTML file of a benchmark, as `edgetf report` does.

    Parameters
    ----------
    bench
        What `edgetf.benchmark` returned, or its folder.
    out
        The file to write, such as "report.html"; with several devices, one for each: "report-pi.html".
    tensorboard
        A folder for the results as HParams; with several devices, it has a folder for each.
    reference
        The reference of the benchmark; by default it is searched beside the benchmark.
    force
        Replace the file.

    Returns
    -------
    tuple of Path
        The written files.

    Raises
    ------
    EdgetfError
        If the file exists or cannot be written.

    Examples
    --------
    >>> edgetf.report(bench, "report.html")
    (PosixPath('report.html'),)
    """
    found: list[Path] = []
    folders = (bench if isinstance(bench, Bench) else Bench.read(Path(bench))).folders
    for device, folder in folders.items():
        if out is not None:
            file = Path(out) if len(folders) == 1 else Path(out).with_stem(f"{Path(out).stem}-{device}")
            compared = reference.folder if isinstance(reference, PinnedReference) else reference
            write_report(folder, file, force, None if compared is None else Path(compared))
            found.append(file)
        if tensorboard is not None:
            logs = Path(tensorboard) / device if len(folders) > 1 else Path(tensorboard)
            write_hparams(read_benchmark(folder), logs)
    return (*found, *([Path(tensorboard)] if tensorboard is not None else []))


def bundle(
    bench: Bench | Place,
    out: Place,
    *,
    variant: str,
    variants: Variant | Sequence[Variant],
    reference: PinnedReference | Place,
    samples: Any = None,
    golden: int = GOLDEN,
    labels: Place | None = None,
    preprocessing: str = "",
    postprocessing: str = "",
    c_array: Place | None = None,
    unproven: bool = False,
    no_wait: bool = False,
    force: bool = False,
    on_event: OnEvent | None = None,
) -> Bundle:
    """Write a variant that passed, with its evidence, to one file, as `edgetf bundle` does.

    Parameters
    ----------
    bench
        What `edgetf.benchmark` returned, or its folder.
    out
        The file to write, such as "int8.edgetf".
    variant, variants, reference, samples
        As for `edgetf.explain`.
    golden
        The number of samples to include with their expected outputs.
    labels
        A text file with one class per line.
    preprocessing, postprocessing
        Descriptions of the processing of inputs and outputs, or files that contain them.
    c_array
        A C++ source, such as "model.cc", to write the variant to as an array for microcontrollers, with its header.
    unproven
        Bundle a variant that did not pass; `edgetf.verify` reports it. With `c_array`, also one that tflite-micro
        refuses.
    no_wait, force, on_event
        As for `edgetf.benchmark`.

    Returns
    -------
    Bundle
        `path` is the file, `manifest` its description.

    Raises
    ------
    EdgetfError
        If the variant did not pass, tflite-micro refuses it as a C array, or files have changed since they were
        measured.

    Examples
    --------
    >>> edgetf.bundle(
    ...     bench, "float32.edgetf", variant="float32", variants=variants, reference=reference
    ... ).path
    PosixPath('float32.edgetf')
    """
    if isinstance(bench, Bench) and len(bench.folders) != 1:
        raise EdgetfError("this benchmark has several devices", f"give one: on({next(iter(bench.folders))!r})")
    place = next(iter(bench.folders.values())) if isinstance(bench, Bench) else Path(bench)
    compared = reference.folder if isinstance(reference, PinnedReference) else Path(reference)
    places = places_of(variants)
    source = None if samples is None else source_of_samples(samples, inputs_of_results(compared, places))
    asked = LadderOptions(variant, places, compared, source, wait=not no_wait)
    words = None if labels is None else Path(labels)
    array = None if c_array is None else Path(c_array)
    options = BundleOptions(asked, golden, words, preprocessing, postprocessing, array, unproven, force)
    with progress("Bundling", on_event) as events:
        manifest = make_bundle(place, Path(out), options, events)
    return Bundle(Path(out), manifest)


def verify(bundle: Place, *, runtime: str = AUTO) -> Proof:
    """Verify a bundle on this machine, as `edgetf verify` does, and the runner on a device.

    Parameters
    ----------
    bundle
        The file.
    runtime
        "auto", "litert" or "tflite-runtime".

    Returns
    -------
    Proof
        `problems` is empty if the bundle is verified; `errors` are the largest errors by output.

    Raises
    ------
    EdgetfError
        If the file is not a bundle.

    Examples
    --------
    >>> edgetf.verify("float32.edgetf").problems
    []
    """
    try:
        return prove(Path(bundle), runtime, lambda event: None)
    except JobError as error:
        raise EdgetfError(str(error), "give a file that edgetf bundle wrote") from error
