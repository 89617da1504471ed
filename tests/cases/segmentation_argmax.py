"""Segmentation whose graph gives the map of classes (argmax, int64) and the probabilities; labels are maps."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def make(folder: Path) -> None:
    """Write `saved_model`, `train.npz` and `test.npz`."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(0)
    truth = np.zeros((400, 16, 16), np.int64)
    for one in truth:
        for size, label in ((6, 1), (4, 2)):
            top, left = random.integers(0, 16 - size, 2)
            one[top : top + size, left : left + size] = label
    images = (np.eye(3)[truth] * 0.6 + random.normal(0, 0.4, (400, 16, 16, 3))).astype(np.float32)
    inputs = keras.Input((16, 16, 3))
    fine = layers.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    coarse = layers.Conv2D(24, 3, padding="same", activation="relu")(layers.MaxPooling2D()(fine))
    joined = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(coarse), fine])
    network = keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(joined))
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(images[:250], truth[:250], epochs=10, verbose=0)

    class Segmenter(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32, name="image")])  # type: ignore[untyped-decorator]
        def call(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            scores = self.network(image)
            return {"probs": scores, "map": tf.argmax(scores, -1)}

    model = Segmenter()
    tf.saved_model.save(model, str(folder / "saved_model"), signatures=model.call)
    np.savez(folder / "train.npz", image=images[:100])
    np.savez(folder / "test.npz", image=images[250:], labels=truth[250:])
