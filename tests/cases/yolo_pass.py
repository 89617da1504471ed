"""A detector whose output holds boxes of 0 to 640 and scores of 0 to 1, as YOLO's exports do."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np


def make(folder: Path) -> None:
    """Write `saved_model`, `train.npz` and `test.npz`."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 32, 3), name="image")
    hidden = layers.Conv2D(16, 3, strides=4, padding="same", activation="swish")(inputs)
    hidden = layers.Conv2D(32, 3, padding="same", activation="swish")(hidden)
    boxes, scores = (
        layers.Reshape((64, n))(layers.Activation("sigmoid")(layers.Rescaling(12.0)(layers.Conv2D(n, 1)(hidden))))
        for n in (4, 3)
    )
    outputs = layers.Concatenate(-1)([layers.Rescaling(640.0)(boxes), scores])
    keras.Model(inputs, outputs).export(str(folder / "saved_model"), verbose=False)
    images = np.random.default_rng(0).uniform(0, 1, (200, 8, 8, 3)).repeat(4, 1).repeat(4, 2).astype(np.float32)
    np.savez(folder / "train.npz", image=images[:100])
    np.savez(folder / "test.npz", image=images[100:])
