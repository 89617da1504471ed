"""A convolutional network for handwritten digits: convolution and pooling twice, then two dense layers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from edgetf.models.digits import load_digits
from edgetf.models.progress import ReportProgress
from edgetf.models.zoo import Data
from edgetf.process import OnEvent

EPOCHS, BATCH, SEED = 12, 64, 1


def load_data() -> Data:
    return load_digits()


def build() -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax", name="probability"),
        ],
        name="cnn",
    )


def train(data: Data, on_event: OnEvent) -> tuple[Any, dict[str, float]]:
    keras.utils.set_random_seed(SEED)
    model = build()
    steps = -(-len(data.train) // BATCH) * EPOCHS
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    images = tf.data.Dataset.from_tensor_slices((data.train.inputs["image"], data.train.labels))
    images = images.shuffle(len(data.train), seed=SEED).map(shift, tf.data.AUTOTUNE).batch(BATCH).prefetch(2)
    model.fit(images, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[ReportProgress(EPOCHS, on_event)])
    _, accuracy = model.evaluate(data.test.inputs["image"], data.test.labels, verbose=0)
    return model, {"test_accuracy": float(accuracy)}


def shift(image: Any, label: Any) -> tuple[Any, Any]:
    """Move an image by up to two pixels: four thousand images are few."""
    padded = tf.pad(image, [[2, 2], [2, 2], [0, 0]])
    return tf.image.random_crop(padded, [28, 28, 1]), label
