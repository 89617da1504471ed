"""Object detection, judged by what detectors are judged by: a small detector, its samples, and two metrics for edgetf.

    python detection.py                                    trains it: saved_model/, train.npz, test.npz
    edgetf convert saved_model -o out --samples train.npz --scheme float32 --scheme int8
    edgetf reference saved_model --samples test.npz -o ref
    edgetf benchmark out --reference ref --metric detection:box_iou --metric detection:mean_average_precision -o bench

Pictures of 32x32 hold up to three bright rectangles. For each cell of an 8x8 grid, the detector gives the probability
that a rectangle has its centre there, and where its sides are. Labels are boxes (y0, x0, y1, x1) in shares of the
picture, shape (n, 3, 4); missing ones are -1.
"""

from __future__ import annotations

import numpy as np

GRID, BOXES = 8, 3
THRESHOLDS = np.arange(0.5, 1.0, 0.05)  # COCO's


def decode(output):
    """Boxes and scores of one sample from the grid of shape (8, 8, 5): score, then distances to the four sides."""
    score = output[..., 0].reshape(-1)
    row, column = np.divmod(np.arange(GRID * GRID), GRID)
    y, x = (row + 0.5) / GRID, (column + 0.5) / GRID
    up, left, down, right = output[..., 1:].reshape(-1, 4).T
    boxes = np.stack([y - up, x - left, y + down, x + right], axis=1)
    order = np.argsort(-score, kind="stable")
    order = order[score[order] >= 0.05][:20]
    kept = []
    overlaps = iou(boxes[order, None], boxes[None, order])
    for k in range(len(order)):  # non-maximum suppression
        if not (overlaps[k, kept] >= 0.5).any():
            kept.append(k)
    return boxes[order[kept]], score[order[kept]]


def iou(one, other):
    """The intersection of boxes over their union; shapes (..., 4)."""
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    area = sum(np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1) for boxes in (one, other))
    return both / np.maximum(area - both, 1e-9)


def box_iou(outputs, labels):
    """For each sample: the mean over its boxes of the best overlap that a detection (with a score of 0.3) has."""
    (grid,) = outputs.values()
    found = []
    for output, known in zip(grid, labels):
        boxes, scores = decode(output)
        boxes = boxes[scores >= 0.3]
        overlaps = iou(known[known[:, 0] >= 0][:, None], boxes[None])  # (boxes that are there, detections)
        found.append(overlaps.max(axis=1, initial=0.0).mean())
    return np.array(found)


def mean_average_precision(outputs, labels):
    """One number for all samples: the average precision, averaged over COCO's ten thresholds of overlap."""
    (grid,) = outputs.values()
    detections, total = [], 0
    for output, known in zip(grid, labels):
        boxes, scores = decode(output)
        true = known[known[:, 0] >= 0]
        total += len(true)
        detections.append((scores, iou(boxes[:, None], true[None])))
    return float(np.mean([_average_precision(detections, total, threshold) for threshold in THRESHOLDS]))


def _average_precision(detections, total, threshold):
    """The area under the curve of precision over recall, its precision made monotonous."""
    scores, right = [], []
    for own, overlaps in detections:
        taken = set()
        for k, score in enumerate(own):  # the surest first
            free = [j for j in range(overlaps.shape[1]) if j not in taken and overlaps[k, j] >= threshold]
            best = max(free, key=lambda j: overlaps[k, j], default=None)
            taken |= {best} - {None}
            scores.append(score)
            right.append(best is not None)
    order = np.argsort(-np.array(scores), kind="stable")
    hits = np.cumsum(np.array(right, float)[order])
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits / max(total, 1), prepend=0) * precision))


def make_samples(n, seed):
    random = np.random.default_rng(seed)
    images = random.normal(0, 0.1, (n, 32, 32, 1)).astype(np.float32)
    labels = np.full((n, BOXES, 4), -1, np.float32)
    for k in range(n):
        cells = random.choice(16, random.integers(1, BOXES + 1), replace=False)  # a 4x4 grid, so that none overlap
        for j, cell in enumerate(cells):
            centre = (np.array(divmod(cell, 4)) + 0.5) / 4 + random.uniform(-0.03, 0.03, 2)
            half = random.uniform(0.05, 0.1, 2)
            box = np.clip(np.concatenate([centre - half, centre + half]), 0, 1)
            labels[k, j] = box
            y0, x0, y1, x1 = np.round(box * 32).astype(int)
            images[k, y0:y1, x0:x1] += random.uniform(0.6, 1.0)
    return images, labels


def targets(labels):
    """The correct grid; cells without a box are 0."""
    grid = np.zeros((len(labels), GRID, GRID, 5), np.float32)
    for output, known in zip(grid, labels):
        for y0, x0, y1, x1 in known[known[:, 0] >= 0]:
            row, column = int((y0 + y1) / 2 * GRID), int((x0 + x1) / 2 * GRID)
            y, x = (row + 0.5) / GRID, (column + 0.5) / GRID
            output[row, column] = [1, y - y0, x - x0, y1 - y, x1 - x]
    return grid


def main(epochs=12, train=2000, test=300):
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((32, 32, 1), name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    score = layers.Conv2D(1, 1, activation="sigmoid")(x)
    sides = layers.Conv2D(4, 1)(x)
    model = keras.Model(image, layers.Concatenate(name="grid")([score, sides]))

    def loss(true, predicted):
        ops, there = keras.ops, true[..., :1]
        sure = keras.losses.binary_crossentropy(there, predicted[..., :1])
        near = ops.sum(ops.abs(true[..., 1:] - predicted[..., 1:]) * there, axis=-1)
        return ops.mean(sure + 5.0 * near)

    model.compile("adam", loss)
    images, labels = make_samples(train, 1)
    model.fit(images, targets(labels), batch_size=32, epochs=epochs, verbose=2)
    model.export("saved_model", verbose=False)
    np.savez("train.npz", image=images, labels=labels)
    images, labels = make_samples(test, 2)
    np.savez("test.npz", image=images, labels=labels)


if __name__ == "__main__":
    main()
