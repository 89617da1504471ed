"""The Reference: a SavedModel and Samples in, `reference.json` and TensorFlow's outputs as `.npy` files out.

Float32 on a GPU if there is one, with TF32 off and deterministic ops, else on the CPU, or by a running TensorFlow
Serving (see `backend`); in this process, or on the hosts of a scheduler (see `computing`). The document states which.
Latency is one sample alone (or the model's own batch), outputs read back to the host. Outputs are written as they come:
samples may be millions, and an interrupted run continues.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from edgetf import __version__, files
from edgetf.backend import load_tensorflow
from edgetf.benchmarks.judging.labels import interpret, score_labels
from edgetf.benchmarks.reference.batches import finish
from edgetf.benchmarks.reference.computing import Computing, Open, alone
from edgetf.benchmarks.reference.noise import rows_again
from edgetf.benchmarks.reference.options import CLAIMS, FOLDER, ReferenceOptions
from edgetf.benchmarks.reference.partial import Partial
from edgetf.benchmarks.rows import Outputs
from edgetf.conversion.early import load_once, refuse_mistakes
from edgetf.conversion.effects import link_model, refuse_effects, refuse_exchanged
from edgetf.conversion.keras_file import is_keras_file
from edgetf.conversion.origin import as_saved_model
from edgetf.conversion.rescaling import refuse_scaled_twice
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import EdgetfError
from edgetf.events import Note, OnEvent, Phase
from edgetf.owned import own_temporary, scratch
from edgetf.results import REFERENCE_SCHEMA, ArrayFile, LabelsAre, LabelScore, Reference, Source
from edgetf.samples import Samples, SampleSource

_PARTIAL = ".edgetf-partial-reference"


def make_reference(
    model: Path,
    samples: SampleSource,
    out: Path,
    options: ReferenceOptions,
    on_event: OnEvent,
    compute: Open = alone,
) -> Reference:
    """Run `model` (a SavedModel folder, a `.keras` or `.h5` file) on `samples` and write the Reference into `out`.

    An interrupted run continues where it stopped. `compute` is who computes: by default this process. Raises
    EdgetfError for a model or samples that do not fit, a missing GPU or server, outputs that are not finite.
    """
    if out.resolve().is_relative_to(model.resolve()):
        raise EdgetfError(f"{out} is inside of {model}", "give a folder outside of the model with -o")
    if is_keras_file(model):
        refuse_mistakes(model, options.signature, {}, (samples, options.allow_nan))
    with as_saved_model(model, options.trust, on_event) as found, ExitStack() as stack:
        known_as = partial(replace, path=str(model), origin=found.origin)
        refuse_effects(found.folder, options.trust)
        source, rows = _read(found.folder, samples, options)
        on_event(Phase("loading TensorFlow"))
        load_tensorflow(alone=True)  # after what can be wrong with the samples
        staging = stack.enter_context(files.staged(out, CLAIMS, options.force))
        stack.enter_context(own_temporary())
        private = link_model(found.folder, stack.enter_context(scratch()) / "model")
        refuse_exchanged(private, found.folder, options.trust)  # what is loaded is what was checked
        computing = stack.enter_context(compute(private, source, rows, options, on_event))
        begun = _begin(computing, source, rows, out / _PARTIAL, on_event)
        with begun.interruptible():
            reference = _write(computing, begun, _Given(source, rows, options, known_as), staging, on_event)
    begun.discard()
    return reference


def _read(saved_model: Path, samples: SampleSource, options: ReferenceOptions) -> tuple[Source, Samples]:
    """The signature and the samples. Raises EdgetfError if they do not fit."""
    source = read_source(saved_model, options.signature)
    if any(spec.dtype == "string" for spec in source.outputs):
        raise EdgetfError(f"{saved_model} returns texts, which cannot be compared", "choose another --signature")
    rows = load_once(samples, source.inputs, options.allow_nan)
    rows.check_outputs(spec.name for spec in source.outputs)
    refuse_scaled_twice(source, rows)
    return replace(source, inputs=rows.mark(source.inputs)), rows


def _begin(computing: Computing, source: Source, samples: Samples, folder: Path, on_event: OnEvent) -> Partial:
    """The outputs of all samples in `folder`, with those of an interrupted run that was to compute the same."""
    decisive = (source.digest, source.signature, samples.digest, *computing.decisive, str(computing.habits))
    begun = Partial(folder, hashlib.sha256("\0".join(decisive).encode()).hexdigest(), on_event)
    if begun.progress is not None:
        on_event(Phase(f"resuming after sample {begun.progress.done:,}"))
    return begun


@dataclass(frozen=True)
class _Given:
    """What a reference is made of; `known_as` is `source` with the path and origin that the user gave."""

    source: Source
    samples: Samples
    options: ReferenceOptions
    known_as: Callable[[Source], Source]


def _write(computing: Computing, begun: Partial, given: _Given, staging: Path, on_event: OnEvent) -> Reference:
    """Compute what is missing, measure, and write everything into `staging`."""
    habits, rows, labels_are = computing.habits, given.samples, given.options.labels_are
    (staging / FOLDER).mkdir()
    computing.run(begun, on_event)
    outputs, known = finish(begun, habits, given.source, staging / FOLDER)
    measured = computing.measure(known, on_event)
    reference = Reference(
        schema=REFERENCE_SCHEMA,
        edgetf=__version__,
        created=files.now(),
        source=given.known_as(given.source),
        samples=rows.used(),
        device=measured.device,
        precision=measured.precision,
        versions=measured.versions,
        batch=habits.batch,
        batch_alone=rows.batch,
        latency_ms=measured.performance.latency,
        latencies=measured.performance.latencies,
        noise=measured.performance.noise,
        outputs=tuple(_array_file(name, places, known, habits.batch) for name, places in outputs.items()),
        random_outputs=habits.random,
        batch_outputs=habits.mixing,
        labels_are=labels_are,
        labels=_score(rows, known, labels_are, on_event),
    )
    files.write_document(staging / "reference.json", reference)
    return reference


def _score(rows: Samples, outputs: Outputs, labels_are: LabelsAre | None, on_event: OnEvent) -> tuple[LabelScore, ...]:
    """The scores on the labels. They only inform: labels that cannot be read are reported, and the rest stays."""
    try:
        return score_labels(interpret(outputs.values, rows.labels, rows.output_labels, labels_are))
    except EdgetfError as error:
        on_event(Note(f"the labels are not used: {error.message}; {error.hint}"))
        return ()


def _array_file(name: str, places: tuple[Path, Path | None], known: Outputs, batch: int) -> ArrayFile:
    path, beside = places
    n = len(known.values[name])
    first = np.asarray(known.values[name][: rows_again(n, 1 if name in known.unbatched else batch)], np.float64)
    return ArrayFile(
        name,
        f"{FOLDER}/{path.name}",
        files.sha256_file(path),
        name not in known.unbatched,
        None if beside is None else f"{FOLDER}/{beside.name}",
        None if beside is None else files.sha256_file(beside),
        float(np.ptp(first)) if first.size else 0.0,
    )
