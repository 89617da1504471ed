"""The Reference: a SavedModel and Samples in, `reference.json` and TensorFlow's outputs as `.npy` files out.

Float32 on a GPU if there is one, with TF32 off and deterministic ops, else on the CPU, or by a running TensorFlow
Serving (see `backend`); the document states which. Latency is one sample alone (or the model's own batch), outputs read
back to the host. Outputs are written as they come: samples may be millions, and an interrupted run continues.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgetf import __version__, files
from edgetf.backend import load_tensorflow
from edgetf.benchmarks.judging.labels import interpret, score_labels
from edgetf.benchmarks.pinned import loose_outputs
from edgetf.benchmarks.reference.backend import Backend, find_backend
from edgetf.benchmarks.reference.noise import rows_again
from edgetf.benchmarks.reference.options import ReferenceOptions
from edgetf.benchmarks.reference.partial import Partial
from edgetf.benchmarks.reference.probing import ASKED, Habits, as_rows, find_habits
from edgetf.benchmarks.reference.refusals import RefusedError, raise_located
from edgetf.benchmarks.rows import Outputs
from edgetf.conversion.effects import link_model, refuse_effects, refuse_exchanged
from edgetf.conversion.origin import as_saved_model
from edgetf.conversion.rescaling import refuse_scaled_twice
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import EdgetfError
from edgetf.events import Note, OnEvent, Phase, Progress
from edgetf.owned import own_temporary, scratch
from edgetf.results import (
    REFERENCE_SCHEMA,
    ArrayFile,
    LabelsAre,
    LabelScore,
    Reference,
    Source,
)
from edgetf.samples import Array, Samples, SampleSource, load_samples, release

_FOLDER = "reference"
_PARTIAL = ".edgetf-partial-reference"


def make_reference(
    model: Path, samples: SampleSource, out: Path, options: ReferenceOptions, on_event: OnEvent
) -> Reference:
    """Run `model` (a SavedModel folder, a `.keras` or `.h5` file) on `samples` and write the Reference into `out`.

    An interrupted run continues where it stopped. Raises EdgetfError for a model or samples that do not fit, a
    missing GPU or server, outputs that are not finite.
    """
    if out.resolve().is_relative_to(model.resolve()):
        raise EdgetfError(f"{out} is inside of {model}", "give a folder outside of the model with -o")
    with as_saved_model(model, options.trust, on_event) as found:
        known = partial(replace, path=str(model), origin=found.origin)
        return _make(found.folder, known, samples, out, options, on_event)


def _make(
    saved_model: Path,
    known_as: Callable[[Source], Source],
    samples: SampleSource,
    out: Path,
    options: ReferenceOptions,
    on_event: OnEvent,
) -> Reference:
    on_event(Phase("loading TensorFlow"))
    tf = load_tensorflow()
    refuse_effects(saved_model, options.trust)
    source = read_source(saved_model, options.signature)
    if any(spec.dtype == "string" for spec in source.outputs):
        raise EdgetfError(f"{saved_model} returns texts, which cannot be compared", "choose another --signature")
    rows = load_samples(samples, source.inputs, options.allow_nan)
    rows.check_outputs(spec.name for spec in source.outputs)
    refuse_scaled_twice(source, rows)
    source = replace(source, inputs=rows.mark(source.inputs))
    with files.staged(out, [_FOLDER, "reference.json"], options.force) as staging, ExitStack() as stack:
        stack.enter_context(own_temporary())
        private = link_model(saved_model, stack.enter_context(scratch()) / "model")
        refuse_exchanged(private, saved_model, options.trust)  # what is loaded is what was checked
        backend = find_backend(tf, private, source, options)
        on_event(Phase(backend.device.sentence.split(",")[0]))
        (staging / _FOLDER).mkdir()
        habits = _find_habits(backend, source, rows)
        backend.refuse_other_model(rows, habits.random)
        begun = _begin(backend, source, rows, habits, out / _PARTIAL, on_event)
        if begun.progress is not None:
            on_event(Phase(f"resuming after sample {begun.progress.done:,}"))
        stack.enter_context(begun.interruptible())
        _run_batches(backend, rows, habits, begun, on_event)
        outputs, known = _finish(begun, habits, source, staging / _FOLDER)
        performance = backend.measure(rows, known, habits.batch, on_event)
        reference = Reference(
            schema=REFERENCE_SCHEMA,
            edgetf=__version__,
            created=files.now(),
            source=known_as(source),
            samples=rows.used(),
            device=backend.device,
            precision=backend.precision,
            versions=_versions(tf),
            batch=habits.batch,
            batch_alone=rows.batch,
            latency_ms=performance.latency,
            latencies=performance.latencies,
            noise=performance.noise,
            outputs=tuple(_array_file(name, places, known, habits.batch) for name, places in outputs.items()),
            random_outputs=habits.random,
            batch_outputs=habits.mixing,
            labels_are=options.labels_are,
            labels=_score(rows, known, options.labels_are, on_event),
        )
        files.write_document(staging / "reference.json", reference)
    begun.discard()
    return reference


def _score(rows: Samples, outputs: Outputs, labels_are: LabelsAre | None, on_event: OnEvent) -> tuple[LabelScore, ...]:
    """The scores on the labels. They only inform: labels that cannot be read are reported, and the rest stays."""
    try:
        return score_labels(interpret(outputs.values, rows.labels, rows.output_labels, labels_are))
    except EdgetfError as error:
        on_event(Note(f"the labels are not used: {error.message}; {error.hint}"))
        return ()


def _versions(tf: Any) -> dict[str, str]:
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "python": platform.python_version()}


# outputs ----------------------------------------------------------------------------------------------------------


def _find_habits(backend: Backend, source: Source, samples: Samples) -> Habits:
    """How the model takes samples, found with a few calls; what TensorFlow refuses here it would refuse later."""
    half = "float16" in backend.precision.dtype
    try:
        return find_habits(backend.ask, source, samples, backend.most, half, (RefusedError,))
    except RefusedError as error:
        first = min(len(samples), max(ASKED, samples.batch)) // samples.batch * samples.batch
        raise_located(error, backend.ask, samples, 0, first)


def _begin(
    backend: Backend, source: Source, samples: Samples, habits: Habits, folder: Path, on_event: OnEvent
) -> Partial:
    """The outputs of all samples in `folder`, with those of an interrupted run that was to compute the same."""
    where = (backend.device.sentence, str(backend.precision))
    decisive = (source.digest, source.signature, samples.digest, *where, str(habits))
    return Partial(folder, hashlib.sha256("\0".join(decisive).encode()).hexdigest(), on_event)


def _run_batches(backend: Backend, samples: Samples, habits: Habits, begun: Partial, on_event: OnEvent) -> None:
    """Compute batch after batch; an output without an axis for samples becomes one row."""
    n, batch = len(samples), habits.batch
    for begin in range(begun.progress.done if begun.progress else 0, n, batch):
        end = min(begin + batch, n)
        rows = {}
        for name, values in _ask_batch(backend, samples, begin, end).items():
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                begun.discard()
                problem = f"TensorFlow's own output {name!r} holds NaN or infinity"
                raise EdgetfError(problem, f"correct the model, or samples {begin + 1} to {end}")
            if name not in habits.unbatched and (values.ndim == 0 or len(values) != end - begin):
                begun.discard()
                problem = f"the output {name!r} has shape {list(values.shape)} for samples {begin + 1} to {end}"
                raise EdgetfError(problem, f"export the model with a batch of {samples.batch}")
            rows[name] = as_rows(values, end - begin, name not in habits.unbatched)
        begun.append(rows, end, batch)
        for values in samples.inputs.values():
            release(values)
        on_event(Progress(end, n))


def _ask_batch(backend: Backend, samples: Samples, begin: int, end: int) -> Mapping[str, Array]:
    try:
        return backend.ask(samples.feed(begin, end))
    except RefusedError as error:
        raise_located(error, backend.ask, samples, begin, end)


def _finish(
    begun: Partial, habits: Habits, source: Source, out: Path
) -> tuple[dict[str, tuple[Path, Path | None]], Outputs]:
    """The files of the outputs in `out`, and what is in them.

    If the signature leaves open whether an output has an axis for samples, and it always had one row, it has one.
    """
    written = begun.finish(out)
    values, shapes, unbatched = {}, {}, set(habits.unbatched)
    for name, (path, beside) in written.items():
        values[name] = np.load(path, mmap_mode="r")
        if beside is not None:
            shapes[name] = np.load(beside)
        if name in habits.unclear and values[name].ndim > 1 and values[name].shape[1] == 1:
            known = shapes.get(name)
            if known is None or (known[:, 0] == 1).all():
                unbatched.discard(name)
                values[name] = values[name][:, 0]
                rewritten = np.array(values[name])
                path.unlink()  # it may be a link to the file that an interrupted run resumes
                np.save(path, rewritten)
                if known is not None and beside is not None:
                    shapes[name] = known[:, 1:]
                    np.save(beside, shapes[name])
    return written, Outputs(values, shapes, frozenset(unbatched), loose_outputs(source, unbatched))


def _array_file(name: str, places: tuple[Path, Path | None], known: Outputs, batch: int) -> ArrayFile:
    path, beside = places
    n = len(known.values[name])
    first = np.asarray(known.values[name][: rows_again(n, 1 if name in known.unbatched else batch)], np.float64)
    return ArrayFile(
        name,
        f"{_FOLDER}/{path.name}",
        files.sha256_file(path),
        name not in known.unbatched,
        None if beside is None else f"{_FOLDER}/{beside.name}",
        None if beside is None else files.sha256_file(beside),
        float(np.ptp(first)) if first.size else 0.0,
    )
