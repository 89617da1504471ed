"""TensorFlow's private entry points, all in this file.

They are: a conversion that does not load the model twice, the two quantizers that work on a flatbuffer with ranges, and
the official calibrator's loop over samples. Seen with TensorFlow 2.21. `load_private` checks that those of the fast way
exist. Otherwise the official converter is used, which is slower and computes the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.backend import load_tensorflow
from edgetf.conversion.constants import has_infinity

_INT8 = 9  # QUANTIZED_INT8 in tensorflow/compiler/mlir/lite/types.proto


class Private:
    """The private entry points; use `load_private` to create it."""

    def __init__(self) -> None:
        load_tensorflow()
        from tensorflow.core.protobuf import saved_model_pb2
        from tensorflow.lite.python import convert, lite
        from tensorflow.lite.python.optimize import calibrator

        self._saved_model = saved_model_pb2.SavedModel
        self._converter = lite.TFLiteSavedModelConverterV2
        self._convert = self._converter._convert_from_saved_model
        self._quantize = convert.mlir_quantize
        self._calibrator = calibrator.Calibrator
        self._deduplicate = convert.deduplicate_readonly_buffers

    def convert(self, saved_model: Path, signature: str, configure: Callable[[Any], None]) -> bytes:
        """Like `TFLiteConverter.from_saved_model(...).convert()`, without the conversion's metadata.

        The official class loads the SavedModel twice, for checks and debug information: that is half of its time.
        `configure` sets the converter's public attributes.
        """
        return self._convert_once(saved_model, signature, configure)

    def convert_float(
        self, saved_model: Path, signature: str, configure: Callable[[Any], None], fills: bool = False
    ) -> bytes:
        """Like `convert`, for a scheme that keeps float constants.

        The converter looks at each number for infinity, which it replaces by the largest one; that is half of its time
        for large weights, and is left out unless there is one. With `fills`, a FILL computes each constant of more than
        a million bits whose elements are all the same.
        """

        def setting(converter: Any) -> None:
            configure(converter)
            converter._experimental_unfold_large_splat_constant = fills
            converter.canonicalizing_inf_as_min_max_float = False

        content = self._convert_once(saved_model, signature, setting)
        if not has_infinity(content):
            return content
        del content

        def replacing(converter: Any) -> None:
            setting(converter)
            converter.canonicalizing_inf_as_min_max_float = True

        return self._convert_once(saved_model, signature, replacing)

    def _convert_once(self, saved_model: Path, signature: str, configure: Callable[[Any], None]) -> bytes:
        converter = self._converter(str(saved_model), {"serve"}, [signature])
        configure(converter)
        proto = self._saved_model()
        proto.ParseFromString((saved_model / "saved_model.pb").read_bytes())
        return bytes(self._convert(converter, proto.meta_graphs[0].graph_def))

    def quantize_int8(self, flatbuffer: bytes, io: str, per_channel_dense: bool) -> bytes:
        """Quantize a float flatbuffer whose tensors have `min` and `max` to int8, with inputs and outputs of `io`."""
        dtype = load_tensorflow().dtypes.as_dtype(io)
        quantized = self._quantize(
            flatbuffer,
            inference_type=_INT8,
            input_data_type=dtype,
            output_data_type=dtype,
            disable_per_channel_for_dense_layers=not per_channel_dense,
        )
        return bytes(self._deduplicate(quantized))

    def quantize_int16x8(self, flatbuffer: bytes, io: str) -> bytes:
        """Quantize a float flatbuffer whose tensors have `min` and `max` to int16 activations and int8 weights.

        Its inputs and outputs are of `io`. Raises RuntimeError for ops without such a kernel.
        """
        ends, int16, int64 = (np.dtype(name).num for name in (io, "int16", "int64"))
        wrapper = self._calibrator(flatbuffer)._calibrator
        quantized = wrapper.QuantizeModel(ends, ends, False, int16, int64, False, False)
        return bytes(self._deduplicate(quantized))


def load_private() -> Private | None:
    """The private entry points, or None if this TensorFlow does not have all of them."""
    try:
        return Private()
    except (ImportError, AttributeError):
        return None


@contextlib.contextmanager
def calibrating(before: Callable[[bytes], bytes], after: Callable[[bytes], bytes]) -> Iterator[bool]:
    """Make the official calibrator reset states before each sample, and repair its float flatbuffer.

    `before` repairs the flatbuffer before calibration, `after` when it has its ranges for int8. The calibrator prepares
    the interpreter once. The state of a fused LSTM is therefore carried from sample to sample, and its ranges are of
    states that no real run has. If it is fed one sample at a time, it prepares before each. Yields False if this
    TensorFlow lacks the private entry points: then the official calibrator is unchanged.
    """
    load_tensorflow()
    try:
        from tensorflow.lite.python.optimize import calibrator

        official: Any = calibrator.Calibrator
        feed = official._feed_tensors
    except (ImportError, AttributeError):
        yield False
        return

    class OneByOne(official):  # type: ignore[misc]
        def __init__(self, content: bytes, *arguments: Any) -> None:
            super().__init__(before(content), *arguments)

        def calibrate(self, dataset_gen: Callable[[], Iterator[Any]]) -> bytes:
            return after(super().calibrate(dataset_gen))

        def _feed_tensors(self, dataset_gen: Callable[[], Iterator[Any]], resize_input: bool) -> None:
            for sample in dataset_gen():
                feed(self, lambda one=sample: iter([one]), resize_input)

    calibrator.Calibrator = OneByOne
    try:
        yield True
    finally:
        calibrator.Calibrator = official
