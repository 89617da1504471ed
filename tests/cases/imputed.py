"""A model that imputes missing values itself: NaN becomes the mean of the column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf


def make(folder: Path) -> None:
    """Write `saved_model`, which has an input called `labels` too, and `samples.npz` into `folder`."""
    dense = tf.constant(np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32))

    def call(x: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        known = tf.where(tf.math.is_nan(x), tf.fill(tf.shape(x), 0.25), x)
        return {"p": tf.nn.softmax(tf.matmul(known, dense) + tf.cast(labels, tf.float32))}

    module = tf.Module()
    specs = [tf.TensorSpec([None, 8], tf.float32, name="x"), tf.TensorSpec([None, 3], tf.int32, name="labels")]
    module.call = tf.function(call).get_concrete_function(*specs)
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=module.call)
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 8)).astype(np.float32)
    x[random.random(x.shape) < 0.2] = np.nan
    known = np.where(np.isnan(x), 0.25, x) @ dense.numpy()
    shift = random.integers(0, 2, (60, 3)).astype(np.int32)
    np.savez(folder / "samples.npz", x=x, labels=shift, labels_=(known + shift).argmax(axis=1))
