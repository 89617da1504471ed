"""One training in a separate process: `python -m tests.models.worker OUT.npz HARDWARE_JSON`."""

from __future__ import annotations

import json
import sys

import numpy as np

from edgetf import files
from edgetf.models.hardware import Hardware, configure


def main() -> None:
    out, plain = sys.argv[1:]
    strategy, chosen = configure(files.from_plain(json.loads(plain), Hardware))
    import tensorflow as tf

    from edgetf.models.fitting import Recipe, fit
    from edgetf.models.run import Run
    from edgetf.samples import make_samples

    def build() -> object:
        layers = tf.keras.layers
        image = tf.keras.Input((8, 8, 1), name="image")
        x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(image))
        return tf.keras.Model(image, layers.Dense(3, activation="softmax")(x))

    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 416)  # six batches, and half of one
    images = (random.normal(size=(416, 8, 8, 1)) + labels[:, None, None, None]).astype(np.float32)
    model = fit(build, make_samples("x", {"image": images}, labels), Recipe(3, 1e-2), Run(strategy=strategy))
    devices = strategy.num_replicas_in_sync if strategy else 1
    np.savez(out, *model.get_weights(), devices=devices)
    print(chosen)  # noqa: T201


if __name__ == "__main__":
    main()
