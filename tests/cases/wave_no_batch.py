"""A model of one waveform, without a batch axis, of free and of fixed length; and one with a scalar switch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

LENGTH = 400


class Wave(tf.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.constant(random.normal(size=(64, 1, 16)).astype(np.float32))
        self.dense = tf.constant(random.normal(size=(16, 6)).astype(np.float32))

    def scores(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.nn.relu(tf.nn.conv1d(waveform[None, :, None], self.kernel, 32, "VALID"))
        return {"scores": tf.matmul(tf.reduce_mean(hidden, 1), self.dense)}


class Switch(tf.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.dense = tf.constant(np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32))

    def call(self, x: tf.Tensor, training: tf.Tensor) -> dict[str, tf.Tensor]:
        p = tf.matmul(x, self.dense)
        return {"p": tf.where(training, p * 0.5, p)}


def make(folder: Path) -> None:
    """Write `free`, `fixed` and `switch`, `waves.npz`, `flat.npz` and `switch.npz` into `folder`."""
    for name, length in (("free", None), ("fixed", LENGTH)):
        module = Wave()
        spec = tf.TensorSpec([length], tf.float32, name="waveform")
        module.call = tf.function(module.scores, input_signature=[spec])
        tf.saved_model.save(module, str(folder / name), signatures=module.call)
    switch = Switch()
    specs = [tf.TensorSpec([None, 12], tf.float32, name="x"), tf.TensorSpec([], tf.bool, name="training")]
    call = tf.function(switch.call).get_concrete_function(*specs)
    tf.saved_model.save(switch, str(folder / "switch"), signatures=call)
    random = np.random.default_rng(1)
    waves = random.normal(size=(40, LENGTH)).astype(np.float32)
    np.savez(folder / "waves.npz", waveform=waves)
    np.savez(folder / "flat.npz", waveform=waves.reshape(-1))
    x = random.normal(size=(40, 12)).astype(np.float32)
    np.savez(folder / "switch.npz", x=x, training=np.arange(40) % 2 == 1)
