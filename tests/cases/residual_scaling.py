"""Two common scalar constants that do not fold: a residual scaled by 0.1, as EDSR has, and a temperature."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np


def make(folder: Path) -> None:
    """Write the SavedModels `residual` and `temperature`, and `train.npz`."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3), name="image")
    first = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    inner = layers.ReLU()(layers.Conv2D(8, 3, padding="same")(first))
    residual = layers.Conv2D(3, 3, padding="same")(first + layers.Rescaling(0.1)(inner))
    keras.Model(inputs, residual).export(str(folder / "residual"), verbose=False)
    scores = layers.ReLU()(layers.Dense(10)(layers.GlobalAveragePooling2D()(first)))
    softened = layers.Softmax()(layers.Rescaling(1 / 1.7)(scores))
    keras.Model(inputs, softened).export(str(folder / "temperature"), verbose=False)
    images = np.random.default_rng(0).uniform(0, 1, (50, 4, 4, 3)).repeat(2, 1).repeat(2, 2).astype(np.float32)
    np.savez(folder / "train.npz", image=images)
