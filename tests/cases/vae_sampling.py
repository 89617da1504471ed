"""Models whose answer is random, or depends on the other samples of a batch, each with its samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

WEIGHTS = tf.constant(np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
STATE = tf.Variable(0.0)


def _drawn(x: Any) -> dict[str, Any]:
    mean = tf.matmul(x, WEIGHTS)
    return {"sure": mean, "drawn": mean + tf.random.normal(tf.shape(mean))}


def _dropped(x: Any) -> dict[str, Any]:
    return {"y": tf.matmul(tf.nn.dropout(x, 0.5, seed=3), WEIGHTS)}  # a fixed seed advances from call to call


def _counted(x: Any) -> dict[str, Any]:
    return {"y": tf.matmul(x, WEIGHTS) + STATE.assign_add(1.0)}


def _stateless(x: Any) -> dict[str, Any]:
    return {"y": tf.matmul(x, WEIGHTS) + tf.random.stateless_normal([4], (1, 2))}


def _normalized(x: Any) -> dict[str, Any]:
    y = tf.reshape(x, [-1, 3, 2])
    mean, variance = tf.nn.moments(y, [0, 1])  # BatchNorm in training mode
    return {"y": (y - mean) / tf.sqrt(variance + 1e-3)}


def _shuffled(x: Any) -> dict[str, Any]:
    return {"y": tf.matmul(tf.random.shuffle(x), WEIGHTS)}


def _sized(x: Any) -> dict[str, Any]:
    y = tf.matmul(x, WEIGHTS)
    return {"y": tf.cond(tf.shape(x)[0] > 32, lambda: y - 3 * tf.reduce_mean(y, 0), lambda: y)}


MODELS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "drawn": _drawn,
    "dropped": _dropped,
    "counted": _counted,
    "stateless": _stateless,
    "normalized": _normalized,
    "shuffled": _shuffled,
    "sized": _sized,
}


def make(folder: Path, name: str = "drawn") -> None:
    """Write `saved_model` and `samples.npz` into `folder`."""
    module = tf.Module()
    module.state = STATE
    module.call = tf.function(MODELS[name], input_signature=[tf.TensorSpec([None, 6], tf.float32, name="x")])
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=module.call)
    x = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)
    np.savez(folder / "samples.npz", x=x)
