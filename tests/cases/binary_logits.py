"""Two classes and one column of logits, trained with `from_logits=True`; labels are 0 and 1."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np


def make(folder: Path) -> None:
    """Write `saved_model`, `train.npz` and `test.npz`."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(0)
    features = random.normal(size=(1800, 12)).astype(np.float32)
    labels = (features[:, :3].sum(axis=1) + random.normal(0, 0.4, 1800) > 0).astype(np.int64)
    inputs = keras.Input((12,), name="features")
    hidden = keras.layers.Dense(96, activation="relu")(inputs)
    network = keras.Model(inputs, keras.layers.Dense(1, name="logit")(hidden))
    network.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    network.fit(features[:800], labels[:800], epochs=8, verbose=0)
    network.export(str(folder / "saved_model"), verbose=False)
    np.savez(folder / "train.npz", features=features[:200])
    np.savez(folder / "test.npz", features=features[800:], labels=labels[800:])
