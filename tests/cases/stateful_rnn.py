"""Variables that are written, and others that are only read: a streaming LSTM, and batch norm in training mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def make(folder: Path) -> None:
    """Write the SavedModels `streaming` and `training`, with the samples `streaming.npz` and `training.npz`."""
    layers, random = keras.layers, np.random.default_rng(0)
    keras.utils.set_random_seed(1)
    frames = keras.Input((10, 4), batch_size=1)
    streaming = keras.Model(frames, layers.Dense(3, activation="softmax")(layers.LSTM(24, stateful=True)(frames)))
    _save(folder / "streaming", streaming, [1, 10, 4])
    steps = np.cumsum(random.normal(size=(40, 10, 4)), 1).astype(np.float32)
    np.savez(folder / "streaming.npz", x=steps)
    image = keras.Input((8, 8, 3))
    normed = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3)(image), training=True))
    training = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(normed)))
    _save(folder / "training", training, [1, 8, 8, 3])
    np.savez(folder / "training.npz", x=random.normal(size=(40, 8, 8, 3)).astype(np.float32))


def _save(place: Path, model: Any, shape: list[int]) -> None:
    class Wrapped(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.model = model

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"p": self.model(x)}

    wrapped = Wrapped()
    tf.saved_model.save(wrapped, str(place), signatures=wrapped.call)
