"""A Sequential with augmentation layers and no Input, built by a call, which `model.export` leaves live."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def make(folder: Path) -> None:
    """`model.keras` (input by a call), `uint8.keras` (an Input of pixels, the augmentation in a separate model), and
    `samples.npz` / `uint8.npz`, labelled by the models themselves."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).integers(0, 17, (96, 8, 8, 1)).astype(np.uint8)
    flips = [layers.RandomFlip("horizontal_and_vertical"), layers.RandomRotation(0.1)]
    tail = [layers.Rescaling(1 / 16), layers.Flatten(), layers.Dropout(0.5), layers.Dense(10)]
    called = keras.Sequential([*flips, *tail])
    called(x)
    called.save(folder / "model.keras")
    pixels = keras.Input((8, 8, 1), dtype="uint8", name="pixels")
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomZoom(0.2)], name="augmentation")
    h = layers.GaussianNoise(0.5)(layers.Rescaling(1 / 16)(augmentation(pixels)))
    inside = keras.Model(pixels, layers.Dense(10)(layers.Flatten()(h)))
    inside.save(folder / "uint8.keras")
    name = keras.models.load_model(folder / "model.keras").inputs[0].name
    labels = np.asarray(called(x, training=False)).argmax(axis=1)
    np.savez(folder / "samples.npz", **{name: x.astype(np.float32), "labels": labels})
    np.savez(folder / "uint8.npz", pixels=x, labels=np.asarray(inside(x, training=False)).argmax(axis=1))
