"""Samples in, `tf.data` batches out: a pure function of the seed and the epoch, so that a training can resume anywhere.

No shuffle buffer and no random state: the order of an epoch is a permutation that is computed index by index
(`tf.random.experimental.index_shuffle`), and what is random in a sample has its own stateless seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

BATCH, SEED = 64, 1
# a sample (without batch), its label, and a seed of shape (2,) for `tf.image.stateless_random_*`
Augment = Callable[[Any, Any, Any], tuple[Any, Any]]


class Pipeline:
    """Batches of (inputs, labels), shuffled again in each epoch.

    `inputs` is one array or several by name, each of shape (n, ...); `labels` has shape (n, ...).
    """

    def __init__(self, inputs: Any, labels: Any, batch: int = BATCH, seed: int = SEED, augment: Augment | None = None):
        self._batch, self._n = batch, len(labels)
        given = tf.nest.map_structure(tf.constant, (inputs, labels))
        seed = tf.constant(seed, tf.int64)

        @tf.function  # type: ignore[untyped-decorator]  # traced once, not in every epoch
        def row(step: Any) -> Any:
            epoch, position = step // self._n, step % self._n
            key = tf.cast(tf.stack([seed, epoch]), tf.int32)
            k = tf.random.experimental.index_shuffle(position, key, self._n - 1)
            sample, label = tf.nest.map_structure(lambda array: tf.gather(array, k), given)
            return (sample, label) if augment is None else augment(sample, label, tf.stack([seed, step]))

        self._row = row

    def __len__(self) -> int:
        return self._n

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-self._n // self._batch)

    def epoch(self, number: int) -> tf.data.Dataset:
        """The batches of the epoch `number`, from 0; the last one may be smaller."""
        steps = tf.data.Dataset.range(number * self._n, (number + 1) * self._n)
        # the order of samples among the workers of a strategy does not matter, but each must come once
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        rows = steps.map(self._row, tf.data.AUTOTUNE).batch(self._batch).prefetch(2)
        return rows.with_options(options)
