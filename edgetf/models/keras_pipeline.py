"""Keras's own pipeline: the same network by `Sequential` and by the functional API, then `compile`, `fit`, `evaluate`.

Both start from the same seed and see the same batches: they end with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from edgetf.models.digits import load_digits
from edgetf.models.epochs import Epochs
from edgetf.models.pipeline import SEED, Pipeline
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained

keras = tf.keras
layers = keras.layers
EPOCHS = 8


def load_data() -> Data:
    return load_digits()


def sequential() -> Any:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(16, 5, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax", name="probability"),
        ]
    )


def functional() -> Any:
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 5, strides=2, activation="relu")(image)
    x = layers.Flatten()(x)
    x = layers.Dense(64, activation="relu")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="probability")(x), name="keras_pipeline")


build = functional


def compiled(make: Callable[[], Any]) -> Any:
    keras.utils.set_random_seed(SEED)
    model = make()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)  # so that a checkpoint has somewhere to go
    return model


def train(data: Data, run: Run) -> Trained:
    run.on_one_device("keras_pipeline")
    models = {"sequential": compiled(sequential), "functional": compiled(functional)}
    state = {
        f"{name}_{part}": value for name, m in models.items() for part, value in (("model", m), ("opt", m.optimizer))
    }
    pipeline = Pipeline(data.train.inputs["image"], data.train.labels)
    epochs = Epochs(run, EPOCHS, **state)
    for epoch in epochs.left():
        metrics = {}
        for name, model in models.items():
            batches = pipeline.epoch(epoch)  # shuffled already
            history = model.fit(batches, initial_epoch=epoch, epochs=epoch + 1, shuffle=False, verbose=0)
            metrics.update({f"{name}_{metric}": values[0] for metric, values in history.history.items()})
        epochs.done(epoch, **metrics)
    test = data.test.inputs["image"], data.test.labels
    reached = {name: model.evaluate(*test, verbose=0, return_dict=True) for name, model in models.items()}
    metrics = {"test_accuracy": reached["functional"]["accuracy"]}
    return Trained(models["functional"], {**metrics, "sequential_accuracy": reached["sequential"]["accuracy"]}, data)
