"""Which machine is it? A GRU reads a time series of 64 values and names the kind of wave that hides in the noise.

The series are made here: sine, square, triangle and sawtooth waves of random period, phase and height, in noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgetf.models.fitting import Recipe, evaluate, fit
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained
from edgetf.samples import Samples, make_samples

keras = tf.keras
RECIPE = Recipe(epochs=15, learning_rate=1e-2)
LENGTH, UNITS, NOISE = 64, 32, 0.1
TRAIN, TEST = 3000, 1000


def load_data() -> Data:
    return Data(_make(TRAIN, 0), _make(TEST, 1))


def build() -> Any:
    return keras.Sequential(
        [
            keras.Input((LENGTH, 1), name="series"),
            keras.layers.GRU(UNITS),
            keras.layers.Dense(4, activation="softmax", name="probability"),
        ],
        name="gru",
    )


def train(data: Data, run: Run) -> Trained:
    model = fit(build, data.train, RECIPE, run)
    return Trained(model, evaluate(model, data.test), data)


def _make(count: int, seed: int) -> Samples:
    """Series of shape (count, LENGTH, 1), labelled 0 sine, 1 square, 2 triangle, 3 sawtooth."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, 4, count)
    period, phase = random.uniform(12, 24, (count, 1)), random.uniform(0, 1, (count, 1))
    turn = (np.arange(LENGTH) / period + phase) % 1
    sine = np.sin(2 * np.pi * turn)
    waves = np.stack([sine, np.sign(sine), 4 * np.abs(turn - 0.5) - 1, 2 * turn - 1])
    series = waves[kinds, np.arange(count)] * random.uniform(0.5, 1, (count, 1))
    series = (series + random.normal(0, NOISE, series.shape))[..., None].astype(np.float32)
    return make_samples(f"waves in noise (generator, seed {seed})", {"series": series}, kinds)
