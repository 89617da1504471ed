"""TensorFlow's message classes, without TensorFlow: what a SavedModel holds is read in milliseconds, not in seconds.

The classes are modules of the installed TensorFlow that need protobuf alone (`tensorflow/core/**/*_pb2.py`). Its
package imports all of TensorFlow first, so that an empty module stands in for it while they are imported. If TensorFlow
is loaded already, or later, it has the same classes.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from edgetf.backend import load_tensorflow

_PACKAGE = "tensorflow"
_LOCK = threading.Lock()
_MOST_FILLED = 1 << 24  # elements that a few bytes of a file may stand for
# of an element of DataType: the name in TensorFlow, and the type in numpy if that has one
_DTYPES: dict[str, tuple[str, Any]] = {
    "DT_FLOAT": ("float32", np.float32),
    "DT_DOUBLE": ("float64", np.float64),
    "DT_HALF": ("float16", np.float16),
    "DT_BFLOAT16": ("bfloat16", None),
    "DT_INT8": ("int8", np.int8),
    "DT_INT16": ("int16", np.int16),
    "DT_INT32": ("int32", np.int32),
    "DT_INT64": ("int64", np.int64),
    "DT_UINT8": ("uint8", np.uint8),
    "DT_UINT16": ("uint16", np.uint16),
    "DT_UINT32": ("uint32", np.uint32),
    "DT_UINT64": ("uint64", np.uint64),
    "DT_BOOL": ("bool", np.bool_),
    "DT_COMPLEX64": ("complex64", np.complex64),
    "DT_COMPLEX128": ("complex128", np.complex128),
    "DT_STRING": ("string", None),
    "DT_RESOURCE": ("resource", None),
    "DT_VARIANT": ("variant", None),
}
_VALUES = {  # the field of a TensorProto that has the values, where it is not the one of integers
    "DT_FLOAT": "float_val",
    "DT_DOUBLE": "double_val",
    "DT_INT64": "int64_val",
    "DT_UINT32": "uint32_val",
    "DT_UINT64": "uint64_val",
    "DT_BOOL": "bool_val",
}


class NeedsTensorFlowError(Exception):
    """What was to be read needs TensorFlow itself."""


@cache
def messages() -> Any:
    """The namespace of the classes SavedModel, AssetFileDef, BundleHeaderProto, BundleEntryProto and of DataType.

    Raises MissingExtraError if TensorFlow is not installed.
    """
    with _LOCK:
        if _PACKAGE not in sys.modules:
            with suppress(ImportError), _stand_in() as found:
                if found:
                    return _import()
    load_tensorflow()
    return _import()


def dtype_name(number: int, pure: bool) -> str:
    """TensorFlow's name of a DataType. Raises NeedsTensorFlowError for a rare one if `pure`."""
    key = _key_of(number)
    if key in _DTYPES:
        return _DTYPES[key][0]
    if pure:
        raise NeedsTensorFlowError(key)
    return str(load_tensorflow().dtypes.as_dtype(number).name)


def numpy_dtype(number: int) -> np.dtype[Any]:
    """numpy's type of a DataType. Raises NeedsTensorFlowError if it has none."""
    dtype = _DTYPES.get(_key_of(number), ("", None))[1]
    if dtype is None:
        raise NeedsTensorFlowError(_key_of(number))
    return np.dtype(dtype)


def read_tensor(tensor: Any) -> np.ndarray[Any, Any]:
    """The array of a TensorProto, as `tf.make_ndarray` returns it. Raises NeedsTensorFlowError for a rare type."""
    shape, key = [axis.size for axis in tensor.tensor_shape.dim], _key_of(tensor.dtype)
    if not tensor.tensor_content and math.prod(shape) > _MOST_FILLED:
        raise NeedsTensorFlowError(key)
    if key == "DT_STRING" and not tensor.tensor_content:
        return _filled(list(tensor.string_val), shape)
    dtype = numpy_dtype(tensor.dtype)
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    if dtype.kind == "c":
        raise NeedsTensorFlowError(key)
    if key == "DT_HALF":
        values = np.array(tensor.half_val, np.uint16).view(dtype)
    else:
        values = np.array(getattr(tensor, _VALUES.get(key, "int_val")), dtype)
    if not values.size:
        return np.zeros(shape, dtype)
    return np.pad(values, (0, math.prod(shape) - values.size), "edge").reshape(shape)


def _filled(texts: list[bytes], shape: list[int]) -> np.ndarray[Any, Any]:
    """An array of texts: the last one is repeated."""
    missing = math.prod(shape) - len(texts)
    array = np.empty(len(texts) + max(missing, 0), object)
    array[:] = [*texts, *[texts[-1] if texts else ""] * missing]
    return array.reshape(shape)


def _key_of(number: int) -> str:
    names: dict[int, str] = {value: name for name, value in messages().DataType.items()}
    return names.get(number, "")


@contextmanager
def _stand_in() -> Iterator[bool]:
    """An empty module in place of TensorFlow's package; False if there is none, or if it was imported meanwhile."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        yield False
        return
    module = ModuleType(_PACKAGE)
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules[_PACKAGE] = module
    try:
        yield True
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == _PACKAGE]:
            del sys.modules[name]


def _import() -> Any:
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2, tensor_bundle_pb2

    found = ModuleType("messages")
    vars(found).update(
        SavedModel=saved_model_pb2.SavedModel,
        AssetFileDef=meta_graph_pb2.AssetFileDef,
        BundleHeaderProto=tensor_bundle_pb2.BundleHeaderProto,
        BundleEntryProto=tensor_bundle_pb2.BundleEntryProto,
        DataType=types_pb2.DataType,
    )
    return found
