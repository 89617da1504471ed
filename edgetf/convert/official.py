"""One Scheme through TensorFlow's own converter: SavedModel and samples in, the bytes of a `.tflite` out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.convert.backend import load_tensorflow
from edgetf.results import Source
from edgetf.samples import Array, Samples
from edgetf.schemes import Scheme

OnProgress = Callable[[int, int], None]


def convert_official(
    saved_model: Path, source: Source, scheme: Scheme, samples: Samples | None, flex: bool, on_progress: OnProgress
) -> bytes:
    """Convert `saved_model` (with `source`'s signature) by `scheme`, calibrating on all of `samples`.

    `on_progress(done, of)` counts calibration samples. Raises whatever TensorFlow raises; may crash the process.
    """
    tf = load_tensorflow()
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[source.signature])
    configure(converter, scheme, flex)
    if scheme.needs_samples:
        assert samples is not None
        converter.representative_dataset = lambda: _representative(source, samples, on_progress)
    content = converter.convert()
    assert isinstance(content, bytes)
    return content


def configure(converter: Any, scheme: Scheme, flex: bool, per_channel_dense: bool = True) -> None:
    """Set a converter's attributes for `scheme`, all but the representative dataset.

    `flex` allows TensorFlow's own ops, which then need the Flex delegate. Without `per_channel_dense` the weights of
    dense layers have one scale, as runtimes before LiteRT want it.
    """
    tf = load_tensorflow()
    ops = tf.lite.OpsSet
    # an unknown batch inside of a recurrent network stands for the batch of 1 that the inputs have
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


def _representative(source: Source, samples: Samples, on_progress: OnProgress) -> Iterator[dict[str, Array]]:
    """The representative dataset: one batch of the model at a time, by input name."""
    batch = source.inputs[0].shape[0] or 1
    n = len(samples)
    for begin in range(0, n, batch):
        yield {name: np.ascontiguousarray(array[begin : begin + batch]) for name, array in samples.inputs.items()}
        on_progress(min(begin + batch, n), n)
