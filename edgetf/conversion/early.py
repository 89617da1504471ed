"""The inputs of a model, and mistakes in what was given with it, without TensorFlow. In: a model, and samples.

What is quick to check is checked before a process for TensorFlow is started (`read_early`); that process checks all of
it. The signature of a SavedModel is read from it, so that only a Keras file needs checks of its own there, before
TensorFlow exports it. An error is the one that the export's would be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from edgetf.conversion import keras_file
from edgetf.conversion.messages import NeedsTensorFlowError
from edgetf.conversion.origin import as_saved_model
from edgetf.conversion.rescaling import FirstStep, find_first_steps, refuse_small
from edgetf.conversion.savedmodel import ask_shapes, read_signature
from edgetf.conversion.source_child import read_source_safely
from edgetf.errors import EdgetfError, nearest
from edgetf.events import OnEvent
from edgetf.results import Source, TensorSpec
from edgetf.samples import Samples, SampleSource, is_missing, load_samples

_SIGNATURES = ("serve", "serving_default")  # of every export
_LITTLE = 8 << 20  # bytes that are unpacked twice
Batch = Callable[[Source], Sequence[TensorSpec]]  # the inputs that samples are checked against


@dataclass(frozen=True)
class Early:
    """The signature of a model, without a digest (of a Keras file, also without outputs), and samples that fit it.

    `samples` are None if none were given, or if reading them twice would take long.
    """

    source: Source
    samples: Samples | None


def _all_inputs(source: Source) -> Sequence[TensorSpec]:
    return source.inputs


def any_batch(source: Source) -> list[TensorSpec]:
    """The inputs, with any number of samples for a batch axis of 1."""
    return [
        replace(s, shape=(None, *s.shape[1:])) if s.shape[:1] == (1,) and s.batched is not False else s
        for s in source.inputs
    ]


def read_early(
    model: Path,
    signature: str | None,
    shapes: Mapping[str, Sequence[int]],
    samples: tuple[SampleSource, bool] | None,
    batch: Batch = _all_inputs,
) -> Early | None:
    """What can be read of `model` and of samples for it without TensorFlow; None if the model needs it.

    The arguments are those of `refuse_mistakes`; raises EdgetfError as it does, also for a SavedModel.
    """
    if keras_file.is_keras_file(model):
        source = _of_keras_file(model, signature)
    else:
        try:
            source = read_signature(model, signature)
        except NeedsTensorFlowError:
            return None
    if source is None:
        return None
    asked = ask_shapes(source, shapes)
    if samples is None or not is_quick(samples[0]):
        return Early(asked, None)
    found = load_samples(samples[0], tuple(batch(asked)), samples[1])
    refuse_small(asked.inputs, found, lambda: _first_steps(asked))
    return Early(asked, found)


def is_quick(source: SampleSource) -> bool:
    """Whether a source can be read twice: an `.npz` file that is mapped, and whose digest is kept if it is large."""
    if is_missing(source):
        return True
    path = Path(source)
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with ZipFile(path) as archive:
            return sum(one.file_size for one in archive.infolist() if one.compress_type != ZIP_STORED) <= _LITTLE
    except (OSError, ValueError, NotImplementedError, BadZipFile):  # reading it reports the reason
        return True


def _first_steps(source: Source) -> Mapping[str, FirstStep]:
    if not Path(source.path).is_dir():  # a Keras file has no graph before it is exported
        return {}
    try:
        return find_first_steps(Path(source.path), source.signature)
    except Exception:  # the process for TensorFlow reports it
        return {}


def load_once(source: SampleSource, inputs: tuple[TensorSpec, ...], allow_nan: bool) -> Samples:
    """`load_samples`; what `refuse_mistakes` has read for the same inputs is not read again."""
    try:
        return _read(source, inputs, allow_nan)
    finally:
        _read.cache_clear()


@lru_cache(maxsize=1)
def _read(source: SampleSource, inputs: tuple[TensorSpec, ...], allow_nan: bool) -> Samples:
    return load_samples(source, inputs, allow_nan)


def refuse_mistakes(
    model: Path,
    signature: str | None,
    shapes: Mapping[str, Sequence[int]],
    samples: tuple[SampleSource, bool] | None,
    batch: Batch = _all_inputs,
) -> None:
    """Raise EdgetfError for a signature, shapes or samples that do not fit the Keras file `model`.

    `samples` are the source, and whether it may have NaN; `batch` has the inputs that they are checked against. A model
    whose inputs are not in its configuration is not checked.
    """
    source = _of_keras_file(model, signature)
    if source is None:
        return
    asked = ask_shapes(source, shapes)
    if samples is not None:
        _read.cache_clear()
        _read(samples[0], tuple(batch(asked)), samples[1])


def _of_keras_file(model: Path, signature: str | None) -> Source | None:
    """The signature of the file's export, without outputs; None if its configuration does not have the inputs."""
    if signature is not None and signature not in _SIGNATURES:
        raise EdgetfError(f"{model} has no signature {signature!r}", nearest(signature, _SIGNATURES))
    header = keras_file.read_header(model)
    if not header.inputs or header.half:
        return None
    return Source(str(model), "", _SIGNATURES[1], tuple(TensorSpec(*layer) for layer in header.inputs), ())


def read_inputs(model: Path, signature: str | None, trust: bool, on_event: OnEvent) -> tuple[TensorSpec, ...]:
    """The inputs of a SavedModel or of a Keras file. Raises EdgetfError as `as_saved_model` and `read_source` do."""
    if keras_file.is_keras_file(model):
        keras_file.refuse_code(model, keras_file.read_header(model), trust)
        if (source := _of_keras_file(model, signature)) is not None:
            return source.inputs
    with as_saved_model(model, trust, on_event) as found:
        return read_source_safely(found.folder, signature).inputs
