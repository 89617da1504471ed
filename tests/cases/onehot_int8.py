"""One-hot encoding inside the graph, shared with a zero state: TensorFlow's quantizer gives off_value its own scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf


def make(folder: Path) -> None:
    """Write `saved_model`, `train.npz` and `test.npz`."""
    random = np.random.default_rng(0)
    first = tf.constant(random.normal(0, 0.3, (10, 48)).astype(np.float32))
    again = tf.constant(random.normal(0, 0.3, (48, 48)).astype(np.float32))

    class Digits(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 6], tf.int32, name="digits")])  # type: ignore[untyped-decorator]
        def call(self, digits: tf.Tensor) -> dict[str, tf.Tensor]:
            encoded, state = tf.one_hot(digits, 10), tf.zeros([1, 48])
            for k in range(3):
                state = tf.tanh(tf.matmul(encoded[:, k], first) + tf.matmul(state, again))
            return {"state": state}

    model = Digits()
    tf.saved_model.save(model, str(folder / "saved_model"), signatures=model.call)
    for name, n in (("train", 100), ("test", 100)):
        np.savez(folder / f"{name}.npz", digits=random.integers(0, 10, (n, 6)).astype(np.int32))
