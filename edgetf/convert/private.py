"""TensorFlow's private entry points, all in this file: one conversion without loading the model twice, and the two
quantizers that work on a flatbuffer which has its ranges already.

Seen with TensorFlow 2.21. `load_private` checks that all are there; where they are not, everything goes through the
official converter instead, which is slower and computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.convert.backend import load_tensorflow

_INT8 = 9  # QUANTIZED_INT8 in tensorflow/compiler/mlir/lite/types.proto


class Private:
    """The private entry points; make one with `load_private`."""

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
        """What `TFLiteConverter.from_saved_model(...).convert()` gives, without its metadata of the conversion.

        The official class loads the SavedModel twice, for checks and debug information: that is half of its time.
        `configure` sets the converter's public attributes.
        """
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

    def quantize_int16x8(self, flatbuffer: bytes) -> bytes:
        """Quantize a float flatbuffer whose tensors have `min` and `max` to int16 activations and int8 weights.

        Raises RuntimeError for ops that have no such kernel.
        """
        float32, int16, int64 = (np.dtype(name).num for name in ("float32", "int16", "int64"))
        wrapper = self._calibrator(flatbuffer)._calibrator
        quantized = wrapper.QuantizeModel(float32, float32, False, int16, int64, False, False)
        return bytes(self._deduplicate(quantized))


def load_private() -> Private | None:
    """The private entry points, or None where this TensorFlow does not have them all."""
    try:
        return Private()
    except (ImportError, AttributeError):
        return None
