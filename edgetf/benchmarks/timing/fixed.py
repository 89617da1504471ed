"""Protection against files that change during a run: variants, samples and reference must stay the same.

A variant is copied once to a private folder, under its digest, and only the copy runs. (A hard link would change if the
file is written in place.) Inputs are written there too, and the runner reports the digests of the files that it ran.
Only an `.npz` file that a device on this machine can map is used in place, in the state in which it was read; if that
differs, because someone has touched or linked the file, its content is looked at again. It, labels and the reference's
outputs may be large and are not copied: they are checked again at the end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.timing.targets import Target
from edgetf.device.runner.job import Job, JobError, Measurement, RawArray
from edgetf.device.runner.outputs import load_inputs
from edgetf.digests import State, keep, kept, settled_state_of, sha256_once, state_of
from edgetf.errors import EdgetfError
from edgetf.files import open_plain, sha256_file
from edgetf.results import Result
from edgetf.samples import Array, Samples, load, make_samples
from edgetf.samples.inputs import write_inputs
from edgetf.samples.mapped import offset_of

_AGAIN = "restore it, and run the same command: finished turns are kept"


def read_same(path: Path, sha256: str | None) -> bytes:
    """The bytes of a file with this digest. Raises EdgetfError if the digest has changed."""
    try:
        with open_plain(path) as file:
            content = file.read()
    except OSError as error:
        raise EdgetfError(f"cannot read {path}: {error.strerror}", "run the command again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EdgetfError(f"{path} changed while edgetf read it", "run the command again")
    return content


def copy_private(targets: Sequence[Target], folder: Path) -> list[Target]:
    """The targets, each with a copy in `folder` named by its digest. Raises EdgetfError as `read_same` does."""
    copied = []
    for target in targets:
        if target.failed is not None:
            copied.append(target)
            continue
        private = folder / f"{target.sha256}.tflite"
        if not private.exists():
            content = read_same(target.path, target.sha256)
            try:
                private.write_bytes(content)
                private.chmod(0o400)
            except OSError as error:
                hint = "free some space, or set TMPDIR to a folder with more space"
                raise EdgetfError(f"cannot copy {target.path} to {folder}: {error.strerror}", hint) from error
        copied.append(replace(target, private=private))
    return copied


def has_changed(result: Result) -> bool:
    """Whether the measured file still exists and has changed."""
    path = Path(result.path) if result.path else None
    try:
        return path is not None and path.is_file() and sha256_file(path) != result.sha256
    except OSError:
        return False


def wrong_files(measurement: Measurement, model: str | None, inputs: Mapping[str, str]) -> list[str]:
    """The files that ran with another digest than expected; files that a tool does not report are left out."""
    wrong = []
    if measurement.model_sha256 not in (None, model):
        wrong.append("the variant")
    reported = measurement.inputs_sha256 or {}
    return wrong + [f"the samples of {name}" for name, sha256 in reported.items() if inputs.get(name) != sha256]


def with_inputs(job: Job, samples: Samples, folder: Path, order: NDArray[np.intp] | None, in_place: bool) -> Job:
    """The job with the samples in `order`: written to `folder`, or `in_place` from the file that they are mapped from.

    That file is the input of several names, and its digest is that of all inputs. If it has changed, or is gone, the
    mapped samples are written.
    """
    mapped = {name: _raw(array) for name, array in samples.inputs.items()}
    raw = {name: one for name, one in mapped.items() if one is not None}
    usable = in_place and order is None and len(raw) == len(mapped)
    if not usable or samples.state is None or load.has_changed(samples):
        return replace(job, inputs=write_inputs(samples.inputs, folder, order))
    known: list[str | int] = [samples.inputs_digest, *samples.state]
    file = str(Path(samples.source).resolve())
    return replace(job, inputs=dict.fromkeys(raw, file), known_inputs=dict.fromkeys(raw, known), raw_inputs=raw)


def _raw(array: Array) -> RawArray | None:
    offset = offset_of(array)
    return None if offset is None else RawArray(offset, array.dtype.str, list(array.shape))


def in_present_state(job: Job) -> Job:
    """The job with the present state of a file that is used in place.

    Raises EdgetfError if its content has changed.
    """
    if not job.raw_inputs:
        return job
    name = next(iter(job.raw_inputs))  # all have the same file
    file, (sha256, *known) = job.inputs[name], job.known_inputs[name]
    state = settled_state_of(Path(file))
    if state is not None and known == [*state]:
        return job
    if state is None or _sha256_in(state, file, job) != sha256:
        raise changed_during_run(file)
    return replace(job, known_inputs={name: [sha256, *state] for name in job.raw_inputs})


def _sha256_in(state: State, file: str, job: Job) -> str:
    """The digest of the inputs in the file that is in this state; empty if it changes meanwhile, or has no samples."""
    meaning = json.dumps({name: asdict(raw) for name, raw in job.raw_inputs.items()})
    if known := kept(state, meaning, 1):
        return known[0]
    try:
        sha256 = make_samples(file, load_inputs(job), None, allow_nan=True).digest
    except (EdgetfError, JobError):
        return ""
    if state_of(Path(file)) != state:
        return ""
    keep(state, meaning, [sha256])
    return sha256


def inputs_of(job: Job) -> dict[str, Array]:
    """The samples of the job, mapped. Raises EdgetfError if their file is gone, or has others."""
    try:
        return load_inputs(job)
    except JobError as error:
        raise EdgetfError(str(error), _AGAIN) from error


def some_inputs(job: Job, first: int, end: int, folder: Path) -> Job:
    """The job with a part of its samples, written to `folder`."""
    part = {name: values[first:end] for name, values in inputs_of(job).items()}
    return replace(job, inputs=write_inputs(part, folder), known_inputs={}, raw_inputs={})


def digests_of(job: Job) -> dict[str, str]:
    """The digests of the inputs, by their names."""
    return {
        name: job.known_inputs[name][0] if name in job.raw_inputs else sha256_once(Path(file))
        for name, file in job.inputs.items()
    }


def changed_during_run(what: str) -> EdgetfError:
    """The error for something that changed during the run."""
    return EdgetfError(f"{what} changed during the benchmark, which therefore cannot be judged", _AGAIN)
