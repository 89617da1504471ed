"""A detector with non_max_suppression inside: as many rows as it keeps, without an axis for samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

BOXES = 12


class Detector(tf.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.constant(random.normal(size=(48, BOXES * 5)).astype(np.float32) / 4)

    def detect(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        p = tf.reshape(tf.matmul(tf.reshape(image, [1, 48]), self.kernel), [BOXES, 5])
        centre = tf.sigmoid(p[:, :2])
        return tf.concat([centre - 0.2, centre + 0.2], -1), tf.sigmoid(p[:, 4])

    def call(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes, scores = self.detect(image)
        kept = tf.image.non_max_suppression(boxes, scores, BOXES, 0.4, 0.5)
        return {"boxes": tf.gather(boxes, kept), "scores": tf.gather(scores, kept)}

    def kept(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes, scores = self.detect(image)
        good = scores > 0.5
        return {"boxes": tf.boolean_mask(boxes, good), "scores": tf.boolean_mask(scores, good)}

    def padded(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes, scores = self.detect(image)
        best, at = tf.math.top_k(scores, 6)
        return {"boxes": tf.gather(boxes, at), "scores": best, "count": tf.reduce_sum(tf.cast(best > 0.5, tf.int32))}


def make(folder: Path) -> None:
    """Write `saved_model` (NMS), `kept` (rows vary, too), `padded` (they do not) and `samples.npz` into `folder`."""
    module = Detector()
    spec = tf.TensorSpec([1, 4, 4, 3], tf.float32, name="image")
    for name, call in (("saved_model", module.call), ("kept", module.kept), ("padded", module.padded)):
        tf.saved_model.save(module, str(folder / name), signatures=tf.function(call, input_signature=[spec]))
    images = np.random.default_rng(1).normal(size=(80, 4, 4, 3)).astype(np.float32)
    np.savez(folder / "samples.npz", image=images)
