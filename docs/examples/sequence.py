"""Sequences, judged by their edit distance: a small reader of lines of digits, its samples, and a metric for edgetf.

    python sequence.py                                     trains it: saved_model/, train.npz, test.npz
    edgetf convert saved_model -o out --samples train.npz --scheme float32 --scheme dynamic
    edgetf reference saved_model --samples test.npz -o ref
    edgetf benchmark out --reference ref --metric sequence:right_characters -o bench

A line is 40 columns of 8 values: digits of four columns each, at places of their own, in noise. The reader says for
each column which digit it sees, or none (the last class), as readers that are trained with CTC do. Labels are the
digits of a line, shape (n, 6), filled up with -1.
"""

from __future__ import annotations

import numpy as np

COLUMNS, HEIGHT, DIGITS, MOST = 40, 8, 10, 6


def read(output):
    """The text of one line from the classes of its columns, shape (40, 11): repetitions are one, blanks are none."""
    best = output.argmax(axis=-1)
    return [int(a) for a, before in zip(best, [DIGITS, *best]) if a not in (before, DIGITS)]


def edit_distance(one, other):
    """How many characters must be put in, left out or changed (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def right_characters(outputs, labels):
    """For each sample: 1 less the character error rate, the edit distance over the length of what is right."""
    (lines,) = outputs.values()
    found = []
    for output, known in zip(lines, labels):
        true = [int(digit) for digit in known[known >= 0]]
        found.append(1 - edit_distance(read(output), true) / len(true))
    return np.array(found)


def make_samples(n, seed):
    shapes = np.random.default_rng(7).uniform(0, 1, (DIGITS, 4, HEIGHT))  # what a digit looks like, the same for all
    random = np.random.default_rng(seed)
    lines = random.normal(0, 0.25, (n, COLUMNS, HEIGHT)).astype(np.float32)
    columns, labels = np.full((n, COLUMNS), DIGITS), np.full((n, MOST), -1)
    for k in range(n):
        place = random.integers(0, 3)
        for j in range(MOST):
            if place + 4 > COLUMNS:
                break
            digit = random.integers(DIGITS)
            lines[k, place : place + 4] += shapes[digit]
            columns[k, place : place + 4] = digit
            labels[k, j] = digit
            place += 5 + random.integers(0, 4)  # at least one empty column between two
    return lines, columns, labels


def main(epochs=8, train=2000, test=300):
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((COLUMNS, HEIGHT), batch_size=1, name="line"),
            layers.Conv1D(48, 5, padding="same", activation="relu"),
            layers.Bidirectional(layers.GRU(24, return_sequences=True)),
            layers.Dense(DIGITS + 1, activation="softmax", name="character"),
        ]
    )
    trained = keras.Sequential([keras.Input((COLUMNS, HEIGHT)), *model.layers])
    trained.compile("adam", "sparse_categorical_crossentropy")
    lines, columns, labels = make_samples(train, 1)
    trained.fit(lines, columns, batch_size=32, epochs=epochs, verbose=2)
    model.export("saved_model", verbose=False)
    np.savez("train.npz", line=lines, labels=labels)
    lines, _, labels = make_samples(test, 2)
    np.savez("test.npz", line=lines, labels=labels)


if __name__ == "__main__":
    main()
