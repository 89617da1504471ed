"""One Scheme through TensorFlow's own converter. In: SavedModel and samples. Out: the bytes of a repaired `.tflite`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.backend import load_tensorflow
from edgetf.conversion.indices import keep_indices
from edgetf.conversion.known_faults import has_states, repair_faults
from edgetf.conversion.private import calibrating
from edgetf.results import Source
from edgetf.samples import Array, Samples
from edgetf.schemes import Scheme

OnProgress = Callable[[int, int], None]
_RESET = "calibrated with the state reset to zero before each sample; TensorFlow's calibrator carries it over"
_CARRIED = "its ranges are of a state that is carried from sample to sample: this TensorFlow has no way to reset it"


def convert_official(
    saved_model: Path, source: Source, scheme: Scheme, samples: Samples | None, flex: bool, on_progress: OnProgress
) -> tuple[bytes, tuple[str, ...]]:
    """Convert `saved_model` (with `source`'s signature) by `scheme`, calibrating on all `samples`; returns notes too.

    `on_progress(done, of)` counts calibration samples. Raises whatever TensorFlow raises; may crash the process.
    """
    tf = load_tensorflow()
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[source.signature])
    configure(converter, scheme, flex)
    if scheme.needs_samples:
        assert samples is not None
        converter.representative_dataset = lambda: _representative(samples, on_progress)
    notes: list[str] = []

    def repair_float(flatbuffer: bytes) -> bytes:
        repaired, found = repair_faults(flatbuffer)
        notes.extend(found)
        return repaired

    def repair_ranges(flatbuffer: bytes) -> bytes:
        repaired, found = keep_indices(flatbuffer, scheme.io, samples.inputs if samples else {})
        notes.extend(found)
        return repaired

    with calibrating(repair_float, repair_ranges) as resets:
        converted = converter.convert()
    content, found = repair_faults(converted)
    if scheme.needs_samples and has_states(content):
        notes.append(_RESET if resets else _CARRIED)
    return content, tuple(dict.fromkeys([*notes, *found]))


def configure(converter: Any, scheme: Scheme, flex: bool, per_channel_dense: bool = True) -> None:
    """Set a converter's attributes for `scheme`, except for the representative dataset.

    `flex` allows TensorFlow's own ops, which then need the Flex delegate. Without `per_channel_dense` the weights of a
    dense layer have a single scale, which runtimes before LiteRT need.
    """
    tf = load_tensorflow()
    ops = tf.lite.OpsSet
    # an unknown batch size inside of a recurrent network means the batch of 1 of the inputs
    converter._experimental_default_to_single_batch_in_tensor_list_ops = True
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel_dense
    if scheme.weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme.activations == "int8":
        converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8]
    elif scheme.activations == "int16":
        converter.target_spec.supported_ops = [ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    if flex:
        converter.target_spec.supported_ops = [*converter.target_spec.supported_ops, ops.SELECT_TF_OPS]
    if scheme.io != "float32":
        converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(scheme.io)


def _representative(samples: Samples, on_progress: OnProgress) -> Iterator[dict[str, Array]]:
    """The representative dataset: one inference at a time, by input name."""
    n = len(samples)
    for begin in range(0, n, samples.batch):
        end = begin + samples.batch
        yield {name: _contiguous(array) for name, array in samples.feed(begin, end).items()}
        on_progress(min(end, n), n)


def _contiguous(array: Array) -> Array:
    """Like `np.ascontiguousarray`, but that would give a scalar an axis."""
    return np.require(array, requirements="C")
