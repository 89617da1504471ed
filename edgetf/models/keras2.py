"""A Keras 3 model rebuilt in Keras 2 (`tf_keras`), layer by layer, because tfmot knows Keras 2 only.

Both generations can be imported side by side: only `tf.keras` has to choose. The twin's outputs are compared with the
original's, so that a layer whose meaning has changed between the generations is found.
"""

from __future__ import annotations

import importlib
import inspect
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from edgetf.errors import EdgetfError

_TOLERANCE = 1e-4  # of the largest output: the same float32 arithmetic, in another order
_HINT = "build it with tf_keras (import tf_keras as keras) and give that file"


def to_keras2(model: Any) -> Any:
    """The twin of a sequential or functional Keras 3 model, with its weights.

    Raises EdgetfError for other models, for layers that Keras 2 lacks, and if the outputs differ.
    """
    if not hasattr(model, "_functional") and not hasattr(model, "_run_through_graph"):
        raise EdgetfError(f"{model.name} is a subclassed Keras 3 model, which has no twin in Keras 2", _HINT)
    graph = getattr(model, "_functional", None) or model
    twins: dict[str, Any] = {}
    inputs = [tf.keras.Input(i.shape[1:], batch_size=i.shape[0], name=i.name, dtype=i.dtype) for i in graph.inputs]
    given = inputs[0] if len(inputs) == 1 else inputs

    def twin_of(layer: Any) -> Any:
        if layer.name not in twins:
            twins[layer.name] = _twin(layer)
        return partial(_call, twins[layer.name])

    outputs = graph._run_through_graph(given, twin_of)
    twin = tf.keras.Model(inputs, outputs, name=model.name)
    for layer in graph.layers:
        if layer.name in twins:
            twins[layer.name].set_weights(layer.get_weights())
    _compare(model, twin)
    return twin


def _call(twin: Any, *inputs: Any, training: bool | None = None, **options: Any) -> Any:
    """Call a twin without `training`: Keras 3 notes True for an augmentation, which Keras 2 would take literally."""
    return twin(*inputs, **options)


def _twin(layer: Any) -> Any:
    kind = type(layer).__name__
    cls = getattr(tf.keras.layers, kind, None)
    if cls is None or type(layer).__module__.split(".")[0] != "keras":
        raise EdgetfError(f"layer {layer.name} ({kind}) is unknown to Keras 2, which tfmot needs", _HINT)
    config = layer.get_config()
    config["dtype"] = layer.dtype_policy.name
    known = set(inspect.signature(cls.__init__).parameters) | {"name", "trainable", "dtype"}
    # the weights are copied, so how they were first made does not matter
    kept = {name: value for name, value in config.items() if name in known and not name.endswith("_initializer")}
    return cls.from_config(kept)


def _compare(model: Any, twin: Any) -> None:
    random = np.random.default_rng(0)
    shapes = [[i.shape[0] or 4, *(axis or 4 for axis in i.shape[1:])] for i in model.inputs]
    # whole numbers are 0 or 1, which an embedding of any size knows
    high = [1.0 if "float" in i.dtype else 2.0 for i in model.inputs]
    arrays = [
        random.uniform(0, most, shape).astype(i.dtype)
        for shape, most, i in zip(shapes, high, model.inputs, strict=True)
    ]
    given = arrays[0] if len(arrays) == 1 else arrays
    ours = [np.asarray(output) for output in tf.nest.flatten(model(given, training=False))]
    theirs = [np.asarray(output) for output in tf.nest.flatten(twin(given, training=False))]
    for a, b in zip(ours, theirs, strict=True):
        if np.abs(a - b).max() > _TOLERANCE * max(1.0, float(np.abs(a).max())):
            raise EdgetfError(f"{model.name} computes something else when it is rebuilt in Keras 2", _HINT)


def is_keras3(model: Any) -> bool:
    keras = importlib.import_module("keras")
    return isinstance(model, keras.Model)
