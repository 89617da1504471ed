"""A replay memory that a checkpoint keeps: `tf.train.experimental.PythonState` makes plain arrays part of one."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tensorflow as tf


class Replay(tf.train.experimental.PythonState):  # type: ignore[misc]  # tensorflow has no types
    """The last `size` moves of a game: state, action, reward, the state after, and whether it was the end."""

    def __init__(self, size: int, width: int = 4) -> None:
        super().__init__()
        self._count = np.zeros((), np.int64)
        self._moves = {
            "states": np.zeros((size, width), np.float32),
            "actions": np.zeros(size, np.int32),
            "rewards": np.zeros(size, np.float32),
            "after": np.zeros((size, width), np.float32),
            "ends": np.zeros(size, np.float32),
        }

    def add(self, *move: Any) -> int:
        """Keep a move, in the order of the arrays above; returns how many there have been."""
        place = int(self._count) % len(self._moves["ends"])
        for array, value in zip(self._moves.values(), move, strict=True):
            array[place] = value
        self._count += 1
        return int(self._count)

    def draw(self, random: np.random.Generator, count: int) -> list[Any]:
        """`count` moves, drawn evenly from all that are kept: an array of each kind."""
        rows = random.integers(0, min(int(self._count), len(self._moves["ends"])), count)
        return [array[rows] for array in self._moves.values()]

    def serialize(self) -> bytes:
        file = io.BytesIO()
        np.savez(file, count=self._count, **self._moves)
        return file.getvalue()

    def deserialize(self, string_value: bytes) -> None:
        with np.load(io.BytesIO(string_value)) as kept:
            self._count = kept["count"]
            self._moves = {name: kept[name] for name in self._moves}
