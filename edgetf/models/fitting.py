"""Train a Keras model on Samples: the training loop of all models without a special one.

Works with either Keras generation: `tf.keras` is the one that TF_USE_LEGACY_KERAS chose. The loss follows from the
labels: class numbers, probabilities, or values to reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgetf.errors import EdgetfError
from edgetf.models.epochs import Epochs
from edgetf.models.pipeline import BATCH, SEED, Augment, Pipeline
from edgetf.models.run import QUIET, Run
from edgetf.samples import Array, Samples


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: Adam, whose rate falls from `learning_rate` to 0 along a half cosine.

    `loss` and `metrics` are Keras's; without a loss it follows from the labels. `augment` changes a sample.
    """

    epochs: int
    learning_rate: float
    augment: Augment | None = None
    seed: int = SEED
    loss: Any = None
    metrics: tuple[Any, ...] = ()


def fit(
    build: Callable[[], Any], train: Samples, recipe: Recipe, run: Run = QUIET, callbacks: Sequence[Any] = ()
) -> Any:
    """The model that `build` makes, trained on `train`.

    The same weights come out whether it is interrupted and resumes from a checkpoint or not. Under a strategy each
    batch is shared by the devices. Raises EdgetfError for Samples that have no labels or do not fit.
    """
    tf.keras.utils.set_random_seed(recipe.seed)
    with run.scope():
        model = build()
        pipeline = Pipeline(_inputs(model, train), _labels(train), BATCH, recipe.seed, recipe.augment)
        compile_for(model, train, recipe, pipeline.steps * (run.epochs or recipe.epochs))
        _build_optimizer(model)
        _train(model, pipeline, recipe, run, callbacks)
    return model


def _train(model: Any, pipeline: Pipeline, recipe: Recipe, run: Run, callbacks: Sequence[Any]) -> None:
    """The loop. It is not Keras 3's `fit`, which fails under MultiWorkerMirroredStrategy (keras-team/keras#20585)."""
    strategy = run.strategy or tf.distribute.get_strategy()
    check_shares(len(pipeline), strategy)

    @tf.function  # type: ignore[untyped-decorator]
    def step(batch: Any) -> None:
        strategy.run(model.train_step, args=(batch,))

    called = tf.keras.callbacks.CallbackList(list(callbacks), model=model)
    epochs = Epochs(run, recipe.epochs, model=model, optimizer=model.optimizer)
    called.on_train_begin()
    for epoch in epochs.left():
        model.reset_metrics()
        _seed_dropout(model, recipe.seed, epoch)
        called.on_epoch_begin(epoch)
        for number, batch in enumerate(strategy.experimental_distribute_dataset(pipeline.epoch(epoch))):
            if epoch == number == 0:
                epochs.draw(step, batch)
            epochs.batch()
            called.on_train_batch_begin(number)
            step(batch)
            called.on_train_batch_end(number)
        metrics = {name: float(value) for name, value in _results(model).items()}
        called.on_epoch_end(epoch, metrics)
        epochs.done(epoch, **metrics)
    called.on_train_end()


def evaluate(model: Any, test: Samples) -> dict[str, float]:
    """`test_accuracy` if the labels are classes, otherwise `test_mean_squared_error`."""
    outputs, labels = _outputs(model, test), _labels(test)
    kind = _kind(outputs, labels)
    if kind == "values":
        return {"test_mean_squared_error": float(np.mean((outputs.reshape(labels.shape) - labels) ** 2))}
    if kind == "binary":
        threshold = 0.5 if _are_probabilities(model, outputs) else 0.0
        return {"test_accuracy": float(np.mean((outputs.reshape(-1) > threshold) == labels.reshape(-1)))}
    classes = labels.argmax(axis=-1) if kind == "one-hot" else labels.reshape(-1)
    return {"test_accuracy": float(np.mean(outputs.argmax(axis=-1) == classes))}


def compile_for(model: Any, train: Samples, recipe: Recipe, steps: int) -> None:
    """Compile `model` for `steps` batches, with the recipe's loss or the one that fits the labels of `train`."""
    keras = tf.keras
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    loss = recipe.loss if recipe.loss is not None else _loss(model, train)
    # this module decides whether XLA compiles: neither compiles `step`
    model.compile(keras.optimizers.Adam(rate), loss, metrics=list(recipe.metrics))


def _loss(model: Any, train: Samples) -> Any:
    keras = tf.keras
    outputs = model(batches(model, train, 1)[0], training=False)
    if isinstance(outputs, (dict, list, tuple)) and len(outputs) != 1:
        raise EdgetfError(f"the model has {len(outputs)} outputs; labels are for one", "train it with its own loss")
    logits = not _are_probabilities(model, np.asarray(outputs))
    loss: Any = {
        "values": keras.losses.MeanSquaredError(),
        "binary": keras.losses.BinaryCrossentropy(from_logits=logits),
        "one-hot": keras.losses.CategoricalCrossentropy(from_logits=logits),
        "classes": keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
    }[_kind(np.asarray(outputs), _labels(train))]
    return loss


def check_shares(samples: int, strategy: Any) -> None:
    """Raise EdgetfError if the devices of `strategy` would get shares of a batch of different sizes.

    The gradients of all devices count equally, so that samples in smaller shares would count more.
    """
    devices = strategy.num_replicas_in_sync
    if BATCH % devices or samples % BATCH % devices:
        reason = f"{samples} samples in batches of {BATCH} cannot be shared evenly by {devices} devices"
        raise EdgetfError(reason, "use a number of devices that divides both, such as 2")


def _build_optimizer(model: Any) -> None:
    """Make the optimizer's variables, so that a checkpoint has somewhere to go."""
    if hasattr(model.optimizer, "built"):
        model.optimizer.build(model.trainable_variables)


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Give each of Keras 3's generators (dropout has one) a state that depends on the epoch alone."""
    states = [v for v in model.variables if getattr(v, "name", "") == "seed_generator_state"]
    for k, state in enumerate(states):
        state.assign([seed + 1000 * k, epoch])


def _results(model: Any) -> dict[str, Any]:
    """The metrics of an epoch by name, in either generation."""
    if hasattr(model, "get_metrics_result"):
        return dict(model.get_metrics_result())
    return {metric.name: metric.result() for metric in model.metrics}


def batches(model: Any, samples: Samples, most: int) -> list[Any]:
    """The inputs of the first samples, in at most `most` batches (-1: all of them)."""
    rows = tf.data.Dataset.from_tensor_slices(_inputs(model, samples))
    return list(rows.batch(BATCH).take(most))


def _outputs(model: Any, samples: Samples) -> Any:
    """For all samples. (`predict` fails under MultiWorkerMirroredStrategy, as `fit` does.)"""
    step = tf.function(lambda batch: model(batch, training=False))
    return np.concatenate([step(batch) for batch in batches(model, samples, -1)])


def _inputs(model: Any, samples: Samples) -> Any:
    """As Keras wants them: one array, or several by name."""
    known = getattr(model, "inputs", None)  # a subclassed model does not list them
    if known and len(samples.inputs) != len(known):
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
    """By the last activation if there is one, otherwise by the values."""
    last = getattr(model.layers[-1], "layer", model.layers[-1])  # inside of tfmot's wrapper, if there is one
    activation = getattr(last, "activation", None)
    name = getattr(getattr(activation, "activation", activation), "__name__", "")
    if name in ("sigmoid", "softmax", "linear"):
        return name != "linear"
    inside = bool((outputs >= 0).all() and (outputs <= 1).all())  # type: ignore[operator]  # numbers
    return inside and (outputs.shape[-1] == 1 or bool(np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)))
