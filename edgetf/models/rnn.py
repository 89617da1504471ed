"""Text, letter by letter: a subclassed `tf.keras.Model` reads forty letters with an LSTM cell and names the next one.

The text is made here: the numbers below 1,000 in words, counted upwards in a circle ("... forty one, forty two, ...").
A network that has learned it can count. It is read from places drawn at random, and no text to test on is one of those
to train on, though its neighbours, a letter further on, may be.

The cell is called in a Python loop, as the handbook does: the graph has a copy for each letter and no WHILE, and every
scheme can quantize it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgetf.models.fitting import Recipe, evaluate, fit
from edgetf.models.pipeline import SEED
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained
from edgetf.samples import Samples, make_samples

keras = tf.keras
RECIPE = Recipe(epochs=12, learning_rate=1e-2)
LENGTH, UNITS = 40, 64
TRAIN, TEST = 12_000, 1000  # of the 22,955 places
_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
ONES = [*_ONES.split(), "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
LETTERS = "".join(sorted(set("".join([*ONES, *TENS, "hundred"]) + " ,")))


@keras.utils.register_keras_serializable("edgetf")
class TextRNN(tf.keras.Model):  # type: ignore[misc]  # keras has no types
    """Letters as numbers, int32 (n, LENGTH), to the probabilities of the next one, (n, len(LETTERS))."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.cell = keras.layers.LSTMCell(UNITS)
        self.dense = keras.layers.Dense(len(LETTERS), activation="softmax")

    @property
    def input_dtype(self) -> str:
        """What Keras 3 saves as the type of the input of a subclassed model; without, it would be float32."""
        return "int32"

    def build(self, shape: Any) -> None:
        self.cell.build((shape[0], len(LETTERS)))
        self.dense.build((shape[0], UNITS))

    def call(self, letters: Any) -> Any:
        inputs = tf.one_hot(letters, len(LETTERS))
        state = [tf.zeros([tf.shape(letters)[0], UNITS])] * 2
        output = state[0]
        for k in range(LENGTH):
            output, state = self.cell(inputs[:, k], state)
        return self.dense(output)


def in_words(number: int) -> str:
    """A number below 1,000, such as "one hundred forty two"."""
    if number >= 100:
        below = number % 100
        return f"{ONES[number // 100]} hundred" + (f" {in_words(below)}" if below else "")
    if number < len(ONES):
        return ONES[number]
    rest = number % 10
    return TENS[number // 10 - 2] + (f" {ONES[rest]}" if rest else "")


def load_data(test: int = TEST) -> Data:
    """Texts of forty letters, each labelled with the next letter, from places of the circle, each of them once.

    `test` is the number of texts to test on.
    """
    circle = [LETTERS.index(letter) for number in range(1000) for letter in f"{in_words(number)}, "]
    places = np.random.default_rng(SEED).permutation(len(circle))
    texts = np.array(circle)[(places[:, None] + np.arange(LENGTH + 1)) % len(circle)]
    parts = {"train": texts[:TRAIN], "test": texts[TRAIN : TRAIN + test]}
    return Data(*(_labelled(f"counting in words (generator, {name})", part) for name, part in parts.items()))


def train(data: Data, run: Run) -> Trained:
    model = fit(build, data.train, RECIPE, run)
    return Trained(model, evaluate(model, data.test), data)


def build() -> Any:
    model = TextRNN(name="rnn")
    model(tf.zeros([1, LENGTH], tf.int32))
    return model


def generate(model: Any, text: str, count: int, temperature: float = 0.0) -> str:
    """`count` letters that follow `text` (at least LENGTH letters).

    At temperature 0 each is the likeliest; above, it is drawn: the higher, the bolder.
    """
    step = tf.function(model)
    random, ids = np.random.default_rng(0), [LETTERS.index(letter) for letter in text]
    for _ in range(count):
        likely = np.asarray(step(tf.constant([ids[-LENGTH:]], tf.int32)))[0].astype(np.float64)
        if temperature:
            likely = likely ** (1 / temperature)
            ids.append(int(random.choice(len(likely), p=likely / likely.sum())))
        else:
            ids.append(int(likely.argmax()))
    return "".join(LETTERS[k] for k in ids[len(text) :])


def _labelled(source: str, texts: Any) -> Samples:
    return make_samples(source, {"x": texts[:, :-1].astype(np.int32)}, texts[:, -1].astype(np.int64))
