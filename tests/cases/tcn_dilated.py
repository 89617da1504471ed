"""Causal dilated Conv1D with labels for each step (tagging)."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np


def make(folder: Path) -> None:
    """Write `saved_model`, `train.npz` and `test.npz`."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    series = np.random.default_rng(0).normal(size=(600, 40, 3)).astype(np.float32)
    labels = (np.cumsum(series[..., 0], 1) > 0).astype(np.int64) + (series[..., 1] > 1)
    inputs = keras.Input((40, 3), name="series")
    hidden = layers.Dense(16)(inputs)
    for rate in (1, 2, 4, 8):
        branch = layers.Conv1D(16, 3, dilation_rate=rate, padding="causal", activation="relu")(hidden)
        hidden = layers.LayerNormalization()(hidden + branch)
    outputs = layers.Dense(3, activation="softmax")(layers.Dense(32, activation="relu")(hidden))
    network = keras.Model(inputs, outputs)
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(series[:300], labels[:300], epochs=6, verbose=0)
    network.export(str(folder / "saved_model"), verbose=False)
    np.savez(folder / "train.npz", series=series[:100])
    np.savez(folder / "test.npz", series=series[300:], labels=labels[300:])
