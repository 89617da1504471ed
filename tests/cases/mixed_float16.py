"""A model built under the mixed_float16 policy, as a Keras file and exported as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def make(folder: Path) -> None:
    """`model.keras`, `model.h5`, `saved_model` and `samples.npz`."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        image = keras.Input((8, 8, 1), name="image")
        h = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(image)))
        h = layers.Dense(10)(layers.Flatten()(h))
        model = keras.Model(image, layers.Activation("softmax", dtype="float32")(h))
    finally:
        keras.config.set_dtype_policy(before)
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.export(str(folder / "saved_model"), verbose=False)
    np.savez(folder / "samples.npz", image=np.random.default_rng(0).uniform(0, 1, (64, 8, 8, 1)).astype(np.float32))
