"""The inputs of a model, and mistakes in what was given with it, without TensorFlow. In: a model, and samples.

The signature of a SavedModel is read from it, so that only a Keras file needs checks of its own, before TensorFlow
exports it. An error is the one that the export's would be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from edgetf.conversion import keras_file
from edgetf.conversion.origin import as_saved_model
from edgetf.conversion.savedmodel import ask_shapes
from edgetf.conversion.source_child import read_source_safely
from edgetf.errors import EdgetfError, nearest
from edgetf.events import OnEvent
from edgetf.results import Source, TensorSpec
from edgetf.samples import Samples, SampleSource, load_samples

_SIGNATURES = ("serve", "serving_default")  # of every export


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
    batch: Callable[[Source], Sequence[TensorSpec]] = lambda source: source.inputs,
) -> None:
    """Raise EdgetfError for a signature, shapes or samples that do not fit the Keras file `model`.

    `samples` are the source, and whether it may have NaN; `batch` has the inputs that they are checked against. A model
    whose inputs are not in its configuration is not checked.
    """
    if signature is not None and signature not in _SIGNATURES:
        raise EdgetfError(f"{model} has no signature {signature!r}", nearest(signature, _SIGNATURES))
    header = keras_file.read_header(model)
    if not header.inputs or header.half:
        return
    asked = ask_shapes(Source(str(model), "", _SIGNATURES[1], header.inputs, ()), shapes)
    if samples is not None:
        _read.cache_clear()
        _read(samples[0], tuple(batch(asked)), samples[1])


def read_inputs(model: Path, signature: str | None, trust: bool, on_event: OnEvent) -> tuple[TensorSpec, ...]:
    """The inputs of a SavedModel or of a Keras file. Raises EdgetfError as `as_saved_model` and `read_source` do."""
    if keras_file.is_keras_file(model):
        header = keras_file.read_header(model)
        keras_file.refuse_code(model, header, trust)
        refuse_mistakes(model, signature, {}, None)
        if header.inputs and not header.half:
            return header.inputs
    with as_saved_model(model, trust, on_event) as found:
        return read_source_safely(found.folder, signature).inputs
