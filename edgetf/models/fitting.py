"""Training a Keras model on Samples, the same for every model that `compile` and `fit` serve.

Works with either Keras generation: `tf.keras` is the one that TF_USE_LEGACY_KERAS chose. The loss follows from the
labels: class numbers, probabilities, or values to reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgetf.errors import EdgetfError
from edgetf.samples import Array, Samples

BATCH, SEED = 64, 1
Augment = Callable[[Any, Any], tuple[Any, Any]]


def fit(
    model: Any,
    train: Samples,
    epochs: int,
    learning_rate: float,
    callbacks: Sequence[Any] = (),
    augment: Augment | None = None,
) -> None:
    """Train `model` in place with Adam, whose rate falls from `learning_rate` to 0 along a half cosine.

    `augment` takes and returns one sample (without batch) and its label. Raises EdgetfError for Samples without labels.
    """
    compile_for(model, train, learning_rate, epochs)
    rows = tf.data.Dataset.from_tensor_slices((_inputs(model, train), train.labels)).shuffle(len(train), seed=SEED)
    if augment is not None:
        rows = rows.map(augment, tf.data.AUTOTUNE)
    model.fit(rows.batch(BATCH).prefetch(2), epochs=epochs, verbose=0, callbacks=list(callbacks))


def evaluate(model: Any, test: Samples) -> dict[str, float]:
    """`test_accuracy` where labels are classes, else `test_mean_squared_error`."""
    outputs, labels = np.asarray(model.predict(_inputs(model, test), batch_size=BATCH, verbose=0)), _labels(test)
    kind = _kind(outputs, labels)
    if kind == "values":
        return {"test_mean_squared_error": float(np.mean((outputs.reshape(labels.shape) - labels) ** 2))}
    if kind == "binary":
        threshold = 0.5 if _are_probabilities(model, outputs) else 0.0
        return {"test_accuracy": float(np.mean((outputs.reshape(-1) > threshold) == labels.reshape(-1)))}
    classes = labels.argmax(axis=-1) if kind == "one-hot" else labels.reshape(-1)
    return {"test_accuracy": float(np.mean(outputs.argmax(axis=-1) == classes))}


def compile_for(model: Any, train: Samples, learning_rate: float, epochs: int) -> None:
    """Compile `model` with the loss that fits the labels of `train`."""
    keras = tf.keras
    if len(model.outputs) != 1:
        raise EdgetfError(
            f"the model has {len(model.outputs)} outputs; labels are for one", "train it with its own loss"
        )
    outputs = np.asarray(model(batches(model, train, 1)[0], training=False))
    logits = not _are_probabilities(model, outputs)
    loss: Any = {
        "values": keras.losses.MeanSquaredError(),
        "binary": keras.losses.BinaryCrossentropy(from_logits=logits),
        "one-hot": keras.losses.CategoricalCrossentropy(from_logits=logits),
        "classes": keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
    }[_kind(outputs, _labels(train))]
    steps = -(-len(train) // BATCH) * epochs
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)), loss)


def batches(model: Any, samples: Samples, most: int) -> list[Any]:
    """The inputs of the first samples, in at most `most` batches."""
    rows = tf.data.Dataset.from_tensor_slices(_inputs(model, samples))
    return list(rows.batch(BATCH).take(most))


def _inputs(model: Any, samples: Samples) -> Any:
    """As Keras wants them: one array, or several by name."""
    if len(samples.inputs) != len(model.inputs):
        raise EdgetfError(f"the model has {len(model.inputs)} inputs, the samples have {len(samples.inputs)}")
    return dict(samples.inputs) if len(samples.inputs) > 1 else next(iter(samples.inputs.values()))


def _labels(samples: Samples) -> Array:
    if samples.labels is None:
        raise EdgetfError(f"{samples.source} has no labels to train on", "save them in the .npz under 'labels'")
    return samples.labels


def _kind(outputs: Array, labels: Array) -> str:
    """What the labels are for these outputs of shape (n, ...): "classes", "one-hot", "binary" or "values"."""
    if labels.dtype.kind in "iub" and outputs.ndim == 2 and labels.size == len(labels):
        if outputs.shape[1] > 1:
            return "classes"
        return "binary" if set(np.unique(labels)) <= {0, 1} else "values"
    one_hot = labels.shape[1:] == outputs.shape[1:] and outputs.ndim == 2 and outputs.shape[1] > 1
    if one_hot and set(np.unique(labels)) <= {0, 1} and (labels.sum(axis=1) == 1).all():
        return "one-hot"
    return "values"


def _are_probabilities(model: Any, outputs: Array) -> bool:
    """By the last activation where there is one; else by the values."""
    last = getattr(model.layers[-1], "layer", model.layers[-1])  # inside of tfmot's wrapper, where there is one
    activation = getattr(last, "activation", None)
    name = getattr(getattr(activation, "activation", activation), "__name__", "")
    if name in ("sigmoid", "softmax", "linear"):
        return name != "linear"
    inside = bool((outputs >= 0).all() and (outputs <= 1).all())  # type: ignore[operator]  # numbers
    return inside and (outputs.shape[-1] == 1 or bool(np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)))
